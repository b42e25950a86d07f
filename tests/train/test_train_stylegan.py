"""``python -m train.stylegan``: how it grows, what outlives a step, presets and options."""

from __future__ import annotations

import pytest
import torch

from models.stylegan import Discriminator, Generator
from train import generate, stylegan
from train.base.errors import run_program
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.run import checkpoint
from train.stylegan import PRESETS, StyleganConfig, build_trainer

from .runs import TINY_STYLEGAN, assert_same, batch_of, error_of, flags, newest, steps, to_the_end, weights


@pytest.fixture
def images() -> ImageSet:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 8, 8), generator=random).to(torch.uint8)
    return ImageSet.from_images(pixels, name="noise", labels=torch.arange(40) % 3)


def trainer(images: ImageSet, **options) -> Trainer:
    config = StyleganConfig(**{**TINY_STYLEGAN, **options})
    return build_trainer(config, {"images": images}, torch.device("cpu"))[0]


def test_the_discriminator_filters_where_it_halves(images):
    """Unlike PGGAN's."""
    assert type(trainer(images).game.networks["D"]) is Discriminator


def test_cutoffs_and_noise_are_those_of_the_present_resolution(images):
    made = trainer(images, mixing=1.0)
    seen: dict[int, tuple[int, set[int]]] = {}
    draw = made.game.draw

    def watched(*args):
        batch = draw(*args)
        size = batch["D/real"].shape[2]
        cutoffs = seen.get(size, (0, set()))[1] | set(batch["G/cutoffs"].tolist())
        seen[size] = batch["G/noise"].shape[1], cutoffs
        return batch

    made.game.draw = watched
    assert to_the_end(made).images == 48
    assert seen[4] == (2 * 16, {1}) and seen[8] == (2 * 16 + 2 * 64, {1, 2, 3})
    assert made.game.networks["G"].resolution == made.averages["G"].resolution == 8


@pytest.mark.parametrize("options", [{}, {"condition": "projection", "update": "merged"}], ids=str)
def test_a_run_resumes_to_the_bit_in_mid_fade(images, tmp_path, options):
    through = steps(trainer(images, **options), 9)
    first = steps(trainer(images, **options), 6)
    assert first.position.fade > 0
    checkpoint.save(tmp_path / "c.pt", {"trainer": first.state_dict()})
    second = trainer(images, **options)
    second.load_state_dict(checkpoint.load(tmp_path / "c.pt")["trainer"])
    assert_same(steps(second, 3).state_dict(), through.state_dict())
    mean = through.game.networks["G"].mapping.average.mean
    assert mean.any() and torch.equal(mean, through.game.state.w.mean)


def test_the_preset_for_faces_has_the_values_of_the_authors():
    config = PRESETS["ffhq-1024"]
    schedule = config.schedule()
    assert schedule.total == 25e6 and schedule.phases[0].resolution == 8 and schedule.phases[-1].resolution == 1024
    batches = {phase.resolution: phase.batch for phase in schedule.phases}
    assert batches == {8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4, 1024: 4}
    (r1,) = config.penalties()
    assert (r1.gamma, r1.every, config.mixing, config.mapping_layers) == (10, 1, 0.9, 8)
    with torch.device("meta"):
        g = Generator(1024)
    assert g.to_rgb["1024"].weight.shape == (3, 16, 1, 1)


OPTIONS = [
    {"w_dim": 7},
    {"mapping_layers": 3},
    {"mixing": 0.0},
    {"penalty": ""},
    {"fmap_base": 8},
    {"start_resolution": 8},
    {"condition": "projection"},
    {"reset_optimizer": True},
    {"minibatch_discrimination": 2},
]


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_changes_the_run(images, option):
    ours, theirs = (weights(steps(trainer(images, **o), 6).averages["G"]) for o in (option, {}))
    assert ours.shape != theirs.shape or not torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--resolution", "48"], "resolution=48"),
        (["--mixing", "2"], "mixing=2"),
        (["--mapping-layers", "0"], "mapping_layers=0"),
        (["--group-size", "3"], "group_size=3 does not divide the batch of 16 at 8x8"),
        (["--loss", "wgan"], "loss='wgan' clips D's parameters"),
        (["--condition", "projection", "--pack", "2"], "pack=2 cannot be combined with condition='projection'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line(args, reason, capsys):
    assert reason in error_of(stylegan.main, [*args, "--dry-run"], capsys)


def test_a_run_can_be_drawn_from_and_be_begun_with(images, tmp_path):
    run, begun, mix = tmp_path / "run", tmp_path / "begun", tmp_path / "mix.png"
    assert run_program(lambda: stylegan.main(flags({**TINY_STYLEGAN, "out": run}))) == 0
    args = [str(run), "--out", str(mix), "--mix", "1x2", "--mix-layers", "0-1", "--truncation", "0.7"]
    assert run_program(lambda: generate.main(args)) == 0 and mix.exists()
    options = {**TINY_STYLEGAN, "start_resolution": None, "kimg": 0.008, "out": begun, "init_from": run}
    assert run_program(lambda: stylegan.main(flags(options))) == 0
    assert newest(begun)["config"]["start_resolution"] == 8  # which the other run had reached
    assert newest(begun)["trainer"]["averages"]["G"]["_extra_state"]["resolution"] == 8
    assert batch_of(trainer(images))["G/noise"].shape[1] == 32
