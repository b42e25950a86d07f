"""``python -m train.studies.divergences``: values that are known, critics at their optimum, the table and the page."""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gan_ops import objectives
from gan_ops.objectives import Scores, WganGP
from train.base.errors import UsageError
from train.studies import divergences, trained_critics
from train.studies import known_values as known
from train.studies.divergence_methods import BY_NAME, METHODS, ratio_error
from train.studies.divergences import ALL_PAIRS
from train.studies.divergences_page import listed, page
from train.studies.divergences_picture import PANELS, draw
from train.studies.divergences_table import Found, deviation, missed, summary
from train.studies.normals import PAIRS, Between, Normals, Pair, shifted
from train.studies.optimal_critics import (
    Critic,
    compressed,
    expected,
    expected_of_pairs,
    expected_penalty,
)

pytestmark = pytest.mark.usefixtures("one_thread")

DOCS = Path(__file__).parents[2] / "docs"
TWO = PAIRS["two normals"]  # N(0, 1) and N(1, 1.2²)


def phi(x: float) -> float:
    """Φ"""
    return (1 + math.erf(x / math.sqrt(2))) / 2


def of_absolute(mean: float, variance: float) -> float:
    """E|N(mean, variance)|"""
    s = math.sqrt(variance)
    density = math.exp(-(mean**2) / (2 * variance)) / math.sqrt(2 * math.pi)
    return 2 * s * density + mean * (2 * phi(mean / s) - 1)


# ---- the distributions


def test_a_mixture_is_the_weighted_sum_of_its_parts() -> None:
    mixture = Normals((-1.0, 2.0), (0.5, 2.0), (0.25, 0.75))
    x = torch.tensor([0.3]).double()
    root = math.sqrt(2 * math.pi)
    first, second = math.exp(-((1.3 / 0.5) ** 2) / 2) / (0.5 * root), math.exp(-((1.7 / 2) ** 2) / 2) / (2 * root)
    assert mixture.density(x).item() == pytest.approx(0.25 * first + 0.75 * second)
    assert mixture.cdf(x).item() == pytest.approx(0.25 * phi(1.3 / 0.5) + 0.75 * phi(-1.7 / 2))


@pytest.mark.parametrize("pair", PAIRS.values(), ids=list(PAIRS))
def test_the_points_of_a_gradient_penalty_lie_as_the_density_between_says(pair: Pair) -> None:
    random = torch.Generator().manual_seed(0)

    def drawn(side: Normals) -> Tensor:
        part = torch.multinomial(torch.tensor(side.weights), 20_000, True, generator=random)
        normal = torch.randn(20_000, generator=random, dtype=torch.float64)
        return (torch.tensor(side.means).double()[part] + torch.tensor(side.deviations).double()[part] * normal)[
            :, None
        ]

    points = WganGP().points(drawn(pair.p), drawn(pair.q), generator=random)[:, 0].sort().values
    shares = (torch.arange(len(points)) + 0.5) / len(points)
    assert (pair.between.cdf(points) - shares).abs().max() < 0.012  # Kolmogorov's bound for 99 %: 0.0115


def test_the_density_between_is_the_derivative_of_its_distribution_and_lies_between() -> None:
    between = Between(Normals((0.0,), (0.05,)), Normals((1.0,), (0.05,)))
    x = torch.tensor([-0.5, 0.25, 0.5, 1.5]).double()
    assert between.density(x).tolist() == pytest.approx([0, 1, 1, 0], abs=0.01)  # nearly uniform on [0, 1]
    x, step = TWO.grid(50), 1e-4
    slope = (TWO.between.cdf(x + step) - TWO.between.cdf(x - step)) / (2 * step)
    torch.testing.assert_close(TWO.between.density(x), slope, atol=1e-6, rtol=1e-5)


def test_quantiles_have_equal_parts_of_the_probability_between_them() -> None:
    points = TWO.quantiles(TWO.p, 4)
    assert TWO.p.cdf(points).tolist() == pytest.approx([0.125, 0.375, 0.625, 0.875])


# ---- values


