"""``python -m train.stylegan3``: its moving means, blur, presets, and images that are moved."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from train import evaluate, generate, pggan, stylegan3
from train.base.errors import NotMeasurable, run_program
from train.base.seeds import stream_seed
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.gan.augmentation import Augmentation, Blurred
from train.measure.moved import inverse, measure_moved
from train.measure.pictures import latents
from train.run import checkpoint
from train.run.restoring import build_generator
from train.stylegan3 import PRESETS, Stylegan3Config, build_trainer

from .runs import OUTPUT, assert_same, error_of, flags, steps, weights

CPU = torch.device("cpu")
# 8x8: 24 images, 6 steps.
TINY = {
    "resolution": 8,
    "kimg": 0.024,
    "batch": "4",
    "latent": 6,
    "w_dim": 6,
    "layers": 3,
    "critical": 1,
    "margin": 2,
    "channel_base": "64",
    "channel_max": 6,
    "group_size": 2,
    "gamma": "1",
    "ema_kimg": "0.02",
    "image_kimg": "0.012",
    "checkpoint_kimg": "0.012",
    **OUTPUT,
}


@pytest.fixture
def images() -> ImageSet:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 8, 8), generator=random).to(torch.uint8)
    return ImageSet.from_images(pixels, name="noise", labels=torch.arange(40) % 3)


def trainer(images: ImageSet, **options) -> Trainer:
    return build_trainer(Stylegan3Config(**{**TINY, **options}), {"images": images}, CPU)[0]


# ---- means that move


@pytest.mark.parametrize("microbatch", ["0", "2"])
def test_means_move_once_a_step_by_the_statistics_of_gs_whole_batch(images, microbatch):
    made = trainer(images, microbatch=microbatch)
    g, seen = made.game.networks["G"], []
    draw = made.game.draw
    made.game.draw = lambda *args: seen.append(draw(*args)) or seen[-1]
    start = {name: tensor.clone() for name, tensor in g.state_dict().items()}
    made.step()
    after = {name: tensor.clone() for name, tensor in g.state_dict().items()}
    g.load_state_dict(start)  # D's move, which comes first, leaves G as it is
    with torch.no_grad():
        drawn = g(seen[0]["G/z"], with_styles=True)
    w = 0.002 * drawn.styles[:, 0].mean(0)
    torch.testing.assert_close(after["mapping.average.mean"], w)
    kept = 0.5 ** (4 / 20000)
    torch.testing.assert_close(after["squares.mean"], kept + (1 - kept) * drawn.squares.mean(0), rtol=0, atol=1e-7)
    assert not torch.equal(after["squares.mean"], start["squares.mean"])


def test_means_stay_where_a_step_is_skipped(images):
    made = steps(trainer(images), 1)
    before = made.game.networks["G"].squares.mean.clone(), made.game.state.w.mean.clone()
    draw = made.game.draw
    made.game.draw = lambda *args: {name: column * math.nan for name, column in draw(*args).items()}
    made.step()
    assert made.skipped()[0] > 0
    assert torch.equal(made.game.networks["G"].squares.mean, before[0])
    assert torch.equal(made.game.state.w.mean, before[1])


@pytest.mark.parametrize("options", [{}, {"configuration": "r", "blur": 2.0, "blur_kimg": 0.008, "augment": "bgc"}])
def test_a_run_that_is_resumed_goes_on_to_the_bit(images, options):
    whole = steps(trainer(images, **options), 2)
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    resumed = trainer(images, **options)
    resumed.load_state_dict(torch.load(file))
    assert_same(steps(resumed, 3).state_dict(), steps(whole, 3).state_dict())


# ---- blur


def test_blur_fades_linearly_and_then_leaves_no_column(images):
    made = trainer(images, configuration="r", blur=2.0, blur_kimg=0.008)
    phases = made.schedule.phases
    assert [(phase.start, phase.end) for phase in phases] == [(0, 8), (8, 24)]
    columns, draw = [], made.game.draw
    made.game.draw = lambda *args: columns.append(draw(*args)) or columns[-1]
    steps(made, 3)
    names = {"D/real blur", "D/fake blur", "G/fake blur"}
    for batch, sigma in zip(columns[:2], (2.0, 1.0), strict=True):
        assert {name for name in batch if "blur" in name} == names
        taps = torch.tensor([2.0 ** (-((k / sigma) ** 2)) if abs(k) <= 3 * sigma else 0.0 for k in range(-6, 7)])
        for name in names:
            torch.testing.assert_close(batch[name], (taps / taps.sum()).expand(4, -1))
    assert not [name for name in columns[2] if "blur" in name]


def test_images_are_blurred_before_the_augmentation():
    class Doubling(Augmentation):
        def __call__(self, images, batch, name):
            return 2 * images + 1

    blurred, x = Blurred(Doubling(), 1.0, 100), torch.randn(2, 3, 8, 8)
    batch = {"D/real blur": blurred.taps(0).expand(2, -1)}
    kernel = torch.outer(blurred.taps(0), blurred.taps(0)).expand(3, 1, 7, 7)
    torch.testing.assert_close(blurred(x, batch, "D/real"), 2 * F.conv2d(x, kernel, padding=3, groups=3) + 1)
    torch.testing.assert_close(blurred(x, {}, "D/real"), 2 * x + 1)


def test_without_a_time_blur_fades_in_the_authors_number_of_steps():
    assert replace(PRESETS["stylegan3-r"]).blurred() == 200_000
    assert replace(PRESETS["stylegan3-r"], batch="16").blurred() == 100_000
    assert PRESETS["stylegan3-t"].blurred() == 0
    glyphs = PRESETS["glyphs-r"]
    assert glyphs.blur == 10 * 32 / 256 and glyphs.blurred() <= 1000 * glyphs.kimg / 10


# ---- presets


@pytest.mark.parametrize("preset", ["stylegan3-t", "stylegan3-r"])
def test_presets_have_the_values_of_the_authors(preset, images):
    config, r = PRESETS[preset], preset.endswith("r")
    g = config.of_generator()
    assert (g["channel_base"], g["channel_max"]) == ((65536, 1024) if r else (32768, 512))
    assert (g["layers"], g["critical"], g["margin"], g["kernel_size"], g["radial"]) == (14, 2, 10, 1 if r else 3, r)
    assert (config.latent, config.w_dim, config.mapping_layers) == (512, 512, 2)
    assert config.widths() == [512, 512, 512, 512, 512, 256, 128]
    assert (config.r1_every, config.augment, config.augment_target) == (16, "bgc", 0.6)
    assert g["magnitude_beta"] == 0.5 ** (32 / 20000) and config.ema_ramp == 0.05
    roles = config.roles((0.0, 0.99))
    lr = config.schedule().phases[0].lr
    assert [lr * roles[name].lr for name in "GD"] == pytest.approx([0.0025, 0.002])


def test_only_d_is_slowed_down_by_lazy_moves(images):
    made = steps(trainer(images), 1)
    pace = 16 / 17
    (d,), (g,) = (made.players[name].optimizer.param_groups for name in "DG")
    assert float(d["lr"]) == pytest.approx(0.002 * pace) and d["betas"] == pytest.approx((0, 0.99**pace))
    assert float(g["lr"]) == pytest.approx(0.0025) and g["betas"] == (0.0, 0.99)


@pytest.mark.parametrize("preset", ["glyphs", "glyphs-r"])
def test_glyphs_have_six_to_eight_layers(preset):
    assert 6 <= PRESETS[preset].layers <= 8 and PRESETS[preset].resolution == 32


# ---- options


@pytest.mark.parametrize(
    "option",
    [
        {"configuration": "r"},
        {"layers": 4},
        {"critical": 2},
        {"margin": 3},
        {"filtered": False},
        {"blur": 1.0},
        {"blur": 1.0, "blur_kimg": 0.008},
        {"condition": "projection"},
        {"gamma": "3"},
        {"ema_ramp": 0.5},
        {"mapping_layers": 3},
        {"ttur": 0.5},
        {"freeze_d": 1},
        {"augment": "bgc", "augment_p": "0.5"},
        {"update": "merged"},
    ],
    ids=str,
)
def test_every_option_changes_the_run(images, option):
    ours, theirs = (weights(steps(trainer(images, **o), 3).averages["G"]) for o in (option, {}))
    assert ours.shape != theirs.shape or not torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--resolution", "48"], "resolution=48 is not one of 8, 16, 32"),
        (["--layers", "4", "--critical", "4"], "critical=4 is not below layers=4"),
        (["--blur", "33"], "blur=33 is above the 32 pixels of an image's side"),
        (["--freeze-d", "11"], "freeze_d=11: D has 10 layers before the last ones"),
        (["--gamma", "high"], "gamma='high' is neither auto nor a finite number"),
        (["--batch", "6"], "group_size=4 does not divide the batch of 6"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line(args, reason, capsys):
    assert reason in error_of(stylegan3.main, [*args, "--dry-run"], capsys)


# ---- what is done with a run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Of 32x32, with noticeable details."""
    folder = tmp_path_factory.mktemp("stylegan3") / "run"
    larger = {"resolution": 32, "layers": 4, "critical": 2, "margin": 8, "channel_base": "128", "kimg": 0.008}
    assert run_program(lambda: stylegan3.main(flags({**TINY, **larger, "data_size": 12, "out": folder}))) == 0
    return folder


