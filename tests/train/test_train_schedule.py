"""The schedule is a function of the images shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.base.errors import UsageError
from train.base.tables import lookup, parse_table
from train.engine.schedule import Schedule, growing_schedule
from train.pggan import PRESETS, PgganConfig


def grow(first=4, last=16, fade=1.0, stable=2.0, batch=8, microbatch=0, lr=0.001, lr_ramp=0.0, total=0.0) -> Schedule:
    tables = {"fade": fade, "stable": stable, "batch": batch, "microbatch": microbatch, "lr": lr}
    tables = {name: {4: value} for name, value in tables.items()}
    return growing_schedule(first, last, **tables, lr_ramp=lr_ramp, total=total)


def test_starts_stable_and_then_fades_and_stabilises_each_resolution():
    assert [(p.resolution, p.fading, p.start, p.end) for p in grow().phases] == [
        (4, False, 0, 2000),
        (8, True, 2000, 3000),
        (8, False, 3000, 5000),
        (16, True, 5000, 6000),
        (16, False, 6000, 8000),
    ]


@pytest.mark.parametrize(
    ("images", "resolution", "fade"),
    [(0, 4, 0), (1999, 4, 0), (2000, 8, 1), (2250, 8, 0.75), (3000, 8, 0), (9999, 16, 0)],
)
def test_fade_falls_from_one_to_zero(images, resolution, fade):
    position = grow().position(images)
    assert (position.resolution, position.fade) == (resolution, pytest.approx(fade))


@given(st.integers(0, 8000))
def test_a_position_lies_in_its_phase(images):
    schedule = grow()
    position = schedule.position(images)
    phase = schedule.phases[position.phase]
    assert phase.start <= images and (images < phase.end or phase is schedule.phases[-1])
    assert 0 <= position.fade <= 1


def test_a_longer_run_stretches_the_last_phase():
    assert grow(total=100).phases[-1].end == 100_000
    assert grow(total=100).phases[:-1] == grow().phases[:-1]


def test_a_shorter_run_is_cut_and_fades_no_faster():
    schedule = grow(total=2.5)
    assert schedule.total == 2500
    assert schedule.position(2250) == grow().position(2250)


def test_without_fade_a_resolution_appears_at_once():
    assert [p.fading for p in grow(fade=0.0).phases] == [False] * 3


def test_without_growing_there_is_one_phase():
    assert [(p.resolution, p.fading) for p in grow(first=16).phases] == [(16, False)]


def test_the_learning_rate_ramps_up_in_every_phase_and_is_never_zero():
    schedule = grow(lr=1.0, lr_ramp=0.4)
    for phase in schedule.phases:
        assert schedule.position(phase.start).lr == pytest.approx(8 / 400)
        assert schedule.position(phase.start + 192).lr == pytest.approx(0.5)
        assert schedule.position(phase.start + 400).lr == 1.0


def test_a_table_holds_from_each_resolution_on():
    table = parse_table("4:128,32:64,64:32", int, "batch")
    assert [lookup(table, r) for r in (4, 8, 16, 32, 64, 1024)] == [128, 128, 128, 64, 32, 32]
    assert parse_table("0.5", float, "lr") == {4: 0.5}


@pytest.mark.parametrize("text", ["", "a", "4:8,", "8:3", "4:1.5", "-1", "4:2,8:x"])
def test_a_bad_table_is_an_error_that_names_the_option(text):
    with pytest.raises(UsageError, match="batch: "):
        parse_table(text, int, "batch")


@pytest.mark.parametrize("text", ["inf", "nan", "4:1,8:nan", "-0.5"])
def test_a_table_s_values_are_numbers_from_0_up(text):
    with pytest.raises(UsageError, match=r"ema_kimg: .* has a value that is not a finite number of at least 0"):
        parse_table(text, float, "ema_kimg")


def test_features_higher_than_the_images_are_refused():
    with pytest.raises(UsageError, match="feature_matching=64: D's maps have heights 4 to 32"):
        PgganConfig(feature_matching=64).schedule()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"last": 40}, "resolution=40 is not a power of two of at least 4, or three times one"),
        ({"last": 48}, "resolution=48 is not start_resolution=4 times a power of two"),
        ({"last": 2}, "resolution=2 is not a power of two of at least 4"),
        ({"first": 32}, "start_resolution=32 is above resolution=16"),
        ({"batch": 0}, "batch=0"),
        ({"microbatch": 3}, "microbatch=3 does not divide the batch of 8 at 4x4"),
        ({"fade": 0.0, "stable": 0.0}, "the schedule is empty"),
        ({"total": -1.0}, "kimg=-1"),
        ({"total": math.inf}, "kimg=inf is not a finite number of at least 0"),
        ({"total": math.nan}, "kimg=nan"),
        ({"lr_ramp": math.nan}, "lr_ramp_kimg=nan is not a finite number of at least 0"),
    ],
)
def test_an_impossible_schedule_is_an_error_that_says_why(changes, message):
    with pytest.raises(UsageError, match=message):
        grow(**changes)


@pytest.mark.parametrize("options", [{"batch": "6"}, {"batch": "16", "microbatch": "6"}, {"batch": "4:8,32:6"}])
def test_the_deviation_group_must_divide_every_batch(options):
    with pytest.raises(UsageError, match=r"does not divide the (micro)?batch of 6|microbatch=6"):
        PgganConfig(**options, group_size=4).schedule()


def test_a_whole_batch_group_takes_any_batch():
    assert PgganConfig(batch="7", group_size=0).schedule().phases


def rows(preset: str) -> dict[int, tuple]:
    """batch, lr, fade and stabilise images of each resolution."""
    found: dict[int, list] = {}
    for p in PRESETS[preset].schedule().phases:
        found.setdefault(p.resolution, [p.batch, p.lr]).append(p.length)
    return {resolution: tuple(values) for resolution, values in found.items()}


def test_celebahq_has_the_second_versions_one_gpu_settings():
    expected = {2**i: (batch, 0.001, 600_000, 600_000) for i, batch in enumerate([128, 128, 64, 32, 16, 8, 4], start=3)}
    expected |= {4: (128, 0.001, 600_000), 1024: (4, 0.0015, 600_000, 600_000)}
    assert rows("celebahq-1024") == expected
    assert PRESETS["celebahq-1024"].schedule().total == 12_000_000
    assert PRESETS["celebahq-1024"].group_size == 4


def test_celebahq_paper_has_the_papers_settings():
    expected = {2**i: (b, 0.001, 800_000, 800_000) for i, b in enumerate([16, 16, 16, 16, 16, 14, 6, 3], start=3)}
    assert rows("celebahq-1024-paper") == expected | {4: (16, 0.001, 800_000)}
    preset = PRESETS["celebahq-1024-paper"]
    assert (preset.kimg, preset.lr_ramp_kimg, preset.reset_optimizer, preset.group_size) == (19000, 40, True, 0)


def test_cifar10_has_the_records_settings():
    assert rows("cifar10") == {4: (16, 0.001, 400_000)} | {r: (16, 0.001, 400_000, 400_000) for r in (8, 16, 32)}
    p = PRESETS["cifar10"]
    assert (p.kimg, p.fmap_base, p.fmap_max, p.latent) == (20000, 4096, 128, 128)
    assert p.objective().target == 750
    assert (p.update, p.mirror, p.reset_optimizer, p.lr_ramp_kimg) == ("joint", False, True, 0)
    # 0.999 per step of 16 images.
    assert 0.5 ** (16 / (1000 * float(p.ema_kimg))) == pytest.approx(0.999, abs=1e-6)


@pytest.mark.parametrize(("decay", "rates"), [(0.0, [1, 1, 1, 1]), (0.5, [1, 1, 1, 0.5]), (1.0, [1, 0.75, 0.5, 0.25])])
def test_the_learning_rate_falls_to_0_over_the_last_part_of_the_whole_run(decay, rates):
    tables = {"batch": {4: 8}, "microbatch": {4: 0}, "lr": {4: 1.0}}
    schedule = growing_schedule(4, 8, fade={4: 0.0}, stable={4: 2.0}, **tables, lr_decay=decay)
    assert [schedule.position(images).lr for images in (0, 1000, 2000, 3000)] == rates
    assert schedule.position(4000).lr == schedule.position(9000).lr == (0 if decay else 1)