@pytest.mark.parametrize("by", [0.5, 2.0, 5.0])
def test_values_of_two_normals_of_unit_variance_are_the_closed_forms(by: float) -> None:
    pair = shifted(by)
    assert known.kl(pair) == pytest.approx(by**2 / 2) == known.reverse_kl(pair)
    assert known.pearson(pair) == pytest.approx(math.expm1(by**2)) == known.neyman(pair)
    assert known.hellinger(pair) == pytest.approx(2 - 2 * math.exp(-(by**2) / 8))
    assert known.alpha(pair, 1.5) == pytest.approx((math.exp(0.375 * by**2) - 1) / 0.75)
    assert known.tv(pair) == pytest.approx(2 * phi(by / 2) - 1, rel=1e-4)
    assert known.w1(pair) == pytest.approx(by, rel=1e-6)
    energy = 2 * of_absolute(by, 2) - 2 * of_absolute(0, 2)
    assert known.energy_distance(pair) == pytest.approx(energy)
    assert known.kernel_mmd(pair, lambda distance: -distance) == pytest.approx(energy, rel=1e-4)
    widths = (0.5, 3.0)
    closed = sum(2 * w / math.sqrt(w**2 + 2) * (1 - math.exp(-(by**2) / (2 * (w**2 + 2)))) for w in widths)
    assert known.gaussian_mmd(pair, widths) == pytest.approx(closed)


def test_values_that_are_related() -> None:
    for pair in PAIRS.values():
        assert 0 < known.js(pair) < math.log(2) and 0 < known.triangular(pair) < 2
        assert known.weighted_js(pair, 0.5) == known.js(pair)
        assert known.alpha(pair, 0.5) == pytest.approx(2 * known.hellinger(pair))
        assert known.alpha(pair, 2.0) == pytest.approx(known.pearson(pair) / 2)
        assert known.fisher(pair) == pytest.approx(math.sqrt(2 * known.triangular(pair)))

        def kernel(distance: Tensor) -> Tensor:
            return (-distance.square() / 2).exp()

        assert known.kernel_mmd(pair, kernel) == pytest.approx(known.gaussian_mmd(pair, (1.0,)), rel=1e-4)


def test_the_divergence_of_two_normals_of_other_variances() -> None:
    assert known.kl(TWO) == pytest.approx(math.log(1.2) + 2 / (2 * 1.44) - 0.5)
    assert known.reverse_kl(TWO) == pytest.approx(-math.log(1.2) + (1.44 + 1) / 2 - 0.5)


@pytest.mark.parametrize(
    ("value", "slope"),
    [
        (partial(known.of_gradient_penalty, weight=10.0), lambda h, u: 1 + h / (20 * u)),
        (partial(known.of_power_penalty, weight=2.0, power=6.0), lambda h, u: (h / (12 * u)) ** 0.2),
    ],
    ids=["wgan-gp", "wgan-div"],
)
def test_the_values_of_penalties_are_those_of_the_critic_with_the_best_slope(value, slope) -> None:
    d = known.densities(TWO)
    u = TWO.between.density(d.x)
    inside = (d.h > 1e-12) & (u > 1e-12)
    sign = (TWO.q.cdf(d.x) - TWO.p.cdf(d.x)).sign()
    slopes = torch.where(inside, slope(d.h, u.clamp(min=1e-12)), 0.0)

    def objective(factor: Tensor | float) -> tuple[float, float]:
        """E_p[D] − E_q[D] of the critic with these slopes, and that with its penalty."""
        steep = slopes * factor
        critic = torch.cumsum(sign * steep, 0) * d.dx
        difference = d.integral((d.p - d.q) * critic)
        penalty = 10 * (steep - 1) ** 2 if value.keywords["weight"] == 10 else 2 * steep**6
        return difference, difference - d.integral(u * penalty * inside)

    difference, best = objective(1.0)
    assert value(TWO) == pytest.approx(difference if value.keywords["weight"] == 10 else best, rel=1e-2)
    bump = 1 + 0.1 * torch.exp(-((d.x - 1) ** 2))
    assert all(objective(other)[1] < best for other in (0.95, 1.05, bump, 2 - bump))


def test_the_quadratic_potential_of_two_points_is_half_of_lambda_times_their_distance() -> None:
    points = Pair("points", Normals((0.0,), (0.01,)), Normals((1.0,), (0.01,)), -0.1, 1.1)
    assert known.quadratic_potential(points, 10.0) == pytest.approx(5.0, rel=1e-2)  # δ − δ²/20 at δ = 10


# ---- expectations