def pixels(folder: Path) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.array(Image.open(path))) for path in sorted(folder.iterdir())]).int()


def test_generate_moves_and_turns_images(run, tmp_path):
    args = {"plain": [], "moved": ["--translate", "0.25,-0.125"], "turned": ["--rotate", "180"]}
    for name, more in args.items():
        out = ["--images", "2", "--out", str(tmp_path / name)]
        assert run_program(lambda: generate.main([str(run), *out, *more])) == 0  # noqa: B023
    plain, moved, turned = (pixels(tmp_path / name) for name in args)
    assert plain.float().std() > 1
    inner = slice(8, -8)
    difference = (plain.roll((-4, 8), (1, 2)) - moved)[:, inner, inner].abs()
    assert difference.max() <= 1 < (plain - moved)[:, inner, inner].abs().max()
    # A turn by half a circle is one of the input, which the 3x3 weights do not turn with.
    assert not torch.equal(turned, plain)


def test_generate_says_what_it_cannot_move(run, tmp_path, capsys):
    line = error_of(generate.main, [str(run), "--translate", "0.1"], capsys)
    assert "translate='0.1' is not two numbers such as 0.1,-0.2" in line
    line = error_of(generate.main, [str(run), "--rotate", "nan"], capsys)
    assert "rotate=nan" in line
    line = error_of(generate.main, [str(run), "--input", str(tmp_path), "--rotate", "3"], capsys)
    assert "--rotate and --input cannot be combined" in line


