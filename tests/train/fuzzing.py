"""What tests that fuzz the programs share: their options, places to start them in, and what a start may come to."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import pkgutil
import shutil
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

import train
from train.base.errors import LONGEST, run_program

from .runs import OUTPUT, TINY, TINY_STYLEGAN2, TINY_VAE_GAN, flags


class Accepted(BaseException):
    """The program has checked everything and is about to work."""


def accept(*arguments: Any, **more: Any) -> None:
    """In the place of what would work."""
    raise Accepted


WORK = (
    "train.run.loop.Loop.run",
    "train.mixture.train_run",
    "train.semi_supervised.train_and_test",
    "train.studies.study.Study.complete",
    "train.studies.translation.trained_judges",
    "train.generate.draw",
    "train.export._program",
    "train.project.choose_perceptual",
    "train.evaluate.Evaluator.measure",
    "train.studies.reconstruction.measure_distances",
)
"""What takes long, and comes when all is checked."""
TRAINING = {**TINY, "data": "pictures", "data_size": 0}
TRANSLATING = {"resolution": 8, "kimg": 0.008, "batch": 4, "pool": 6, **OUTPUT, "data_size": 12}
TRANSLATING |= {"g_width": 4, "g_blocks": 1, "d_width": 4, "d_layers": 1}


def programs() -> list[str]:
    """Modules of :mod:`train` that are started with ``python -m``: systems, tools and studies."""
    names = [module.name for module in pkgutil.walk_packages(train.__path__, "train.")]
    return [name for name in names if vars(importlib.import_module(name)).keys() & {"SYSTEM", "PROG"}]


def main_of(program: str) -> Callable[[Sequence[str]], int]:
    return importlib.import_module(program).main


def options_of(program: str) -> dict[str, tuple[type, Any]]:
    """A program's options, as its own parser is given them: of each the class that has it, and its type."""
    kinds: list[type] = []

    def parser(kind: type, **_: Any) -> None:
        kinds.append(kind)
        raise Accepted

    with mock.patch("tyro.cli", parser), contextlib.suppress(Accepted):
        main_of(program)([])
    hints = typing.get_type_hints(kinds[0], include_extras=True)
    fields = [field.name for field in dataclasses.fields(kinds[0])]
    return {name: (next(c for c in kinds[0].__mro__ if name in c.__annotations__), hints[name]) for name in fields}


def furnish(place: Path) -> None:
    """Pictures, a folder, a file that is none of ours, weights of another codebase, and finished runs of a PGGAN, a
    VAE-GAN, a CycleGAN and a StyleGAN2."""
    random = np.random.default_rng(0)
    (place / "pictures").mkdir(parents=True)
    for i in range(12):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(place / "pictures" / f"{i}.png")
    (place / "folder").mkdir()
    (place / "folder" / "note").write_text("not ours")
    (place / "file.txt").write_text("not ours")
    shutil.copy(Path(__file__).parents[1] / "models" / "authors" / "r3gan-16.npz", place / "weights.npz")
    with contextlib.redirect_stdout(io.StringIO()):
        own = {"data": place / "pictures", "data_size": 0}
        assert main_of("train.pggan")(flags({**TRAINING, **own, "out": place / "run"})) == 0
        assert main_of("train.vae_gan")(flags({**TINY_VAE_GAN, **own, "out": place / "autoencoder"})) == 0
        assert main_of("train.stylegan2")(flags({**TINY_STYLEGAN2, **own, "kimg": 0.008, "out": place / "styled"})) == 0
        assert main_of("train.cyclegan")(flags({**TRANSLATING, "out": place / "translations"})) == 0


def attempt(program: str, args: Sequence[str], place: Path) -> str:
    """What a start in the working folder ``place`` comes to: ``"accepted"`` or its line of error.

    AssertionError if it is anything else, or if a start that is refused leaves something behind. What others leave is
    removed.
    """
    before = set(place.rglob("*"))
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_program(lambda: main_of(program)(args))
    except Accepted:
        pass
    err.flush()
    said = err.buffer.getvalue().decode()
    # A folder that others may be at work in keeps its lock.
    left = sorted(path for path in place.rglob("*") if path not in before and path.name != "lock")
    for path in left:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if code == 0:
        return "accepted"
    assert code == 2, f"exit code {code}: {said}"
    line = said.splitlines()[-1]
    assert line.startswith("error: ") and len(line) <= LONGEST, said
    assert not left, f"it leaves {left} behind, and says {line}"
    return line
