"""What the systems whose critic gives energies have in common: BEGAN, EBGAN, MAGAN and MEG."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
import torch

from train import began, ebgan, generate, meg
from train.base.errors import run_program
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.run import checkpoint

from .runs import TINY_BEGAN, TINY_EBGAN, TINY_MEG, assert_same, error_of, flags, newest, steps

CPU = torch.device("cpu")
TINY = {began: TINY_BEGAN, ebgan: TINY_EBGAN, meg: TINY_MEG}
MAGAN = {"loss": "magan(epoch=1,pretraining=2)", "d_norm": "none"}
SHARED: list[dict[str, Any]] = [
    {"update": "merged", "d_steps": 1},
    {"microbatch": "2"},
    {"beta1": 0.9},
    {"beta2": 0.5},
    {"lr_decay": 1.0},
    {"latent": 5},
    {"instance_noise": 0.1},
    {"augment": "bgc", "augment_p": "0.7", "held_out": 5},
    {"precision": "bf16"},
    {"precision": "fp16"},
]
OPTIONS: list[tuple[ModuleType, dict[str, Any]]] = [
    *((program, options) for program in TINY for options in SHARED),
    (began, {"loss": "began(gamma=0.9,rate=0.5)"}),
    (began, {"width": 3}),
    *((began, {"energy": energy}) for energy in ("mse", "l2", "sse")),
    (ebgan, {"loss": "ebgan(margin=0.1)"}),
    (ebgan, {"loss": "ebgan(pulling_away=0)"}),
    (ebgan, MAGAN),
    (ebgan, {"loss": "loss-sensitive"}),
    (ebgan, {"loss": "loss-sensitive(form=generalized)", "d_norm": "spectral"}),
    (ebgan, {"loss": "mmd"}),
    (ebgan, {"energy": "sse"}),
    (ebgan, {"code": 5}),
    (ebgan, {"kernel_size": 5}),
    (ebgan, {"g_norm": "layer", "d_norm": "group"}),
    (ebgan, {"penalty": "r1(every=2)", "d_norm": "none"}),
    (meg, {"entropy_weight": 0.3}),
    (meg, {"d_steps": 1}),
    (meg, {"penalty": "r1(gamma=5),r2"}),
    (meg, {"d_norm": "layer", "g_norm": "group"}),
    (meg, {"t_width": 3, "t_hidden": 7}),
]


def names(value: Any) -> str:
    if isinstance(value, dict):
        return "+".join(f"{name}={value}" for name, value in value.items())
    return value.SYSTEM.name


@pytest.fixture
def images(tiny_images: ImageSet) -> ImageSet:
    """16×16."""
    return ImageSet.from_images(tiny_images.level(8).repeat_interleave(2, 2).repeat_interleave(2, 3), name="noise")


def trainer(program: ModuleType, images: ImageSet, **options: Any) -> Trainer:
    config = program.SYSTEM.options(**{**TINY[program], **options})
    return program.build_trainer(config, {"images": images}, CPU)[0]


@pytest.mark.parametrize(("program", "options"), [*((program, {}) for program in TINY), *OPTIONS], ids=names)
def test_every_option_trains_all_networks_and_resumes_bitwise(program, images, tmp_path, options) -> None:
    """What objectives remember is resumed too: k, the margin, and the means of an epoch."""
    start = trainer(program, images, **options).state_dict()
    through = steps(trainer(program, images, **options), 5)
    first = steps(trainer(program, images, **options), 3)
    checkpoint.save(tmp_path / "c.pt", {"trainer": first.state_dict()})
    torch.randn(5)  # whatever happens in between
    second = trainer(program, images, **options)
    second.load_state_dict(checkpoint.load(tmp_path / "c.pt")["trainer"])
    state = steps(second, 2).state_dict()
    assert_same(through.state_dict(), state)
    for name, before in start["networks"].items():
        after = state["networks"][name]
        weights = [key for key in before if key.endswith("weight") and before[key].dim() > 1]
        assert not any(torch.equal(before[key], after[key]) for key in weights), name


@pytest.mark.parametrize(("program", "option"), [o for o in OPTIONS if "instance_noise" not in o[1]], ids=names)
def test_every_option_changes_the_run(program, images, option) -> None:
    z = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    made = []
    for options in (option, {}):
        g = steps(trainer(program, images, **options), 4).game.networks["G"]
        with torch.no_grad():
            made.append(g(torch.cat((z, torch.zeros(2, g.latent_dim - 5)), 1)))
    assert not torch.equal(*made)


@pytest.mark.parametrize("program", TINY, ids=names)
@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--feature-matching", "4"], "feature_matching=4 cannot be combined with energies: it would take the place"),
        (["--minibatch-discrimination", "3"], "minibatch_discrimination=3 cannot be combined with energies"),
        (["--resolution", "8"], "resolution=8 is not one of 16, 32, 64, 128"),
        (["--beta2", "1"], "beta2=1.0 must be at least 0 and below 1"),
        (["--lr-decay", "1.5"], "lr_decay=1.5 is not between 0 and 1"),
        (["--kimg", "0"], "kimg=0 is not a positive number"),
        (["--loss", "hinge"], "'hinge' is not one of"),
        (["--pack", "2"], "pack=2 cannot be combined with energies: an energy is of one image"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_with_the_reason(program, args, reason, capsys) -> None:
    assert reason in error_of(program.main, [*args, "--dry-run"], capsys)


@pytest.mark.parametrize(
    ("program", "preset"), [(program, name) for program in TINY for name in program.PRESETS], ids=str
)
def test_presets_are_in_order(program, preset, capsys) -> None:
    assert program.main(["--preset", preset, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out.rpartition("}")[0] + "}")["preset"] == preset


@pytest.mark.parametrize(
    ("program", "options"), [(began, {}), (ebgan, MAGAN), (meg, {})], ids=["began", "magan", "meg"]
)
def test_a_stopped_run_goes_on_bitwise(program, options, tmp_path) -> None:
    tiny = {**TINY[program], **options}
    assert run_program(lambda: program.main(flags({**tiny, "out": tmp_path / "whole"}))) == 0
    assert program.main(flags({**tiny, "kimg": 0.012, "out": tmp_path / "half"})) == 0
    assert program.main(["--resume", str(tmp_path / "half"), "--kimg", "0.024"]) == 0
    assert_same(newest(tmp_path / "half")["trainer"], newest(tmp_path / "whole")["trainer"])
    out = tmp_path / "samples.png"
    assert generate.main([str(tmp_path / "whole"), "--grid", "2x3", "--out", str(out)]) == 0 and out.exists()


@pytest.mark.parametrize("program", TINY, ids=names)
def test_steps_compile(program, images, without_code_generation) -> None:
    torch.compiler.reset()
    compiled, eager = trainer(program, images, compile=True), trainer(program, images)
    said: list[str] = []
    compiled.say = said.append
    for made in (compiled, eager):
        steps(made, 2)
    assert len(said) == 2 and all(": compiled the " in line for line in said)
    ours, theirs = compiled.measurements(), eager.measurements()
    for name in ("g_loss", "d_loss"):
        assert ours[name] == pytest.approx(theirs[name], rel=0.02, abs=0.02), name