def test_a_transformation_leads_back_from_where_points_are_moved():
    back = inverse(0.1, -0.2, math.pi / 2).double()
    # (0.3, 0) turned counter-clockwise, as one sees it with y down, is (0, −0.3).
    point = torch.tensor([0.0 + 0.1, -0.3 - 0.2, 1.0], dtype=torch.float64)
    torch.testing.assert_close(back @ point, torch.tensor([0.3, 0.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-6)


def test_evaluate_measures_how_exactly_images_move(run, measured):
    result = measured(str(run), "--images", "12", "--metrics", "eqt,eqt-frac,eqr")
    assert list(result["metrics"]) == ["eqt", "eqt-frac", "eqr"] and result["moved"] == 12
    path, state, _ = checkpoint.find(run)
    generator = build_generator(path, state, CPU)
    again = measure_moved(generator, ["eqt", "eqt-frac", "eqr"], 12, seed=0, labels=None, of="it")
    assert again["metrics"] == pytest.approx(result["metrics"], abs=1e-3)
    assert result["metrics"]["eqt"] > 40 and result["metrics"]["eqt-frac"] > 40


def test_eqt_is_of_images_of_a_moved_input():
    """By hand: whole pixels, all that stays in the picture, peak to peak 2."""
    torch.manual_seed(0)
    g = stylegan3.Generator(32, latent_dim=4, channel_base=64, channel_max=8, layers=4, margin=8).eval()
    found = measure_moved(g, ["eqt"], 3, seed=5, labels=None, of="it")
    plain = g(latents(3, 4, stream_seed(5, "drawn"))).detach()
    random = torch.Generator().manual_seed(stream_seed(5, "moved"))
    x, y, _ = (2 * torch.rand(3, generator=random, dtype=torch.float64) - 1).tolist()
    right, down = round(x * 4), round(y * 4)
    assert (right, down) != (0, 0) and max(abs(right), abs(down)) <= 4
    transform = torch.eye(3)
    transform[:2, 2] = torch.tensor([-right / 32, -down / 32])
    made = g(latents(3, 4, stream_seed(5, "drawn")), transform=transform).detach()
    error = (plain.roll((down, right), (2, 3)) - made).double()
    rows = slice(max(down, 0), 32 + min(down, 0))
    columns = slice(max(right, 0), 32 + min(right, 0))
    expected = 10 * math.log10(4 / error[:, :, rows, columns].square().mean().item())
    assert found["metrics"]["eqt"] == pytest.approx(expected, abs=1e-6)


def test_images_of_configuration_r_turn_with_their_input_and_those_of_t_do_not():
    found = {}
    for name, options in {"t": {}, "r": {"kernel_size": 1, "radial": True}}.items():
        torch.manual_seed(0)
        g = stylegan3.Generator(32, latent_dim=8, channel_base=256, channel_max=16, layers=5, margin=8, **options)
        g.to_rgb.weight.data.mul_(2)  # images of a usual contrast
        found[name] = measure_moved(g.eval(), ["eqr"], 4, seed=0, labels=None, of="it")["metrics"]["eqr"]
    assert found["r"] > 45 and found["r"] > found["t"] + 15, found


def test_generators_that_cannot_be_moved_are_refused_by_name(run, tmp_path, capsys):
    g = pggan.Generator(8, latent_dim=4, fmap_base=16, fmap_max=4)
    with pytest.raises(NotMeasurable, match=r"eqt needs a generator whose input can be moved, .*: that of run/3"):
        measure_moved(g, ["eqt"], 2, seed=0, labels=None, of="run/3")
    small = stylegan3.Generator(8, latent_dim=4, channel_base=16, channel_max=4, layers=3, critical=1)
    with pytest.raises(NotMeasurable, match="eqr needs images of at least 32 pixels on a side: those of it have 8"):
        measure_moved(small, ["eqr"], 2, seed=0, labels=None, of="it")
    assert error_of(stylegan3.main, ["--metrics", "eqt", "--dry-run"], capsys).endswith(
        "metrics: eqt is of moved images: train.evaluate measures it, of a checkpoint"
    )
    line = error_of(evaluate.main, ["glyphs", "--data", "glyphs", "--metrics", "eqr", "--images", "4"], capsys)
    assert "eqr is of images that move with their latents, and glyphs is not drawn from latents here" in line


def test_a_run_that_begins_with_another_ones_networks_neither_blurs_nor_ramps_up(run, tmp_path, capsys):
    more = ["--init-from", str(run), "--preset", "glyphs-r", "--dry-run"]
    assert run_program(lambda: stylegan3.main(more)) == 0
    said = capsys.readouterr().out
    for line in ('"blur": 0.0', '"ema_ramp": 0.0', '"augment_kimg": 100.0', '"layers": 4', '"configuration": "t"'):
        assert line in said
