"""``python -m train.cyclegan``: its options, its pool, runs that resume, what is made of them, and bad input."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from train import cyclegan, evaluate, export, generate, report
from train.base.errors import run_program
from train.cyclegan import PRESETS, CycleganConfig, build_trainer
from train.data import ImageSet, load_images, to_float, to_uint8
from train.engine.trainer import Trainer
from train.measure.pictures import save_png
from train.run import checkpoint
from train.run.lists import training_images
from train.run.restoring import build_networks, find_checkpoint

from .engine.fake_cuda import FakeCuda
from .runs import OUTPUT, assert_same, batch_of, error_of, flags, newest, steps, watch

CPU = torch.device("cpu")
NETWORKS = {"g_width": 4, "g_blocks": 1, "d_width": 4, "d_layers": 1}
# 16x16: 24 images of each kind, 6 steps; the pool is full after two.
TINY = {
    "resolution": 16,
    "kimg": 0.024,
    "batch": "4",
    "pool": 6,
    **NETWORKS,
    "ema_kimg": "0.02",
    "image_kimg": "0.012",
    "checkpoint_kimg": "0.012",
    **OUTPUT,
}
OPTIONS = [
    {"a": "glyphs"},
    {"lr_decay": 0.9},
    {"beta1": 0.9},
    {"loss": "non-saturating"},
    {"loss": "lsgan(label_smoothing=0.1)"},
    {"cycle_weight": 1.0},
    {"identity_weight": 0.0},
    {"pool": 0},
    {"pool": 3},
    {"g_norm": "layer"},
    {"d_norm": "group"},
    {"g_width": 8},
    {"g_blocks": 0},
    {"d_width": 8},
    {"d_layers": 2},
    {"seed": 1},
    {"precision": "bf16"},
]


def trainer(**options) -> Trainer:
    config = CycleganConfig(**{**TINY, **options})
    return build_trainer(config, training_images(config), CPU)[0]


def translated(made: Trainer) -> Tensor:
    """What the current translator makes of a few images."""
    with torch.no_grad():
        return made.game.networks["AB"](to_float(load_images("glyphs-serif", 16, size=4).level(16)))


def names(options: dict) -> str:
    return "+".join(f"{name}={value}" for name, value in options.items())


# --- training


@pytest.mark.parametrize("options", OPTIONS, ids=names)
def test_every_option_changes_the_run(options, plain_run):
    assert not torch.equal(translated(steps(trainer(**options), 5)), plain_run)


@pytest.fixture(scope="module")
def plain_run() -> Tensor:
    return translated(steps(trainer(), 5))


@pytest.mark.parametrize(
    "options", [{}, {"microbatch": "2", "precision": "bf16"}, {"pool": 0, "loss": "hinge"}], ids=names
)
def test_a_trainer_resumes_to_the_bit_and_moves_all_networks(options, tmp_path):
    start = trainer(**options).state_dict()
    whole, first = steps(trainer(**options), 6), steps(trainer(**options), 3)
    checkpoint.save(tmp_path / "c.pt", {"trainer": first.state_dict()})
    second = trainer(**options)
    second.load_state_dict(checkpoint.load(tmp_path / "c.pt")["trainer"])
    state = steps(second, 3).state_dict()
    assert_same(state, whole.state_dict())
    assert state["processes"][0]["own"].keys() == {
        f"pools.{kind}.{name}" for kind in "ab" for name in ("images", "stored")
    }
    for name, network in start["networks"].items():
        assert all(not torch.equal(x, state["networks"][name][key]) for key, x in network.items() if x.dim() > 1)


def test_microbatches_change_nothing_but_rounding():
    whole, parts = (steps(trainer(microbatch=size), 4) for size in ("0", "2"))
    torch.testing.assert_close(translated(whole), translated(parts), atol=1e-3, rtol=0)
    assert torch.equal(whole.game.own.pools["a"].stored, parts.game.own.pools["a"].stored)


def test_captured_steps_train_to_the_same_bits(monkeypatch):
    """What they read and change, the pool included, lies still, and nothing is read back to the host."""
    monkeypatch.setattr("train.engine.trainer.wanted", lambda option, *_: True)
    eager, captured = trainer(pool=6), trainer(pool=6)
    captured._cuda, said = FakeCuda(), []
    captured.say = said.append
    eager, captured = steps(eager, 16), steps(captured, 16)
    assert said == [] and captured._step.is_captured
    assert_same(captured.state_dict(), eager.state_dict())


def test_critics_see_translations_of_earlier_steps():
    made, seen = trainer(pool=4), []
    watch(made, "critics", seen.append)
    steps(made, 9)
    for kind in "ab":
        past = torch.cat([b[f"fake_{kind}"] for b in seen[:-1]]).flatten(1)
        last = seen[-1]
        assert int(sum(b[f"critics/swapped {kind}"].sum() for b in seen)) > 5
        for old in last[f"critics/old {kind}"].flatten(1):
            assert (past == old).all(1).any() and not (last[f"fake_{kind}"].flatten(1) == old).all(1).any()


def test_each_critic_is_shown_its_own_kind_and_translators_the_other():
    made, seen = trainer(), []
    watch(made, "critics", seen.append)
    steps(made, 1)
    dark = {name: column.mean((1, 2, 3)) for name, column in seen[0].items() if name in ("a", "b")}
    assert (dark["a"] > dark["b"].max()).all()  # dark on light, and light on dark
    networks = {name: trainer().game.networks[name] for name in ("AB", "BA")}
    with torch.no_grad():
        for fake, network, kind in (("fake_b", "AB", "a"), ("fake_a", "BA", "b")):
            torch.testing.assert_close(seen[0][fake], networks[network](seen[0][kind]), atol=1e-5, rtol=0)


def test_the_two_lists_are_no_pairs():
    """Same letters at the same time would be."""
    made = trainer(data_size=360)
    orders = [made.source._lists[kind]._order.next(100) for kind in "ab"]
    assert (orders[0] % 36 == orders[1] % 36).float().mean() < 0.2


def test_the_learning_rate_is_constant_over_the_first_half_and_falls_to_0_over_the_second():
    schedule = CycleganConfig(**TINY, lr="0.1").schedule()
    rates = [schedule.position(images).lr for images in range(0, 24, 4)]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.1 * 8 / 12, 0.1 * 4 / 12])
    assert schedule.position(24).lr == schedule.position(30).lr == 0


def test_the_papers_values():
    config = PRESETS["photos-256"]
    assert (config.batch, config.lr, config.lr_decay, config.beta1, config.loss) == ("1", "0.0002", 0.5, 0.5, "lsgan")
    assert (config.cycle_weight, config.identity_weight, config.pool) == (10, 5, 50)
    assert (config.resolution, config.g_width, config.g_blocks, config.d_width, config.d_layers) == (256, 64, 9, 64, 3)
    assert config.g_norm == config.d_norm == "instance" and config.schedule().total == 200 * 1067


def test_both_players_have_an_adam_of_two_networks():
    players = trainer(beta1=0.4).players
    assert {name: tuple(player.networks) for name, player in players.items()} == {
        "translators": ("AB", "BA"),
        "critics": ("DA", "DB"),
    }
    assert all(player.optimizer.param_groups[0]["betas"] == (0.4, 0.999) for player in players.values())


def test_mirroring_is_for_data_that_allows_it():
    pixels = torch.randint(256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    sets = {"a": ImageSet.from_images(pixels), "b": ImageSet.from_images(255 - pixels, mirror=False)}
    made = build_trainer(CycleganConfig(**TINY), sets, CPU)[0]
    known = {kind: {to_float(x).numpy().tobytes() for x in sets[kind].level(16)} for kind in "ab"}
    new = {"a": 0, "b": 0}
    for _ in range(4):
        batch = batch_of(made)
        for kind in "ab":
            new[kind] += sum(x.contiguous().numpy().tobytes() not in known[kind] for x in batch[kind])
    assert new["a"] > 2 and new["b"] == 0


# --- the programs

fails = partial(error_of, cyclegan.main)


def start(*args: str) -> int:
    return run_program(lambda: cyclegan.main(list(args)))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("cyclegan") / "run"
    assert start(*flags({**TINY, "out": folder})) == 0
    return folder


def test_a_run_resumes_to_the_bit(tmp_path):
    # Where the learning rate falls to 0 is the end that a run is told of.
    whole, half = ({**TINY, "out": tmp_path / name, "lr_decay": 0.0} for name in ("whole", "half"))
    assert start(*flags(whole)) == 0
    assert start(*flags({**half, "kimg": 0.012})) == 0
    assert start("--resume", str(tmp_path / "half"), "--kimg", "0.024") == 0
    assert_same(newest(tmp_path / "half")["trainer"], newest(tmp_path / "whole")["trainer"])


def test_a_run_whose_list_has_become_longer_is_not_continued(run, tmp_path, capsys):
    assert start(*flags({**TINY, "out": tmp_path / "run", "kimg": 0.012})) == 0
    line = fails(["--resume", str(tmp_path / "run"), "--data-size", "41"], capsys)
    assert "was trained on 40 a, but data now has 41" in line


def test_grids_show_both_directions(run):
    with Image.open(run / "fakes_000000.png") as picture:
        assert picture.width % 16 == 0 and picture.height % 48 == 0
    assert (run / "reals.png").exists()


def test_a_folder_of_pictures_is_translated(run, tmp_path):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    some = load_images("glyphs-sans", 16, size=3).level(16)
    for name, image in zip("xyz", some, strict=True):
        save_png(pictures / f"{name}.png", image)
    assert generate.main([str(run), "--input", str(pictures), "--view", "b-to-a", "--out", str(out)]) == 0
    expected = to_uint8(build_networks(*find_checkpoint(run), CPU)["BA"](to_float(some)))
    for name, image in zip("xyz", expected, strict=True):
        with Image.open(out / f"{name}.png") as picture:
            pixels = torch.tensor(list(picture.tobytes()), dtype=torch.uint8).view(16, 16, 3).permute(2, 0, 1)
        assert torch.equal(pixels, image)


def test_a_run_is_measured_in_both_directions(run, capsys):
    values = []
    for view in ("a-to-b", "b-to-a"):
        capsys.readouterr()
        assert evaluate.main([str(run), "--view", view, "--metrics", "swd", "--images", "40", "--json"]) == 0
        values.append(json.loads(capsys.readouterr().out)["metrics"]["swd"])
    assert all(value > 0 for value in values) and values[0] != values[1]


@pytest.mark.parametrize("view", ["a-to-b", "b-to-a"])
def test_a_translator_is_exported(run, tmp_path, view):
    file = tmp_path / "net.pt2"
    assert export.main([str(run), "--view", view, "--format", "torch-export", "--out", str(file)]) == 0
    x = to_float(load_images("glyphs", 16, size=2).level(16))
    network = build_networks(*find_checkpoint(run), CPU)["AB" if view == "a-to-b" else "BA"]
    torch.testing.assert_close(torch.export.load(file).module()(x), network(x), atol=1e-5, rtol=0)


def test_a_report_names_both_lists(run, tmp_path):
    assert report.main([str(run), "--out", str(tmp_path / "report.html")]) == 0
    text = (tmp_path / "report.html").read_text()
    assert "glyphs-serif" in text and "glyphs-sans" in text


def test_nothing_draws_from_latents(run, tmp_path, capsys):
    line = error_of(generate.main, [str(run), "--out", str(tmp_path / "grid.png")], capsys)
    assert "makes images of images" in line and "--input" in line


# --- bad input


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Folders of pictures: in colour, grey, and empty."""
    for name, channels in (("colour", 3), ("grey", 1)):
        (tmp_path / name).mkdir()
        for i in range(4):
            save_png(tmp_path / name / f"{i}.png", torch.full((channels, 16, 16), 40 * i, dtype=torch.uint8))
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "colour")
    return tmp_path


