"""Mode collapse on Gaussians: the data and its judge, trainings, the program and the study."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

from models.mixture import D_NORMS, G_NORMS
from train import mixture
from train.base.errors import TrainingError, UsageError
from train.data.gaussians import MIXTURES, Mixture
from train.gan.losses import LOSSES
from train.gan.options import GRADIENT_NORMS
from train.measure.points import TILE, strip
from train.mixture import SAMPLES, MixtureConfig, describe, moments, train_run
from train.studies import mode_collapse
from train.studies.processes import in_processes
from train.studies.study import spread

TINY = MixtureConfig(steps=4, batch=8, latent=3, width=8)
TINY_OPTIONS = ["--steps", "4", "--batch", "8", "--latent", "3", "--width", "8"]
SMOOTHED = "non-saturating(label_smoothing=0.1)"
EVERY = pytest.mark.parametrize("name", MIXTURES)


def drawn(mixture: Mixture, count: int, seed: int = 0) -> torch.Tensor:
    return mixture.sample(count, torch.Generator().manual_seed(seed))


def test_the_ring_has_eight_modes_evenly_on_a_circle_of_radius_2() -> None:
    centres = MIXTURES["ring"]().centres
    torch.testing.assert_close(centres.norm(dim=1), torch.full((8,), 2.0))
    neighbours = (centres - centres.roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(neighbours, torch.full((8,), 4 * math.sin(math.pi / 8)))


def test_the_grid_has_25_modes_2_apart_around_the_origin() -> None:
    centres = MIXTURES["grid"]().centres
    assert {tuple(c) for c in centres.tolist()} == {(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)}


@EVERY
def test_samples_have_the_deviation_and_all_modes_alike(name: str) -> None:
    mixture = MIXTURES[name]()
    points = drawn(mixture, 40_000)
    modes = torch.cdist(points, mixture.centres).argmin(1)
    off = points - mixture.centres[modes]
    # Three standard errors of each estimate.
    assert off.square().mean().sqrt() == pytest.approx(mixture.deviation, rel=3 / math.sqrt(2 * 80_000))
    share = 1 / len(mixture.centres)
    counted = torch.bincount(modes) / len(points)
    assert (counted - share).abs().max() < 4 * math.sqrt(share * (1 - share) / len(points))


@EVERY
def test_perfect_samples_find_all_modes_and_are_good_but_for_one_in_90(name: str) -> None:
    mixture = MIXTURES[name]()
    quality = mixture.judge(drawn(mixture, 20_000))
    assert quality.modes == len(mixture.centres)
    assert quality.good == pytest.approx(1 - math.exp(-9 / 2), abs=0.003)  # a radius of 3 is χ² of two degrees
    assert quality.divergence < 0.001


@EVERY
def test_a_single_mode_has_the_divergence_of_one_class_from_all(name: str) -> None:
    mixture = MIXTURES[name]()
    n = len(mixture.centres)
    quality = mixture.judge(mixture.centres[:1].expand(10, 2))
    # p = (1, 0, …), q = 1/n, m their mean.
    expected = 0.5 * (math.log(2 * n / (n + 1)) + math.log(2 / (n + 1)) / n + (n - 1) / n * math.log(2))
    assert quality == (1, 1.0, pytest.approx(expected))


def test_a_mode_counts_as_found_only_with_a_sample_within_three_deviations() -> None:
    ring = MIXTURES["ring"]()
    away = torch.tensor([1.0, 0.0]) * ring.deviation
    points = torch.stack([ring.centres[0] + 2.99 * away, ring.centres[1] + 3.01 * away])
    assert ring.judge(points)[:2] == (1, 0.5)


def test_points_that_are_not_finite_are_bad() -> None:
    points = torch.tensor([[math.nan, 0.0], [math.inf, 0.0], [0.0, -math.inf]])
    assert MIXTURES["ring"]().judge(points)[:2] == (0, 0.0)


def test_uniform_points_fill_the_square_that_the_centres_span() -> None:
    points = MIXTURES["grid"]().uniform(10_000, torch.Generator().manual_seed(0))
    assert points.abs().max() <= 4
    quarters = torch.bincount((points > 0).long() @ torch.tensor([1, 2]))
    assert (quarters - 2500).abs().max() < 4 * math.sqrt(10_000 * 3 / 16)


def test_moments_are_even_and_hold_the_start_and_the_end() -> None:
    assert moments(70) == [0, 10, 20, 30, 40, 50, 60, 70]
    assert moments(2) == [0, 1, 2]


def test_a_run_gives_samples_and_their_quality_at_each_moment() -> None:
    outcome = train_run(TINY, 0)
    assert outcome.steps == [0, 1, 2, 3, 4]
    assert [points.shape for points in outcome.samples] == [(SAMPLES, 2)] * 5
    assert outcome.quality == [MIXTURES["ring"]().judge(points) for points in outcome.samples]
    assert not torch.equal(outcome.samples[0], outcome.samples[1])


def test_the_seed_decides_a_run_to_the_bit_wherever_it_runs() -> None:
    torch.manual_seed(5)
    first = train_run(TINY, 1)
    torch.manual_seed(6)
    runs = [(TINY, 1), (TINY, 2)]
    beside = dict(in_processes(2, train_run, runs))
    assert torch.equal(first.samples[-1], beside[0].samples[-1])
    assert not torch.equal(first.samples[-1], beside[1].samples[-1])


def test_a_run_leaves_threads_and_random_numbers_as_they_were() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train_run(TINY, 0)
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)


def test_a_run_that_diverges_is_an_error_and_no_collapse() -> None:
    with pytest.raises(TrainingError, match=r"diverged by step \d of 4"):
        train_run(replace(TINY, lr=1e30), 3)


TECHNIQUES = [
    *({"loss": loss} for loss in LOSSES if loss != "non-saturating"),
    {"loss": SMOOTHED},
    {"penalty": "r1"},
    {"feature_matching": 4},
    {"minibatch_discrimination": 3},
    {"historical_averaging": 0.1},
    {"instance_noise": 0.1},
    {"instance_noise": 0.1, "instance_noise_kimg": 0.02},
    {"ttur": 4.0},
    {"d_steps": 2},
    {"update": "joint"},
    {"update": "merged"},
    *({"g_norm": norm} for norm in G_NORMS if norm != "none"),
    *({"d_norm": norm} for norm in D_NORMS if norm != "none"),
    {"d_norm": "gradient"},
    {"d_norm": "gradient-v2", "pack": 2},
    {"pack": 4, "penalty": "wgan-gp"},
    {"layers": 1},
    {"scaled": False},
    {"beta2": 0.5},
    {"lr_decay": 1.0},
    {"weight_norm": True},
    {"ema_kimg": 0.05},
    {
        "update": "merged",
        "feature_matching": 4,
        "minibatch_discrimination": 3,
        "loss": SMOOTHED,
        "historical_averaging": 0.1,
        "instance_noise": 0.1,
        "g_norm": "virtual",
        "d_norm": "spectral",
        "ema_kimg": 0.05,
    },
]


@pytest.mark.parametrize("changes", TECHNIQUES, ids=str)
def test_every_technique_trains_and_changes_the_run(changes: dict) -> None:
    config = replace(TINY, **changes)
    config.check()
    points = train_run(config, 0).samples[-1]
    assert points.isfinite().all()
    assert not torch.equal(points, train_run(TINY, 0).samples[-1])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"steps": 0}, "steps=0 is less than 1"),
        ({"batch": 1}, "batch=1 is less than 2"),
        (
            {"width": 25, "g_norm": "group"},
            "width=25 cannot be combined with g_norm='group': a unit that is normalised alone is always 0",
        ),
        ({"width": 1, "d_norm": "layer"}, "width=1 cannot be combined with d_norm='layer'"),
        ({"lr": 0.0}, "lr=0 is not a positive number"),
        ({"lr": math.inf}, "lr=inf is not a finite number"),
        ({"beta1": 1.0}, "beta1=1.0"),
        ({"beta2": 1.0}, "beta2=1.0 must be at least 0 and below 1"),
        ({"lr_decay": 1.5}, "lr_decay=1.5 is not between 0 and 1"),
        ({"pack": 3}, "pack=3 does not divide the batch of 8"),
        ({"ema_kimg": -1.0}, "ema_kimg=-1 is not a finite number of at least 0"),
        ({"feature_matching": 1}, "feature_matching=1 is neither 0 nor 4: 4 stands for D's last hidden layer"),
        ({"feature_matching": 8}, "feature_matching=8 is neither 0 nor 4"),
        ({"loss": "hinge(label_smoothing=0.1)"}, "hinge has no 'label_smoothing'"),
        ({"d_steps": 2, "update": "merged"}, "d_steps=2 cannot be combined with update='merged'"),
        ({"weight_norm": True, "d_norm": "spectral"}, "weight_norm cannot be combined with the norm 'spectral'"),
        ({"loss": "wgan", "d_norm": "spectral"}, "loss='wgan' cannot be combined with d_norm='spectral'"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_with_the_reason(changes: dict, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        replace(TINY, **changes).check()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--seed", "-1"], "seed=-1"),
        (["--picture", "x.jpg"], "picture=x.jpg does not end in .png"),
        (["--picture", "nowhere/x.png"], "picture=nowhere/x.png: there is no folder nowhere"),
        (["--data", "spiral"], "data"),
        (["--minibatch-discriminaton", "3"], "did you mean --minibatch-discrimination"),
    ],
    ids=str,
)
def test_the_program_refuses(options: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        mixture.main(options)


def test_the_program_prints_the_quality_over_time_and_writes_a_picture(tmp_path, capsys) -> None:
    picture = tmp_path / "points.png"
    assert mixture.main([*TINY_OPTIONS, "--seed", "7", "--picture", str(picture)]) == 0
    outcome = train_run(TINY, 7)
    lines = [f"step {i}: {describe(MIXTURES['ring'](), quality)}" for i, quality in enumerate(outcome.quality)]
    assert capsys.readouterr().out.splitlines() == lines
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_json_has_the_options_and_the_quality_over_time(capsys) -> None:
    mixture.main([*TINY_OPTIONS, "--data", "grid", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert MixtureConfig(**result["options"]) == replace(TINY, data="grid") and result["seed"] == 0
    last = train_run(replace(TINY, data="grid"), 0).quality[-1]
    assert result["over_time"][-1] == {"step": 4, **last._asdict()}
    assert {name: result[name] for name in last._fields} == last._asdict()


def test_help_names_the_paper_of_every_technique(capsys) -> None:
    with pytest.raises(SystemExit):
        mixture.main(["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for section in ("3.1", "3.2", "3.3", "3.5"):
        assert f"Salimans et al. 2016, {section}" in text, section
    papers = ("Goodfellow", "Miyato", "Gulrajani", "Sønderby", "Heusel", "Arjovsky", "Salimans and Kingma")
    for paper in (*papers, "Metz", "Srivastava"):
        assert paper in text, paper


def test_norms_are_those_of_the_networks() -> None:
    types = get_type_hints(MixtureConfig)
    assert get_args(types["g_norm"]) == G_NORMS and get_args(types["d_norm"]) == (*D_NORMS, *GRADIENT_NORMS)


def test_a_picture_shows_points_where_they_are() -> None:
    one = Mixture(torch.zeros(1, 2), 0.1)  # from -1 to 1 along both axes
    (at,) = torch.tensor([[0.5, 0.5]]).split(1)
    picture = strip(one, [at, torch.full((3, 2), math.nan), torch.full((3, 2), 9.0)])
    assert picture.size == (3 * TILE, TILE)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    shown, nowhere, outside = pixels.split(TILE, 2)
    blue = (shown != nowhere).any(0).nonzero()
    assert torch.equal(nowhere, outside)
    # Right of the middle and above it: a quarter of the tile from its top, and from its right border.
    assert blue.amin(0).tolist() == [TILE // 4, 3 * TILE // 4]
    assert blue.amax(0).tolist() == [TILE // 4 + 1, 3 * TILE // 4 + 1]


@pytest.fixture
def study(monkeypatch, tmp_path):
    """Two techniques of tiny networks; calls the program."""
    sizes = {"batch": 8, "latent": 3, "width": 8}
    both = {"baseline": sizes, "smooth": {**sizes, "loss": SMOOTHED}}
    monkeypatch.setattr(mode_collapse, "TECHNIQUES", both)

    def run(*options: str) -> int:
        return mode_collapse.main(["--out", str(tmp_path), "--steps", "4", "--jobs", "1", "--seeds", "1", *options])

    return run


def test_a_study_has_a_row_for_each_technique_and_pictures(study, tmp_path, capsys) -> None:
    assert study("--seeds", "2") == 0
    text = capsys.readouterr().out
    assert text == (tmp_path / "table.md").read_text()
    heading, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    assert heading[2:] == ["ring: modes of 8", "good %", "divergence", "grid: modes of 25", "good %", "divergence"]
    assert [cells[0] for cells in rows] == ["the data itself", "uniform points", "baseline", "smooth"]
    assert (rows[0][2], rows[0][5]) == ("8.0 ± 0.0", "25.0 ± 0.0")
    assert rows[3][1].endswith(f"--loss '{SMOOTHED}'`")
    config = replace(TINY, loss=SMOOTHED)
    qualities = [train_run(config, seed).quality[-1] for seed in range(2)]
    assert rows[3][4] == spread([q.divergence for q in qualities], 3)
    assert (tmp_path / "ring.png").exists() and (tmp_path / "grid.png").exists()


def test_a_study_continues_and_says_the_same(study, tmp_path, capsys, monkeypatch) -> None:
    study()
    first = capsys.readouterr()
    assert "0 of 4 results are already done" in first.err
    (tmp_path / "strips" / "ring-smooth-0.png").unlink()
    study()
    again = capsys.readouterr()
    assert "3 of 4 results are already done" in again.err and again.out == first.out
    study("--seeds", "2")
    assert "4 of 8 results are already done" in capsys.readouterr().err


def test_other_options_are_another_study_or_other_runs(study, monkeypatch, capsys) -> None:
    study("--only", "smooth")
    with pytest.raises(UsageError, match=r"holds results with steps={'ring': 4, 'grid': 4}, not steps={'ring': 3"):
        study("--steps", "3")
    monkeypatch.setitem(mode_collapse.TECHNIQUES["smooth"], "loss", "lsgan")
    study("--only", "smooth")
    assert "0 of 2 results are already done" in capsys.readouterr().err.splitlines()[-3]


def test_runs_that_diverge_are_left_out_of_the_table(study, monkeypatch, capsys) -> None:
    monkeypatch.setitem(mode_collapse.TECHNIQUES["smooth"], "lr", 1e30)
    with pytest.raises(TrainingError, match=r"2 trainings failed .* ring, smooth, seed 0: diverged by step"):
        study()
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[2:]] == ["the", "uniform", "baseline"]


def test_sigterm_ends_the_study_and_its_processes(tmp_path) -> None:
    words = ["--only", "baseline", "--steps", "200", "--seeds", "50", "--jobs", "2", "--out", str(tmp_path)]
    words = [sys.executable, "-m", "train.studies.mode_collapse", *words]
    program = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert program.stderr.readline().startswith("0 of ") and program.stderr.readline().startswith("[1/")
    workers = workers_of(program.pid)
    assert len(workers) == 2
    program.terminate()
    _, err = program.communicate(timeout=60)
    assert program.returncode == 128 + signal.SIGTERM
    assert err.splitlines()[-1].startswith("stopped; the same command continues") and "Traceback" not in err
    assert not [worker for worker in workers if worker.exists()]


def workers_of(process: int) -> list[Path]:
    """Of its processes those that multiprocessing started to work."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [Path("/proc", child) for child in children if "spawn_main" in Path("/proc", child, "cmdline").read_text()]


def test_an_unknown_technique_is_refused(study) -> None:
    with pytest.raises(UsageError, match="'magic' is not one of baseline; smooth"):
        study("--only", "baseline;magic")


@pytest.mark.parametrize("name", mode_collapse.TECHNIQUES)
def test_the_studys_techniques_can_be_trained(name: str) -> None:
    MixtureConfig(**mode_collapse.TECHNIQUES[name]).check()
