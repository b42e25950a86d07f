"""``python -m train.stylegan2``: what the players see, what outlives a step, presets and options."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from gan_ops.objectives import R1
from models.stylegan2 import Discriminator, Generator
from train import stylegan2
from train.base.errors import UsageError
from train.data import ImageSet
from train.engine.curve import Rise
from train.engine.trainer import Trainer
from train.run import checkpoint
from train.stylegan2 import PRESETS, Stylegan2Config, build_trainer

from .runs import TINY_STYLEGAN2, assert_same, batch_of, error_of, flags, newest, steps, watch, weights


@pytest.fixture
def images() -> ImageSet:
    """All different, with labels of three classes."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 3, 8, 8), generator=random).to(torch.uint8)
    return ImageSet.from_images(pixels, name="noise", labels=torch.arange(40) % 3)


def trainer(images: ImageSet, **options) -> Trainer:
    config = Stylegan2Config(**{**TINY_STYLEGAN2, **options})
    return build_trainer(config, {"images": images}, torch.device("cpu"))[0]


# ---- what the players see


def test_cutoffs_lie_between_the_first_layer_and_the_last_and_few_samples_are_not_mixed(images):
    made = trainer(images, batch="400", kimg=4.0, group_size=4)
    for role in "DG":
        cutoffs = batch_of(made)[f"{role}/cutoffs"]
        assert set(cutoffs.tolist()) == {1, 2, 3, 4}  # of 4 layers
        assert 0.05 < (cutoffs == 4).float().mean().item() < 0.16
    assert set(batch_of(trainer(images, mixing=1.0, batch="400", kimg=4.0))["D/cutoffs"].tolist()) == {1, 2, 3}


def test_latents_noise_and_directions_are_drawn_anew_for_each_role_and_step(images):
    made = trainer(images)
    batch, other = batch_of(made), batch_of(made)
    columns = [batch[name] for name in ("D/z", "D/other", "G/z", "G/other")]
    assert len(torch.stack([*columns, other["D/z"]]).unique(dim=0)) == 5
    assert batch["D/noise"].shape == batch["G/noise"].shape == (4, 16 + 2 * 64)
    assert not torch.equal(batch["D/noise"], batch["G/noise"])
    assert batch["G/direction"].shape == (4, 3, 8, 8)
    long = batch_of(trainer(images, batch="400", kimg=4.0))["G/direction"]
    assert long.std().item() == pytest.approx(1 / 8, rel=0.02)


def test_a_merged_update_has_one_set_of_latents(images):
    batch = batch_of(trainer(images, update="merged"))
    for name in ("z", "other", "cutoffs", "noise"):
        assert torch.equal(batch[f"D/{name}"], batch[f"G/{name}"])


def test_nothing_is_drawn_for_what_is_off(images):
    batch = batch_of(trainer(images, mixing=0.0, path_weight=0.0))
    assert not {"D/other", "G/cutoffs", "G/direction"} & batch.keys() and "D/noise" in batch


# ---- what outlives a step


def test_the_mean_of_w_moves_once_a_step_by_that_of_gs_latents(images):
    made = trainer(images, microbatch="2")
    seen: list[torch.Tensor] = []
    watch(made, "G", lambda b: seen.append(b["G/z"]))
    mapping = made.game.networks["G"].mapping
    made.step()
    first = mapping.average.mean.clone()
    before = [p.detach().clone() for p in mapping.parameters()]
    seen.clear()
    made.step()
    after = [p.detach().clone() for p in mapping.parameters()]
    with torch.no_grad():
        for parameter, value in zip(mapping.parameters(), before, strict=True):
            parameter.copy_(value)
        w = mapping(torch.cat(seen)).mean(0)  # of both microbatches, by the weights before the update
        assert len(seen) == 2
    torch.testing.assert_close(mapping.average.mean, 0.995 * first + 0.005 * w)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_mean_path_length_moves_by_what_lazy_moves_report_and_counts_a_step_later(images):
    made = trainer(images, path_decay=0.25, path_every=2)
    means = []
    for _ in range(4):
        made.step()
        reported = made.measurements()
        means.append((float(made.game.state.path_length), reported.get("path_length"), reported.get("g_path_loss")))
    (a, length, loss), (b, *_), (c, other, later), _ = means
    assert a == b == pytest.approx(0.25 * length, rel=1e-5)
    assert c == pytest.approx(0.75 * b + 0.25 * other, rel=1e-5)
    assert loss >= 2 * length**2 * (1 - 1e-5) and later >= 2 * (other - b) ** 2 * (
        1 - 1e-5
    )  # E[(l − a)²] ≥ (E[l] − a)²