def refused(capsys, **options) -> str:
    """The line that refuses a run with these options, which leaves nothing behind."""
    return fails(flags({**TINY, **options}), capsys)


def test_lists_of_different_channels(pictures, capsys):
    a, b = pictures / "colour", pictures / "grey"
    line = refused(capsys, a=a, b=b, out=pictures / "run")
    assert f"--a {a} has 3, --b {b} has 1" in line and "grey" in line
    assert not (pictures / "run").exists()


@pytest.mark.parametrize("kind", ["a", "b"])
def test_an_empty_list(pictures, capsys, kind):
    line = refused(capsys, **{"a": pictures / "colour", "b": pictures / "colour", kind: pictures / "empty"})
    assert f"{pictures / 'empty'} holds no images" in line


@pytest.mark.parametrize("other", ["colour", "colour/", "link", "grey/../colour", "link/."])
def test_a_folder_that_is_both(pictures, capsys, other):
    a, b = str(pictures / "colour"), f"{pictures}/{other}"
    assert f"a={a!r} and b={b!r} are the same images" in refused(capsys, a=a, b=b)


def test_a_set_that_is_both(capsys):
    assert "a='glyphs' and b='glyphs' are the same images" in refused(capsys, a="glyphs", b="glyphs")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"resolution": 4}, "resolution=4 is less than 8"),
        ({"resolution": 20}, "resolution=20 is not a power of two"),
        ({"d_layers": 3}, "d_layers=3 at resolution=16: at most 2 leave a score"),
        ({"loss": "wgan-gp"}, "'wgan-gp' is not one of lsgan, minimax, non-saturating, hinge"),
        ({"loss": "lsgan(label_smoothing=2)"}, "label_smoothing=2.0 must be at least 0 and below 1"),
        ({"lr_decay": 1.5}, "lr_decay=1.5 is not between 0 and 1"),
        ({"beta1": 1.0}, "beta1=1.0 must be at least 0 and below 1"),
        ({"cycle_weight": -1.0}, "cycle_weight=-1.0 is not a finite number of at least 0"),
        ({"identity_weight": "nan"}, "identity_weight=nan is not a finite number"),
        ({"kimg": 0.0}, "kimg=0 is not a positive number"),
        ({"pool": -1}, "pool=-1 is less than 0"),
        ({"pool": 65536, "resolution": 4096}, "pool=65536 at resolution=4096: that takes"),
        ({"a": "nowhere"}, "'nowhere' is neither a folder or zip file that exists nor one of"),
    ],
    ids=str,
)
def test_what_cannot_be(capsys, options, reason):
    assert reason in refused(capsys, **{"data_size": 4, **options})


def test_a_dry_run_shows_where_the_learning_rate_falls(capsys):
    assert cyclegan.main(["--preset", "photos-256", "--dry-run"]) == 0
    assert '"lr_decay": 0.5' in capsys.readouterr().out