@pytest.mark.parametrize(
    "name", ["f(divergence=neyman)", "minimax", "lsgan", "hinge", "likelihood-ratio(family=hinge)"]
)
def test_weights_are_as_repeated_samples(name: str) -> None:
    objective, scores = BY_NAME[name].objective(), torch.tensor([-1.5, 0.5, 2.0]).double()
    p, q = torch.tensor([2.0, 1.0, 1.0]).double() / 4, torch.tensor([0.0, 1.0, 3.0]).double() / 4
    repeated = objective.d(scores[[0, 0, 1, 2]], scores[[1, 2, 2, 2]])
    torch.testing.assert_close(expected(objective, scores, p, q), repeated)


def test_weighted_penalties_and_pairs_are_as_repeated_ones() -> None:
    gradient, u = torch.tensor([[0.5], [3.0]]).double(), torch.tensor([0.75, 0.25]).double()
    assert expected_penalty(WganGP(10.0), gradient, u).item() == pytest.approx(10 * (0.75 * 0.25 + 0.25 * 4))
    objective = objectives.QuadraticPotential()
    scores, x = torch.tensor([1.0, 4.0]).double(), torch.tensor([[0.0], [2.0]]).double()
    weights = torch.tensor([[0.0, 0.75], [0.25, 0.0]]).double()
    real, fake = [0, 0, 0, 1], [1, 1, 1, 0]
    batch = objective.d(Scores(scores[real], x=x[real]), Scores(scores[fake], x=x[fake]))
    torch.testing.assert_close(expected_of_pairs(objective, scores, x, weights), batch)


def test_the_logarithm_keeps_the_order_and_the_sign() -> None:
    values = torch.tensor([-1e6, -1.0, 0.0, 1.0, 1e20]).double()
    assert compressed(values).tolist() == pytest.approx(
        [-math.log(1 + 1e6), -math.log(2), 0, math.log(2), math.log(1e20)]
    )


# ---- critics


@pytest.mark.parametrize(
    "name",
    ["f(divergence=reverse-kl)", "f(divergence=tv)", "lsgan(a=-1, b=1, c=0)", "wgan-gp"],
)
def test_a_critic_reaches_the_value(name: str) -> None:
    method, pair = BY_NAME[name], PAIRS["normal and mixture"]
    trained = dataclasses.replace(method.way, adam=60, lbfgs=40)(method.objective(), pair, False)
    assert method.read(trained) == pytest.approx(method.value(pair), rel=0.03)


def test_a_critic_reaches_values_of_many_powers_of_ten() -> None:
    method, pair = BY_NAME["likelihood-ratio(family=mean-square)"], PAIRS["hardly overlapping"]
    value = method.value(pair)
    assert value > 1e7
    trained = method.way(method.objective(), pair, True)
    assert math.log(method.read(trained)) == pytest.approx(math.log(value), rel=0.03)
    assert ratio_error(method, pair, trained) < 0.03


def test_of_batches_the_c_transform_measures_w1(monkeypatch) -> None:
    monkeypatch.setattr(trained_critics, "QUANTILES", 64)
    method = BY_NAME["c-transform"]
    assert method.read(method.way(method.objective(), TWO, False)) == pytest.approx(known.w1(TWO), rel=0.1)


def test_a_normalised_critic_stays_below_twice_the_total_variation() -> None:
    method = BY_NAME["wgan-gp(weight=0) --d-norm gradient"]
    trained = dataclasses.replace(method.way, adam=40, lbfgs=20)(method.objective(), TWO, False)
    assert 0.3 < method.read(trained) < 2 * known.tv(TWO) and trained.scores.abs().max() <= 1


def test_the_error_of_a_ratio_is_that_of_d() -> None:
    method = BY_NAME["likelihood-ratio(family=exponential)"]
    x, (p, q) = TWO.grid(300), TWO.weights(300)
    log_r = TWO.p.log_density(x) - TWO.q.log_density(x)
    trained = trained_critics.Trained(method.objective(), 0.0, 0.0, 1.1 * log_r, p, q, {})
    assert ratio_error(method, TWO, trained) == pytest.approx(0.1)
    assert ratio_error(BY_NAME["minimax"], TWO, trained) is None


def test_critics_are_the_same_each_time_and_take_no_random_numbers_from_others() -> None:
    torch.manual_seed(3)
    state, x = torch.get_rng_state(), TWO.grid(5)[:, None]
    assert torch.equal(Critic(TWO)(x), Critic(TWO)(x)) and torch.equal(state, torch.get_rng_state())


