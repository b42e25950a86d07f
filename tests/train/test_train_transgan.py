"""``python -m train.transgan``: every option, resuming, and presets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from train import evaluate, export, generate, transgan
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.run import checkpoint

from .runs import TINY_TRANSGAN, assert_same, error_of, flags, steps, weights

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture
def images() -> ImageSet:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20, 3, 16, 16), generator=random).to(torch.uint8)
    return ImageSet.from_images(pixels, name="noise", labels=torch.arange(20) % 3)


def trainer(images: ImageSet, **options) -> Trainer:
    config = transgan.TransganConfig(**{**TINY_TRANSGAN, **options})
    return transgan.build_trainer(config, {"images": images}, torch.device("cpu"))[0]


VALUES = [
    {"g_width": 64},
    {"g_blocks": "2,1"},
    {"d_width": 24},
    {"d_blocks": 2},
    {"patch": 4},
    {"scales": 1},
    {"heads": 1},
    {"window": 2},
    {"norm": "none"},
    {"lr_decay": 1.0},
    {"beta1": 0.5},
    {"beta2": 0.9},
]
KINDS = [
    {"g_blocks": "1,1,1", "scales": 3},
    {"norm": "layer", "upsampling": "bicubic"},
    {"d_steps": 2},
    {"g_batches": 2},
    {"condition": "projection"},
    {"condition": "acgan"},
    {"minibatch_discrimination": 4},
    {"feature_matching": 8},
    {"pack": 2},
    {"loss": "hinge", "penalty": "r1,r2"},
    {"loss": "mmd(outputs=3)"},
    {"augment": "diffaugment"},
    {"update": "merged"},
    {"precision": "bf16"},
]


def names(options: dict) -> str:
    return "+".join(f"{name}={value}" for name, value in options.items())


@pytest.mark.parametrize("options", [{}, *KINDS], ids=names)
def test_every_kind_trains_both_networks_and_resumes_to_the_bit(images, tmp_path, options) -> None:
    start = trainer(images, **options).state_dict()
    through = steps(trainer(images, **options), 4)
    first = steps(trainer(images, **options), 2)
    checkpoint.save(tmp_path / "c.pt", {"trainer": first.state_dict()})
    torch.randn(5)  # whatever happens in between
    second = trainer(images, **options)
    second.load_state_dict(checkpoint.load(tmp_path / "c.pt")["trainer"])
    state = steps(second, 2).state_dict()
    assert_same(through.state_dict(), state)
    for network, before in start["networks"].items():
        after = state["networks"][network]
        assert [name for name, old in before.items() if old.dim() > 1 and torch.equal(old, after[name])] == []


@pytest.mark.parametrize("option", [*VALUES, *KINDS], ids=names)
def test_every_option_changes_the_run(images, option) -> None:
    with_option, without = (steps(trainer(images, **options), 3) for options in (option, {}))
    assert not torch.equal(*(weights(made.averages["G"])[:64] for made in (with_option, without)))


@pytest.mark.parametrize("preset", transgan.PRESETS)
def test_presets_are_in_order(preset: str) -> None:
    config = transgan.PRESETS[preset]
    assert config.preset == preset
    config.schedule()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"g_blocks": "5,0"}, "g_blocks='5,0' is no list of numbers from 1 to 64, such as 5,4,2"),
        ({"g_blocks": "1," * 5 + "1"}, "G: resolution=16 is no first height of 2 or more, doubled by 6 stages"),
        ({"g_width": 12, "heads": 2}, "G: heads=2 does not divide the 3 channels at 16x16"),
        ({"d_width": 18}, "D: width=18 is not divisible by 4, as scales=2 has it"),
        ({"patch": 3}, "D: patch=3, doubled for each of scales=2, does not divide resolution=16"),
        ({"resolution": 8}, "resolution=8 is not one of 16, 32, 48, 64, 128, 256"),
        ({"g_batches": 2, "update": "merged"}, "g_batches=2 cannot be combined with update='merged'"),
        ({"window": 3}, "window=3 does not divide the 8 rows of a map"),
        ({"feature_matching": 16}, "feature_matching=16: D's maps have the heights 8, 4"),
    ],
    ids=str,
)
def test_sizes_that_do_not_come_out_even_are_refused_in_a_line(options, reason, capsys) -> None:
    assert reason in error_of(transgan.main, flags({**TINY_TRANSGAN, **options, "dry_run": True}), capsys)


def test_steps_compile(images, without_code_generation) -> None:
    torch.compiler.reset()
    said: list[str] = []
    compiled, eager = trainer(images, compile=True), trainer(images)
    compiled.say = said.append
    for made in (compiled, eager):
        steps(made, 2)
    assert said and all(line.split(": ")[1].startswith("compiled the ") for line in said), said
    ours, theirs = compiled.measurements(), eager.measurements()
    for name in ("d_loss", "g_loss", "penalty"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-3), name


def test_a_run_is_resumed_measured_drawn_from_and_exported(tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    assert transgan.main(flags({**TINY_TRANSGAN, "out": run})) == 0
    assert transgan.main(["--resume", str(run), "--kimg", "0.032"]) == 0
    assert (run / "checkpoint_000000032.pt").exists()
    assert "norm='none'" in error_of(transgan.main, ["--resume", str(run), "--kimg", "0.04", "--norm", "none"], capsys)
    assert generate.main([str(run), "--out", str(tmp_path / "grid.png"), "--grid", "2x2"]) == 0
    assert evaluate.main([str(run), "--metrics", "swd", "--images", "10"]) == 0
    assert export.main([str(run), "--out", str(tmp_path / "G.pt2")]) == 0
