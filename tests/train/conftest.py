"""Networks of a few hundred weights and a handful of images, so that a whole run takes a second."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from train import evaluate, pggan
from train.base.errors import run_program
from train.data import ImageSet, load_images
from train.measure.pictures import save_png
from train.pggan import PgganConfig, build_trainer
from train.run import system as systems

from .runs import TINY, flags
from .view_systems import ENCODER, TRANSLATOR


@pytest.fixture
def one_thread():
    """So that results are those of processes with one thread each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_config():
    """PgganConfig for a tiny run, with changes."""

    def make(**changes) -> PgganConfig:
        return PgganConfig(**{**TINY, **changes})

    return make


@pytest.fixture
def tiny_images() -> ImageSet:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20, 3, 8, 8), generator=random).to(torch.uint8)
    return ImageSet.from_images(pixels, name="noise", labels=torch.arange(20) % 3)


@pytest.fixture
def tiny_trainer(tiny_config, tiny_images):
    """A fresh trainer, with changes to its options."""

    def make(**changes):
        trainer, _ = build_trainer(tiny_config(**changes), {"images": tiny_images}, torch.device("cpu"))
        return trainer

    return make


@pytest.fixture
def tiny_options():
    """Command-line options for a tiny run; a change to None leaves an option out."""

    def make(*more: str, **changes) -> list[str]:
        return [*flags({**TINY, **changes}), *more]

    return make


@pytest.fixture
def toy_systems(monkeypatch):
    """Programs find the toys that make images of images by their names."""
    lines = {**systems.catalogue(), **{system.name: system.about for system in (TRANSLATOR, ENCODER)}}
    monkeypatch.setattr(systems, "catalogue", lambda: lines)
    for system in (TRANSLATOR, ENCODER):
        monkeypatch.setitem(sys.modules, f"train.{system.name}", SimpleNamespace(SYSTEM=system))


@pytest.fixture
def quick_measurements(monkeypatch):
    """Less precise metrics, of a classifier that has hardly been trained; no Inception, whatever the user has."""
    monkeypatch.setattr("train.measure.classifier.STEPS", 40)
    monkeypatch.setattr("train.measure.classifier.BATCH", 50)
    monkeypatch.setattr("train.measure.evaluator.SUBSETS", 5)
    monkeypatch.setattr("train.measure.evaluator.SWD", {"patches_per_image": 8, "directions": 16})
    monkeypatch.delenv("GAN_OPS_INCEPTION", raising=False)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder for what several tests of a file use."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def shared_run(shared, tiny_options):
    """shared_run(name, **changes) → the folder of a finished run of PGGAN, made when a test of the file first asks."""

    def make(name: str, **changes) -> Path:
        if not (shared / name).exists():
            assert pggan.main(tiny_options(out=shared / name, **changes)) == 0
        return shared / name

    return make


@pytest.fixture
def digits_folder(shared):
    """digits_folder(first, last) → a folder of these digits as files, made when a test first asks for it."""

    def make(first: int, last: int) -> str:
        path = shared / "digits"
        if not path.exists():
            path.mkdir()
            for i, image in enumerate(load_images("digits", 16).level(16)[first:last]):
                save_png(path / f"{i:03d}.png", image)
        return str(path)

    return make


@pytest.fixture
def shared_cache(quick_measurements, monkeypatch, shared):
    """What is measured quickly is cached for the tests of a file, and for no others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared / "cache"))


@pytest.fixture
def measured(capsys):
    """measured(*options) → what train.evaluate says with them."""

    def run(*options: str) -> dict:
        capsys.readouterr()
        assert evaluate.main([*options, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def fails(capsys):
    """fails(*options) → the error by which train.evaluate refuses them."""

    def run(*options: str) -> str:
        capsys.readouterr()
        assert run_program(lambda: evaluate.main(options)) == 2
        return capsys.readouterr().err.splitlines()[-1]

    return run