# ---- the table


def test_large_values_are_compared_by_their_logarithms() -> None:
    assert deviation(Found(math.exp(20), math.exp(21), None, 1.0)) == pytest.approx(0.05)
    assert deviation(Found(-2.0, -2.2, None, 1.0)) == pytest.approx(-0.1)
    assert math.isnan(deviation(Found(math.exp(20), -1.0, None, 1.0)))


def test_what_is_off_by_more_than_the_tolerance_is_missed() -> None:
    good, off, worse = Found(1.0, 1.02, None, 1.0), Found(1.0, 1.05, None, 1.0), Found(1.0, math.nan, None, 1.0)
    bad_ratio = Found(1.0, 1.0, 0.04, 1.0)
    found = {
        ("minimax", "two normals"): good,
        ("lsgan", "two normals"): off,
        ("hinge", "two normals"): worse,
        ("c-transform", "two normals"): off,
        ("likelihood-ratio(family=hinge)", "two normals"): bad_ratio,
        ("wgan-gp(weight=0) --d-norm gradient-v2", "two normals"): Found(1.0, 50.0, None, 1.0),
    }
    lines = missed(found)
    assert [line.split(",")[0] for line in lines] == ["lsgan", "hinge", "likelihood-ratio(family=hinge)"]
    assert "1.05 instead of 1 (+5.0%)" in lines[0]


def test_the_table_has_a_row_for_each_method_and_no_bars_within_cells() -> None:
    found = {(method.name, pair): Found(2.0, 2.01, None, 1.0) for method in METHODS for pair in PAIRS}
    found["f(divergence=kl)", "hardly overlapping"] = Found(math.exp(20), math.exp(20.1), None, 1.0)
    head, _, *rows = summary(found).split("\n\n")[0].splitlines()
    assert len(rows) == len(METHODS) and head.count("|") == 11
    assert all(row.replace("\\|", "").count("|") == 11 for row in rows)
    assert "e^20.000" in rows[0] and "e^20.100" in rows[0] and "0.50 %" in rows[0]


# ---- the program


def test_rows_are_chosen_by_words_and_what_is_done_is_not_done_again(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(trained_critics, "COMPARED", 1024)
    args = ["--out", str(tmp_path / "out"), "--only", "kernel=distance"]
    assert divergences.main(args) == 0
    first = capsys.readouterr()
    assert "[8/8] mmd(kernel=distance), N(0, 1) and N(8, 1)" in first.err and "all within tolerance" in first.out
    assert not list((tmp_path / "out").glob("*.md"))  # a page of some rows would say too little
    assert divergences.main(args) == 0
    second = capsys.readouterr()
    assert second.err == "8 of 8 results are already done\n" and second.out == first.out


def test_what_is_off_is_told_and_is_the_exit_status(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(trained_critics, "COMPARED", 8)
    assert divergences.main(["--out", str(tmp_path / "out"), "--only", "kernel=distance"]) == 1
    last = capsys.readouterr().out.partition("off by more than the tolerance:\n")[2]
    assert last.startswith("mmd(kernel=distance), two normals: ")


def test_wrong_options_are_named(tmp_path) -> None:
    with pytest.raises(UsageError, match="only: 'mdm' is not in any of f"):
        divergences.main(["--out", str(tmp_path / "out"), "--only", "mdm"])
    with pytest.raises(UsageError, match=r"page=.*objectives.txt is not a Markdown file's name"):
        divergences.main(["--out", str(tmp_path / "out"), "--page", str(tmp_path / "objectives.txt")])


def test_a_page_has_the_table_and_its_picture(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    found = {(method.name, pair): Found(2.0, 2.01, None, 60.0) for method in METHODS for pair in ALL_PAIRS}
    picture = tmp_path / "page.png"
    draw(picture, found, distances=(1.0, 2.0))
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = page(found, "python -m command", picture.name)
    assert all(part in text for part in (*summary(found).split("\n\n"), "](page.png)", "python -m command", listed()))
    assert f"{len(found):.0f} minutes" in text


def test_every_curve_of_the_picture_is_a_row_and_has_its_value() -> None:
    for panel in PANELS:
        for curve in panel.curves:
            assert math.isfinite(curve.of(BY_NAME[curve.method].value(shifted(1.0))))


def test_the_page_lists_all_objectives_as_they_are() -> None:
    assert listed() in (DOCS / "objectives.md").read_text()
