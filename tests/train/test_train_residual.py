"""``python -m train.sngan`` and ``train.biggan``: every option, resuming, compiling, and what checkpoints hold."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from train import biggan, export, generate, sngan
from train.base.errors import UsageError, run_program
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.run import checkpoint

from .runs import TINY_BIGGAN, TINY_SNGAN, assert_same, error_of, flags, steps, weights

TINY = {sngan: TINY_SNGAN, biggan: TINY_BIGGAN}
PROJECTION = {"condition": "projection"}
WITH_ATTENTION = {"attention": 8, "resolution": 16, "g_width": 8, "d_width": 8}
BESIDE_ATTENTION = {**WITH_ATTENTION, "attention": 0}
DEEP = {"deep": True, "hierarchical": False, "g_width": 4, "d_width": 4}
# A system, an option, and what it is beside.
DETAILS = [
    (sngan, {"condition": "projection"}, {}),
    (sngan, {"condition": "acgan"}, {}),
    (sngan, {"d_norm": "layer"}, {}),
    (sngan, {"d_norm": "none"}, {}),
    (sngan, {"d_norm": "gradient"}, {}),
    (sngan, {"d_pool": "mean"}, {}),
    (sngan, {"g_spectral": True}, {}),
    (sngan, {"g_batches": 2}, {}),
    (sngan, {"g_batches": 3, "instance_noise": 0.1}, {"g_batches": 2}),
    (sngan, {"d_steps": 2, "g_batches": 2, "microbatch": "2"}, {"d_steps": 2}),
    (sngan, {"self_modulation": 3}, {}),
    (sngan, {"self_modulation": 3}, PROJECTION),
    (sngan, {"residual_scale": 0.5}, {}),
    (sngan, {"upsampling": "bilinear"}, {}),
    (sngan, {"loss": "wgan-gp"}, {}),
    (sngan, {"lr_decay": 0.0}, {}),
    (sngan, {"beta1": 0.5}, {}),
    (sngan, {"beta2": 0.5}, {}),
    (sngan, {"pack": 2}, {}),
    (sngan, {"feature_matching": 4}, {}),
    (sngan, {"pyramid": True}, {}),
    (sngan, WITH_ATTENTION, BESIDE_ATTENTION),
    (sngan, {"precision": "bf16"}, {}),
    (biggan, {"condition": "none"}, {}),
    (biggan, {"condition": "acgan"}, {}),
    (biggan, {"embedding": 5}, {}),
    (biggan, {"hierarchical": False}, {}),
    (biggan, {"hierarchical": False, "embedding": 0}, {"hierarchical": False}),
    (biggan, DEEP, {"g_width": 4, "d_width": 4}),
    (biggan, {"pyramid": True}, {}),
    (biggan, {"orthogonal": 0.5}, {}),
    (biggan, {"sigma_bound": 0.5}, {}),
    (biggan, {"d_steps": 2, "microbatch": "2"}, {"d_steps": 2}),
    (biggan, WITH_ATTENTION, BESIDE_ATTENTION),
    (biggan, {"precision": "bf16"}, {}),
]


def names(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.SYSTEM.name
    if isinstance(value, str):
        return value
    return "+".join(f"{name}={part}" for name, part in value.items()) or "plain"


@pytest.fixture
def images() -> ImageSet:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 16, 16), generator=random).to(torch.uint8)
    return ImageSet.from_images(pixels, name="noise", labels=torch.arange(40) % 3)


def trainer(system: ModuleType, images: ImageSet, **options: Any) -> Trainer:
    config = system.SYSTEM.options(**{**TINY[system], **options})
    return system.build_trainer(config, {"images": images}, torch.device("cpu"))[0]


@pytest.mark.parametrize(("system", "option", "beside"), DETAILS, ids=names)
def test_every_option_changes_the_run_which_resumes_bitwise(images, tmp_path, system, option, beside):
    options = {**beside, **option}
    through = steps(trainer(system, images, **options), 2)
    checkpoint.save(tmp_path / "c.pt", {"trainer": through.state_dict()})
    steps(through, 2)
    resumed = trainer(system, images, **options)
    torch.randn(5)  # whatever happens in between
    resumed.load_state_dict(checkpoint.load(tmp_path / "c.pt")["trainer"])
    assert_same(steps(resumed, 2).state_dict(), through.state_dict())
    without = steps(trainer(system, images, **beside), 4)
    for name in "GD":
        mine, theirs = (weights(t.game.networks[name]) for t in (through, without))
        assert mine.isfinite().all()
        assert mine.shape != theirs.shape or not torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("system", "options"),
    [
        (sngan, {"g_spectral": True, **PROJECTION, "g_batches": 2}),
        (biggan, {"sigma_bound": 0.5}),
    ],
    ids=names,
)
def test_steps_compile_with_power_iterations_and_running_statistics(images, without_code_generation, system, options):
    torch.compiler.reset()
    said: list[str] = []
    compiled, eager = trainer(system, images, compile=True, **options), trainer(system, images, **options)
    compiled.say = said.append
    for made in (compiled, eager):
        steps(made, 2)
    assert [line.split(": ")[1][:12] for line in said] == ["compiled the"] * 2, said
    # Sums in another order differ by rounding, which Adam's first steps enlarge where a gradient is near 0.
    for name in "GD":
        ours, theirs = (t.game.networks[name].state_dict() for t in (compiled, eager))
        vectors = [key for key in ours if key.endswith(("_u", "running_mean"))]
        assert vectors
        for key in vectors:
            torch.testing.assert_close(ours[key], theirs[key], rtol=0.02, atol=0.02, msg=key)
    ours, theirs = compiled.measurements(), eager.measurements()
    assert ours == pytest.approx(theirs, rel=0.02, abs=0.02)


def test_first_singular_values_are_reported(images):
    made = steps(trainer(biggan, images, lr="0.0000001", orthogonal=0.0), 3)
    reported = made.measurements()
    for name in "GD":
        found = [
            torch.linalg.matrix_norm(module.parametrizations.weight.original.detach().flatten(1), 2)
            for module in made.game.networks[name].modules()
            if hasattr(module, "parametrizations")
        ]
        # Weights begin orthogonal: all singular values are 1, also by an iteration that has not converged.
        assert reported[f"{name.lower()}_sigma_max"] == pytest.approx(float(max(found)), rel=1e-3)
        assert reported[f"{name.lower()}_sigma_mean"] == pytest.approx(1, rel=1e-3)


def test_orthogonal_regularisation_makes_filters_more_orthogonal(images):
    def products(made: Trainer) -> float:
        total = 0.0
        for module in made.game.networks["G"].modules():
            if hasattr(module, "parametrizations"):
                filters = module.parametrizations.weight.original.detach().flatten(1)
                products = filters @ filters.T
                total += float((products - products.diagonal().diag()).square().sum())
        return total

    without, regularised = (steps(trainer(biggan, images, lr="0.01", orthogonal=b), 30) for b in (0.0, 1.0))
    assert products(regularised) < products(without) / 2


def test_the_average_is_a_copy_until_it_starts(images):
    made = trainer(biggan, images, ema_kimg="1000", ema_start_kimg=0.008)
    g, ema = made.game.networks["G"], made.averages["G"]
    steps(made, 2)
    assert torch.equal(weights(ema), weights(g))
    start = weights(ema)
    steps(made, 2)
    assert not torch.equal(weights(ema), weights(g))
    assert (weights(ema) - start).abs().max() < 0.01 * (weights(g) - start).abs().max()


@pytest.mark.parametrize("system", [sngan, biggan], ids=names)
def test_a_run_is_resumed_drawn_from_and_exported(system, tmp_path, capsys):
    run = tmp_path / "run"
    given = {**TINY[system], **PROJECTION, "out": run}
    assert run_program(lambda: system.main(flags(given))) == 0
    assert json.loads((run / "config.json").read_text())["condition"] == "projection"
    drawing = [str(run), "--grid", "2x2", "--truncation", "0.5", "--standing", "2", "--out", str(tmp_path / "g.png")]
    assert run_program(lambda: generate.main(drawing)) == 0
    assert run_program(lambda: system.main(["--resume", str(run), "--kimg", "0.032"])) == 0
    assert (run / "checkpoint_000000032.pt").exists()
    for form in ("torch-export", "safetensors"):
        file = tmp_path / f"g-{form}"
        assert (
            run_program(lambda form=form, file=file: export.main([str(run), "--format", form, "--out", str(file)])) == 0
        )
        assert "draws the same images" in capsys.readouterr().out


@pytest.mark.parametrize("system", [sngan, biggan], ids=names)
def test_presets_are_in_order(system):
    for config in system.PRESETS.values():
        config.schedule()


WRONG = [
    (sngan, {"attention": 4}, "attention=4: both networks have maps of heights 8, 16"),
    (sngan, {"attention": 32, "resolution": 32}, "attention=32"),
    (sngan, {**WITH_ATTENTION, "g_width": 4}, "needs g_width=4 and d_width=8 of at least 8"),
    (sngan, {"resolution": 4}, "resolution=4 is not one of 8, 16, 32, 48, 64, 128"),
    (sngan, {"minibatch_discrimination": 5}, "minibatch_discrimination=5: this D judges each image"),
    (sngan, {"feature_matching": 8}, "feature_matching=8: D's maps have heights 2 to 4"),
    (sngan, {"pyramid": True, "feature_matching": 8}, "feature_matching=8: D's maps have heights 4 to 4"),
    (sngan, {"residual_scale": 0.0}, "residual_scale=0.0 is not above 0"),
    (sngan, {"g_batches": 2, "loss": "relativistic"}, "g_batches=2 cannot be combined with loss='relativistic'"),
    (sngan, {"g_batches": 2, "feature_matching": 4}, "g_batches=2 cannot be combined with feature_matching=4"),
    (sngan, {"g_batches": 2, "update": "merged"}, "g_batches=2 cannot be combined with update='merged'"),
    (sngan, {"loss": "wgan", "condition": "none"}, "cannot be combined with d_norm='spectral'"),
    (sngan, {"loss": "wgan-gp", "d_norm": "gradient"}, "cannot be combined with loss='wgan-gp'"),
    (biggan, {"latent": 7}, "latent=7 is no multiple of 2, the chunks of z at 8x8"),
    (biggan, {"deep": True}, "deep=True gives all of z"),
    (biggan, {"deep": True, "hierarchical": False}, "deep=True needs g_width=2"),
    (biggan, {"embedding": 0}, "embedding=0 cannot be combined with hierarchical=True"),
    (biggan, {"sigma_bound": -1.0}, "sigma_bound=-1.0"),
]


@pytest.mark.parametrize(("system", "options", "message"), WRONG, ids=names)
def test_what_contradicts_itself_is_named(system, options, message):
    with pytest.raises(UsageError) as error:
        system.SYSTEM.options(**{**TINY[system], **options}).schedule()
    assert message in str(error.value)


def test_labels_are_refused_where_the_data_has_none():
    without = ImageSet.from_images(torch.zeros(8, 3, 8, 8, dtype=torch.uint8), name="noise")
    with pytest.raises(UsageError, match="condition='projection' needs labels, and noise has none"):
        trainer(biggan, without)


def test_a_checkpoints_function_stays(tmp_path, capsys):
    run = tmp_path / "run"
    assert run_program(lambda: sngan.main(flags({**TINY_SNGAN, "out": run}))) == 0
    for option, value in (("upsampling", "bilinear"), ("residual-scale", "0.5"), ("d-pool", "mean")):
        line = error_of(sngan.main, ["--resume", str(run), "--kimg", "0.032", f"--{option}", value], capsys)
        assert option.replace("-", "_") in line


@pytest.mark.parametrize("system", [sngan, biggan], ids=names)
def test_help_names_the_papers(system, capsys):
    with pytest.raises(SystemExit):
        system.main(["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    papers = (
        ("Miyato", "Zhang et al. 2019", "Chen et al. 2019", "Gulrajani") if system is sngan else ("Brock et al. 2019",)
    )
    for paper in papers:
        assert paper in text, paper


def test_images_of_48_pixels_are_learnt_measured_and_drawn(tmp_path, capsys):
    """STL-10's size."""
    run, options = tmp_path / "run", {**TINY_SNGAN, "data": "glyphs", "data_size": 12, "resolution": 48}
    measured = {"metrics": "swd", "metrics_every": "0.016", "metrics_images": 10}
    assert "swd needs images of a power of two, not 48x48" in error_of(
        sngan.main, flags({**options, **measured}), capsys
    )
    measured["metrics"] = "msssim"
    assert run_program(lambda: sngan.main(flags({**options, **measured, "out": run}))) == 0
    assert "msssim" in (run / "stats.jsonl").read_text()
    assert run_program(lambda: generate.main([str(run), "--grid", "1x2", "--out", str(tmp_path / "grid.png")])) == 0
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.height >= 48
