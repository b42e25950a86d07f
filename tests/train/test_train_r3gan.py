"""``python -m train.r3gan``: schedules, what D and G see, and its options."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
import torch
from torch._dynamo.utils import counters

from models.r3gan import Generator
from train import generate, r3gan
from train.base.errors import UsageError, run_program
from train.data import ImageSet
from train.engine.curve import Cosine
from train.engine.trainer import Trainer
from train.r3gan import PRESETS, R3ganConfig, build_trainer
from train.run import checkpoint

from .runs import TINY_R3GAN, assert_same, batch_of, error_of, flags, steps, weights


@pytest.fixture
def images() -> ImageSet:
    """All different, with labels of three classes."""
    pixels = torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(40, 3, 8, 8).clone()
    return ImageSet.from_images(pixels, name="greys", labels=torch.arange(40) % 3)


def trainer(images: ImageSet, **options) -> Trainer:
    return build_trainer(R3ganConfig(**{**TINY_R3GAN, **options}), {"images": images}, torch.device("cpu"))[0]


# ---- schedules


def test_half_a_cosine_leads_from_the_first_to_the_last_value_which_stays():
    curve = Cosine(2.0, 0.5, 100)
    assert [curve.at(images) for images in (0, 50, 100, 1000)] == pytest.approx([2.0, 1.25, 0.5, 0.5])
    assert curve.at(25) == pytest.approx(0.5 + 1.5 * (1 + 2**-0.5) / 2)


AUTHORS = {
    # preset: Mimg, and the last p, γ at the start and at the end, the last half-life in Mimg
    "cifar10": (20, 0.55, (0.05, 0.005), 5.0),
    "ffhq-64": (20, 0.3, (2, 0.2), 0.5),
    "ffhq-256": (20, 0.3, (150, 15), 0.5),
    "imagenet-32": (200, 0.5, (0.5, 0.05), 50.0),
    "imagenet-64": (200, 0.4, (1, 0.1), 50.0),
}


@pytest.mark.parametrize("preset", AUTHORS)
def test_presets_have_the_values_of_the_authors(preset):
    config, (millions, p, gamma, half_life) = PRESETS[preset], AUTHORS[preset]
    schedule = config.schedule()
    burn_in = config.curve(0.0, 1.0, schedule)
    assert burn_in.images == 1e6 * millions
    assert [schedule.position(images).lr for images in (0, int(burn_in.images))] == pytest.approx((2e-4, 5e-5))
    (r1, r2) = config.penalties()
    assert r1.gamma == r2.gamma == gamma[0] and r1.gamma * config.penalty_final == pytest.approx(gamma[1])
    assert (config.beta1, config.beta2, config.beta2_final) == (0, 0.9, 0.99)
    assert config.table("ema_kimg")[4] / 1000 == half_life
    augmentation = config.augmentation(schedule, torch.device("cpu"))
    ends = [augmentation.probability.at(schedule.position(images)) for images in (0, int(burn_in.images))]
    assert ends == pytest.approx([0, p])


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("cifar10", 20_781_952), ("ffhq-64", 22_429_824), ("imagenet-64", 103_570_432)],
)
def test_presets_have_the_networks_of_the_authors(preset, parameters):
    config = PRESETS[preset]
    classes = {"cifar10": 10, "imagenet-64": 1000}.get(preset, 0)
    with torch.device("meta"):
        g = Generator(config.widths(), blocks=config.blocks, group_width=config.group_width, num_classes=classes)
    assert sum(parameter.numel() for parameter in g.parameters()) == parameters and g.resolution == config.resolution


def test_a_run_follows_its_schedules_and_then_keeps_the_final_values(images):
    made = trainer(images, kimg=0.1, burn_in_kimg=0.032, lr="0.01", ema_kimg="0.02", beta2=0.5, beta2_final=0.8)
    seen: dict[int, tuple[float, ...]] = {}
    draw = made.game.draw

    def watched(*args):
        batch = draw(*args)
        assert batch["D/penalty weight"].unique().numel() == 1
        d = made.players["D"].optimizer.param_groups[0]
        seen[made.images] = tuple(map(float, (d["lr"], d["betas"][1], batch["D/penalty weight"][0], made._weight)))
        return batch

    made.game.draw = watched
    steps(made, 13)
    assert list(seen) == list(range(0, 52, 4))
    assert seen[0] == pytest.approx((0.01, 0.5, 1.0, 1.0))
    assert seen[16] == pytest.approx((0.01 * 0.625, 0.65, 0.55, 1 - 0.5 ** (4 / 10)))
    assert seen[32] == seen[48] == pytest.approx((0.0025, 0.8, 0.1, 1 - 0.5 ** (4 / 20)))


def test_a_run_resumes_to_the_bit_amid_its_schedules(images, tmp_path):
    for options in ({}, {"condition": "projection", "d_steps": 2}, {"precision": "fp16", "microbatch": "2"}):
        through = steps(trainer(images, **options), 5)
        first = steps(trainer(images, **options), 2)
        checkpoint.save(tmp_path / "c.pt", {"trainer": first.state_dict()})
        second = trainer(images, **options)
        second.load_state_dict(checkpoint.load(tmp_path / "c.pt")["trainer"])
        assert_same(steps(second, 3).state_dict(), through.state_dict())


def test_compiled_steps_follow_the_schedules_without_being_compiled_again(images, without_code_generation):
    torch.compiler.reset()
    counters.clear()
    eager, compiled = trainer(images), trainer(images, compile=True)
    said: list[str] = []
    compiled.say = said.append
    ours, theirs = (steps(made, 4).state_dict()["networks"] for made in (compiled, eager))
    assert len(said) == counters["stats"]["unique_graphs"] == 2
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


# ---- what the players see


@pytest.mark.parametrize("options", [{}, {"d_steps": 2}, {"loss": "relativistic"}], ids=str)
def test_g_compares_with_real_images_that_d_does_not_see(images, options):
    made = trainer(images, mirror=False, **options)
    batch = batch_of(made)
    for_d, for_g = (set(batch[f"{role}/real"][:, 0, 0, 0].tolist()) for role in "DG")
    assert len(for_d) == 4 * options.get("d_steps", 1) and len(for_g) == 4 and not for_d & for_g
    assert steps(made, 3).images == 3 * 4 * options.get("d_steps", 1)


def test_without_a_comparison_no_more_images_are_taken(images):
    made = trainer(images, loss="non-saturating", penalty="r1, r2")
    assert made.game.takes(4, made.position) == {"images": 4} and "G/real" not in batch_of(made)


def test_fakes_have_the_labels_of_the_reals_that_they_are_compared_with(images):
    batch = batch_of(trainer(images, condition="projection"))
    grey = {role: (batch[f"{role}/real"][:, 0, 0, 0] * 127.5 + 127.5).round().long() % 3 for role in "DG"}
    assert torch.equal(batch["D/labels"], grey["D"])
    assert torch.equal(batch["G/labels"], grey["G"]) and torch.equal(batch["G/real labels"], grey["G"])


def test_the_log_says_how_many_pairs_d_ranks_rightly(tmp_path):
    assert r3gan.main(flags({**TINY_R3GAN, "out": tmp_path / "run"})) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    assert all(-1 <= line["pair_sign"] <= 1 for line in lines)


# ---- options

ABLATIONS: Mapping[str, dict[str, str]] = {
    "without R2": {"loss": "relativistic(average=false)", "penalty": "r1(gamma=0.05)"},
    "without both": {"loss": "r3gan(gamma=0)"},
    "non-saturating": {"loss": "non-saturating", "penalty": "r1(gamma=0.05), r2(gamma=0.05)"},
}
OPTIONS = [
    *ABLATIONS.values(),
    {"condition": "projection"},
    {"burn_in_kimg": 0.01},
    {"lr_final": 1.0},
    {"penalty_final": 1.0},
    {"beta1": 0.5},
    {"beta2": 0.5},
    {"beta2_final": 0.5},
    {"ema_kimg": "0.001"},
    {"width": "4"},
    {"blocks": 2},
    {"group_width": 8},
    {"pack": 2},
    {"feature_matching": 8},
    {"optimizer": "rmsprop"},
    {"optimizer": "optimistic-adam", "beta2_final": 0.9},
    {"update": "merged"},
    {"loss": "wgan-gp"},
]


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_changes_the_run(images, option):
    ours, theirs = (weights(steps(trainer(images, **o), 3).averages["G"]) for o in (option, {}))
    assert ours.shape != theirs.shape or not torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--resolution", "48"], "resolution=48 is not one of 8, 16, 32"),
        (["--width", "96", "--group-width", "5"], "group_width=5 does not divide 2·width=192"),
        (["--width", "0"], "width='0' is not between 1 and"),
        (["--burn-in-kimg", "-1"], "burn_in_kimg=-1.0 is not a finite number of at least 0"),
        (["--minibatch-discrimination", "5"], "minibatch_discrimination=5: this D judges each image alone"),
        (["--loss", "mmd"], "loss='mmd' needs a critic that gives vectors"),
        (
            ["--optimizer", "optimistic-adam"],
            "optimizer='optimistic-adam' needs beta2_final=0.9: its beta2 cannot change",
        ),
        (["--feature-matching", "64"], "feature_matching=64: D's maps have heights 4 to 32"),
        (["--condition", "projection", "--pack", "2"], "pack=2 cannot be combined with condition='projection'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line(args, reason, capsys):
    assert reason in error_of(r3gan.main, [*args, "--dry-run"], capsys)


def test_labels_are_refused_where_the_data_has_none(images):
    without = ImageSet.from_images(images.level(8), name="greys")
    with pytest.raises(UsageError, match="condition='projection' needs labels, and greys has none"):
        trainer(without, condition="projection")


def test_a_run_with_labels_leaves_what_others_do_and_draws_its_classes(tmp_path):
    run, grid = tmp_path / "run", tmp_path / "grid.png"
    assert run_program(lambda: r3gan.main(flags({**TINY_R3GAN, "condition": "projection", "out": run}))) == 0
    assert (run / "fakes_000000.png").exists()
    assert run_program(lambda: generate.main([str(run), "--out", str(grid), "--grid", "2x2", "--classes", "0,35"])) == 0
    assert grid.exists()
    assert run_program(lambda: r3gan.main(["--resume", str(run), "--kimg", "0.032"])) == 0