def test_lazy_moves_slow_their_roles_down_and_so_do_missing_path_lengths(images):
    for options in ({}, {"path_weight": 0.0}):
        made = trainer(images, lr="0.01", **options)
        made.step()
        (d,), (g,) = (made.players[name].optimizer.param_groups for name in "DG")
        assert float(d["lr"]) == pytest.approx(0.01 * 16 / 17) and d["betas"][1] == pytest.approx(0.99 ** (16 / 17))
        assert float(g["lr"]) == pytest.approx(0.01 * 4 / 5) and g["betas"][1] == pytest.approx(0.99 ** (4 / 5))
    made = steps(trainer(images, lr="0.01", path_weight=0.0, path_every=1), 1)
    assert float(made.players["G"].optimizer.param_groups[0]["lr"]) == pytest.approx(0.01)


def test_the_averages_half_life_rises_with_the_images(images):
    made = trainer(images, ema_kimg="0.02", ema_ramp=0.5, kimg=0.4)
    found = []
    draw = made.game.draw

    def watched(*args):
        found.append(float(made._weight))
        return draw(*args)

    made.game.draw = watched
    steps(made, 12)
    for step, weight in enumerate(found):
        half_life = min(20, 0.5 * 4 * step)
        assert weight == pytest.approx(1 - 0.5 ** (4 / half_life) if half_life else 1.0)
    assert Rise(0).at(5) == 1 and [Rise(10).at(n) for n in (0, 5, 10, 20)] == [0, 0.5, 1, 1]


def test_frozen_layers_keep_their_weights(images):
    made = trainer(images, freeze_d=3)
    d = made.game.networks["D"]
    before = {name: p.clone() for name, p in d.named_parameters()}
    steps(made, 2)
    frozen = ("from_rgb.", "blocks.0.conv0.", "blocks.0.conv1.")
    for name, parameter in d.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith(frozen), name


RESUMED: Mapping[str, dict[str, object]] = {
    "plain": {},
    "labels": {"condition": "projection", "update": "joint"},
    "ada": {"augment": "bgc", "augment_kimg": 0.05, "microbatch": "2"},
    "fp16": {"precision": "fp16", "r1_every": 2},
    "merged": {"update": "merged", "freeze_d": 2},
}


@pytest.mark.parametrize("options", RESUMED.values(), ids=RESUMED)
def test_a_run_resumes_to_the_bit(images, tmp_path, options):
    through = steps(trainer(images, **options), 6)
    first = steps(trainer(images, **options), 3)
    checkpoint.save(tmp_path / "c.pt", {"trainer": first.state_dict()})
    second = trainer(images, **options)
    second.load_state_dict(checkpoint.load(tmp_path / "c.pt")["trainer"])
    ours, theirs = steps(second, 3).state_dict(), through.state_dict()
    # Moves that are not made again are not reported again.
    assert_same({**ours, "meters": None}, {**theirs, "meters": None})
    if options.get("augment"):
        assert float(through.game.state.augmentation.steps) == 2  # since p was adapted


# ---- presets


AUTHORS = {
    # preset: resolution, batch, lr, γ, half-life in kimg, ramp, layers of the mapping, group, maps at 4 and R px
    "auto": (256, 16, 0.0025, 0.8192, 5, 0.05, 2, 4, (512, 64)),
    "stylegan2": (1024, 32, 0.002, 10, 10, 0, 8, 4, (512, 32)),
    "paper256": (256, 64, 0.0025, 1, 20, 0, 8, 8, (512, 64)),
    "paper512": (512, 64, 0.0025, 0.5, 20, 0, 8, 8, (512, 64)),
    "paper1024": (1024, 32, 0.002, 2, 10, 0, 8, 4, (512, 32)),
    "cifar": (32, 64, 0.0025, 0.01, 500, 0.05, 2, 32, (512, 512)),
}


@pytest.mark.parametrize("preset", AUTHORS)
def test_presets_have_the_values_of_the_authors(preset):
    config, (resolution, batch, lr, gamma, half_life, ramp, mapping, group, ends) = PRESETS[preset], AUTHORS[preset]
    schedule = config.schedule()
    (phase,) = schedule.phases
    assert (config.resolution, phase.batch, schedule.position(0).lr) == (resolution, batch, lr)
    (r1,) = config.penalties()
    assert isinstance(r1, R1) and (r1.gamma, r1.every) == (pytest.approx(gamma), 16)
    rise = config.ema_curve()
    assert (rise.images * ramp / 1000 == pytest.approx(half_life)) if ramp else rise is None
    assert config.mapping_layers == mapping and config.group_size == group
    assert (config.widths()[0], config.widths()[-1]) == ends
    assert schedule.total == (100e6 if preset == "cifar" else 25e6)
    assert config.augment == "bgc" and config.augment_target == 0.6 and config.augment_kimg == 500
    plain = preset == "cifar"
    assert (config.mixing, config.path_weight, config.d_skips) == ((0, 0, False) if plain else (0.9, 2, True))
    assert config.roles((0.0, 0.99))["G"].lr == (0.8 if plain else 1)


@pytest.mark.parametrize(("preset", "g", "d"), [("stylegan2", 30_370_060, 29_012_513), ("paper256", 24_767_458, None)])
def test_presets_have_the_networks_of_the_authors(preset, g, d):
    config = PRESETS[preset]
    with torch.device("meta"):
        made = Generator(config.widths(), mapping_layers=config.mapping_layers)
        judge = Discriminator(config.widths(), residual=config.d_skips)
    assert sum(p.numel() for p in made.parameters()) == g
    assert sum(p.numel() for p in judge.parameters()) == (d or 24_001_089)


# ---- options

OPTIONS = [
    {"gamma": "3"},
    {"gamma": "0"},
    {"r1_every": 3},
    {"w_dim": 7},
    {"mapping_layers": 3},
    {"channel_base": "16"},
    {"channel_max": 4},
    {"group_size": 4},
    {"freeze_d": 1},
    {"beta1": 0.5},
    {"beta2": 0.5},
    {"ema_kimg": "0.001"},
    {"ema_ramp": 0.1},
    {"mixing": 0.0},
    {"path_weight": 1.0},
    {"path_every": 2},
    {"path_shrink": 1},
    {"d_skips": False},
    {"condition": "projection"},
    {"pack": 2},
    {"feature_matching": 4},
    {"penalty": "r2"},
    {"precision": "bf16"},
    {"update": "joint"},
]


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_changes_the_run(images, option):
    ours, theirs = (weights(steps(trainer(images, **o), 4).averages["G"]) for o in (option, {}))
    assert ours.shape != theirs.shape or not torch.equal(ours, theirs)


def test_how_far_the_mean_path_length_moves_and_what_is_in_half_precision_count_too(images):
    means = [steps(trainer(images, path_decay=decay), 1).game.state.path_length for decay in (0.01, 0.5)]
    assert float(means[1]) == pytest.approx(50 * float(means[0]))
    full, half = (weights(steps(trainer(images, precision="bf16", half=n), 1).averages["G"]) for n in (0, 4))
    assert not torch.equal(full, half)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--resolution", "48"], "resolution=48 is not one of 8, 16, 32, …"),
        (["--resolution", "4"], "resolution=4 is not one of 8"),
        (["--channel-base", "16"], "channel_base='16' gives 0 maps at some resolution up to 32"),
        (["--gamma", "much"], "gamma='much' is neither auto nor a finite number of at least 0"),
        (["--gamma", "-1"], "gamma='-1' is neither auto nor"),
        (["--penalty", "r1"], "has the same penalty twice"),
        (["--group-size", "3"], "group_size=3 does not divide the batch of 16 at 32x32"),
        (["--freeze-d", "11"], "freeze_d=11: D has 10 layers before the last ones"),
        (["--freeze-d", "8", "--no-d-skips"], "freeze_d=8: D has 7 layers"),
        (["--path-every", "1"], "path_every=1 with path_weight=2: path lengths need a move of their own"),
        (["--mixing", "1.5"], "mixing=1.5"),
        (["--minibatch-discrimination", "5"], "minibatch_discrimination=5: this D compares images by their deviation"),
        (["--loss", "mmd"], "loss='mmd' needs a critic that gives vectors"),
        (["--loss", "wgan"], "loss='wgan' clips D's parameters"),
        (["--feature-matching", "64"], "feature_matching=64: D's maps have heights 4 to 32"),
        (["--condition", "projection", "--pack", "2"], "pack=2 cannot be combined with condition='projection'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_one_line(args, reason, capsys):
    assert reason in error_of(stylegan2.main, [*args, "--dry-run"], capsys)


def test_labels_are_refused_where_the_data_has_none(images):
    without = ImageSet.from_images(images.level(8), name="noise")
    with pytest.raises(UsageError, match="condition='projection' needs labels, and noise has none"):
        trainer(without, condition="projection")


# ---- beginning with another run's networks


def test_a_run_begun_with_another_ones_networks_has_no_ramp_up_and_adapts_faster(tmp_path):
    options = {**TINY_STYLEGAN2, "kimg": 0.008, "ema_ramp": 0.05, "augment": "bgc", "condition": "projection"}
    first, second = tmp_path / "first", tmp_path / "second"
    assert stylegan2.main(flags({**options, "out": first})) == 0
    begun = {**options, "ema_ramp": None, "w_dim": None, "out": second, "init_from": first}
    assert stylegan2.main(flags(begun)) == 0
    config = newest(second)["config"]
    assert config["ema_ramp"] == 0 and config["augment_kimg"] == 100 and config["w_dim"] == 5
    assert newest(first)["config"]["augment_kimg"] == 500
    told = {**options, "out": tmp_path / "told", "init_from": first, "augment_kimg": 300.0}
    assert stylegan2.main(flags(told)) == 0
    config = newest(tmp_path / "told")["config"]
    assert config["ema_ramp"] == 0.05 and config["augment_kimg"] == 300
    assert stylegan2.main(["--resume", str(second), "--kimg", "0.012"]) == 0
    assert newest(second)["config"]["ema_ramp"] == 0
