"""Losses that judge samples against each other: values by hand, and what they do not depend on."""

from __future__ import annotations

import dataclasses
import math
from math import exp, log, sqrt

import pytest
import torch
from torch import Tensor, tensor

from gan_ops.objectives import R1, R2, Objective, QuadraticPotential, R3Gan, Relativistic, Scores, Softmax

KINDS = ["logistic", "least-squares", "hinge"]
RELATIVISTIC = [Relativistic(average, kind) for average in (True, False) for kind in KINDS]
COMPARING = [Softmax(), *RELATIVISTIC, R3Gan()]
POTENTIALS = [QuadraticPotential(), QuadraticPotential(2.0, "l2")]
ALL = [*COMPARING, *POTENTIALS]


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def shown(scores: Tensor, seed: int) -> Scores:
    """With samples that the score does not know of."""
    return Scores(scores, x=torch.randn(len(scores), 3, 2, 2, generator=torch.Generator().manual_seed(seed)))


def losses(objective: Objective, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Of D and of G."""
    real, fake = shown(real, 0), shown(fake, 1)
    return objective.d(real, fake, {}), objective.g(fake, real if objective.compares else None, {})


def gradients(objective: Objective, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of D's loss with respect to both, of G's with respect to the fakes; reals come to G without a graph."""
    real, fake = real.clone().requires_grad_(), fake.clone().requires_grad_()
    d, _ = losses(objective, real, fake)
    _, g = losses(objective, real.detach(), fake)
    return *torch.autograd.grad(d, (real, fake)), *torch.autograd.grad(g, (fake,))


def softplus(x: float) -> float:
    return log(1 + exp(x))


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_softmax():
    real, fake = doubles(1.0, 3.0), doubles(0.0)
    total = exp(1) + exp(3) + 1
    d, g = losses(Softmax(), real, fake)
    assert d.item() == pytest.approx(log(total) - 2)
    assert g.item() == pytest.approx(log(total) - 4 / 3)
    d_real, d_fake, g_fake = gradients(Softmax(), real, fake)
    torch.testing.assert_close(d_real, doubles(exp(1) / total - 1 / 2, exp(3) / total - 1 / 2))
    torch.testing.assert_close(d_fake, doubles(1 / total))
    torch.testing.assert_close(g_fake, doubles(1 / total - 1 / 3))


def test_the_least_values_of_softmax():
    """The logarithms of how many reals there are, for D, and of how many samples, for G."""
    assert Softmax().d(torch.full((4,), 50.0), torch.full((3,), -50.0)).item() == pytest.approx(log(4))
    assert Softmax().g(torch.ones(3), torch.ones(4)).item() == pytest.approx(log(7))


@pytest.mark.parametrize(
    ("kind", "h", "slope"),
    [
        ("logistic", lambda y: softplus(-y), lambda y: -sigmoid(-y)),
        ("least-squares", lambda y: (y - 1) ** 2, lambda y: 2 * (y - 1)),
        ("hinge", lambda y: max(0, 1 - y), lambda y: -1 if y < 1 else 0),
    ],
)
class TestRelativistic:
    """Reals 1 and 2.5, fakes 0.2 and −0.4: means 1.75 and −0.1."""

    real, fake = doubles(1.0, 2.5), doubles(0.2, -0.4)

    def test_averages(self, kind, h, slope):
        d, g = losses(Relativistic(of=kind), self.real, self.fake)
        assert d.item() == pytest.approx((h(1.1) + h(2.6)) / 2 + (h(1.55) + h(2.15)) / 2)
        assert g.item() == pytest.approx((h(-1.55) + h(-2.15)) / 2 + (h(-1.1) + h(-2.6)) / 2)

    def test_derivatives_of_averages(self, kind, h, slope):
        d_real, d_fake, g_fake = gradients(Relativistic(of=kind), self.real, self.fake)
        above, below = (slope(1.1), slope(2.6)), (slope(1.55), slope(2.15))  # of reals, of fakes
        # The other batch's mean holds half of each score.
        torch.testing.assert_close(d_real, doubles(*(own / 2 + sum(below) / 4 for own in above)))
        torch.testing.assert_close(d_fake, doubles(*(-own / 2 - sum(above) / 4 for own in below)))
        above, below = (slope(-1.1), slope(-2.6)), (slope(-1.55), slope(-2.15))
        torch.testing.assert_close(g_fake, doubles(*(own / 2 + sum(above) / 4 for own in below)))

    def test_pairs(self, kind, h, slope):
        d, g = losses(Relativistic(False, kind), self.real, self.fake)
        assert d.item() == pytest.approx((h(0.8) + h(2.9)) / 2)
        assert g.item() == pytest.approx((h(-0.8) + h(-2.9)) / 2)
        d_real, d_fake, g_fake = gradients(Relativistic(False, kind), self.real, self.fake)
        torch.testing.assert_close(d_real, doubles(slope(0.8) / 2, slope(2.9) / 2))
        torch.testing.assert_close(d_fake, -d_real)
        torch.testing.assert_close(g_fake, doubles(slope(-0.8) / 2, slope(-2.9) / 2))


@pytest.mark.parametrize("average", [True, False])
def test_patches_are_compared_place_by_place(average):
    real, fake = torch.randn(4, 2, 3), torch.randn(4, 2, 3)
    objective = Relativistic(average)
    apart = [objective.d(real[:, i, j], fake[:, i, j]) for i in range(2) for j in range(3)]
    torch.testing.assert_close(objective.d(real, fake), torch.stack(apart).mean())


def test_averages_take_batches_of_two_sizes_and_pairs_do_not():
    assert Relativistic().d(tensor([0.0, 0.0, 0.0]), tensor([0.0])).item() == pytest.approx(2 * log(2))
    with pytest.raises(ValueError, match=r"pairs need batches of one shape, but these are \[3\] and \[2\]"):
        Relativistic(False).d(torch.zeros(3), torch.zeros(2))


def test_r3gan_is_relativistic_pairs_with_both_penalties():
    real, fake = torch.randn(5), torch.randn(5)
    assert losses(R3Gan(), real, fake) == losses(Relativistic(False), real, fake)
    assert R3Gan(gamma=2.0).penalties == (R1(2.0), R2(2.0)) and R3Gan(gamma=0.0).penalties == ()
    assert [field.name for field in dataclasses.fields(R3Gan) if field.init] == ["gamma"]


X = tensor([[1.0, 0.0], [0.0, 0.0]]), tensor([[0.0, 3.0], [0.0, 0.0]])  # the second pair is of equal samples


@pytest.mark.parametrize(("distance", "d"), [("l1", 2.0), ("l2", sqrt(5.0))])
def test_quadratic_potential(distance, d):
    objective = QuadraticPotential(distance=distance)
    real = Scores(tensor([4.0, 1.5], requires_grad=True), x=X[0].clone().requires_grad_())
    fake = Scores(tensor([1.0, 1.5], requires_grad=True), x=X[1].clone().requires_grad_())
    loss = objective.d(real, fake)
    assert loss.item() == pytest.approx((-3 + 3**2 / (2 * 10 * d)) / 2)
    loss.backward()
    torch.testing.assert_close(real.score.grad, tensor([-1 + 3 / (10 * d), -1.0]) / 2)
    torch.testing.assert_close(fake.score.grad, -real.score.grad)
    assert real.x.grad is None and fake.x.grad is None
    assert objective.g(fake).item() == pytest.approx(-1.25)
    assert objective.shown and not objective.compares


@pytest.mark.parametrize("objective", POTENTIALS, ids=str)
def test_the_potential_is_least_where_scores_differ_by_its_weight_times_the_distance(objective):
    x = Scores(torch.empty(3), x=torch.randn(3, 4)), Scores(torch.empty(3), x=torch.randn(3, 4))
    difference = x[0].x - x[1].x
    d = difference.abs().mean(1) if objective.distance == "l1" else difference.square().mean(1).sqrt()
    real = (objective.weight * d).requires_grad_()
    loss = objective.d(x[0]._replace(score=real), x[1]._replace(score=torch.zeros(3)))
    assert loss.item() == pytest.approx(-objective.weight * d.mean().item() / 2)
    torch.testing.assert_close(torch.autograd.grad(loss, real)[0], torch.zeros(3), atol=1e-6, rtol=0.0)


def test_distances_are_means_over_all_values_of_a_sample():
    real, fake = torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    scores = torch.randn(4), torch.randn(4)

    def loss(reshape) -> Tensor:
        return QuadraticPotential().d(*(Scores(s, x=reshape(x)) for s, x in zip(scores, (real, fake), strict=True)))

    expected = loss(lambda x: x.flatten(1))
    torch.testing.assert_close(loss(lambda x: x), expected)
    torch.testing.assert_close(loss(lambda x: x.contiguous(memory_format=torch.channels_last)), expected)
    of_numbers = loss(lambda x: x[:, 0, 0, 0])
    torch.testing.assert_close(of_numbers, loss(lambda x: x[:, 0, 0, :1]))


@pytest.mark.parametrize("shift", [-3.0, 40.0])
@pytest.mark.parametrize("objective", ALL, ids=str)
def test_a_shift_of_all_scores_changes_nothing(objective, shift):
    real, fake = torch.randn(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    (d, g), (moved_d, moved_g) = losses(objective, real, fake), losses(objective, real + shift, fake + shift)
    torch.testing.assert_close(moved_d, d)
    torch.testing.assert_close(gradients(objective, real + shift, fake + shift), gradients(objective, real, fake))
    if objective.compares:
        torch.testing.assert_close(moved_g, g)
    else:
        torch.testing.assert_close(moved_g, g - shift)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("objective", ALL, ids=str)
def test_extreme_scores_give_finite_losses_and_gradients(objective, dtype):
    real = torch.tensor([-100.0, -100.0, 0.0, 100.0], dtype=dtype)
    fake = torch.tensor([100.0, -100.0, 100.0, -100.0], dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        values, slopes = losses(objective, real, fake), gradients(objective, real, fake)
    assert all(loss.isfinite() and loss.dtype == torch.float32 for loss in values)
    assert all(slope.isfinite().all() for slope in slopes)
    d_real, d_fake, _ = slopes
    assert d_real[0] < 0 and d_fake[0] > 0  # the worst pair is drawn apart
    lost = gradients(objective, torch.full_like(real, 100.0), torch.full_like(fake, -100.0))
    assert (lost[2] < 0).all()  # and a generator that has lost altogether still learns


@pytest.mark.parametrize("objective", ALL, ids=str)
def test_bfloat16_scores_are_widened_first(objective):
    real, fake = torch.randn(8).bfloat16(), torch.randn(8).bfloat16()
    torch.testing.assert_close(losses(objective, real, fake), losses(objective, real.float(), fake.float()))


@pytest.mark.parametrize("objective", [o for o in ALL if getattr(o, "of", "") != "hinge"], ids=str)
def test_derivatives_of_both_orders(objective):
    real, fake = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda r, f: losses(objective, r, f), (real, fake))
    if objective.compares:
        assert torch.autograd.gradgradcheck(lambda r, f: losses(objective, r, f), (real, fake))


@pytest.mark.parametrize("objective", COMPARING, ids=str)
def test_plain_tensors_are_scores_too(objective):
    real, fake = torch.randn(5), torch.randn(5)
    assert (objective.d(real, fake), objective.g(fake, real)) == losses(objective, real, fake)
    assert objective.compares and not objective.shown


@pytest.mark.parametrize("objective", ALL, ids=str)
def test_each_compiles_as_one_graph(objective, no_compiled_code):
    real, fake = shown(torch.randn(4), 0), shown(torch.randn(4), 1)
    both = torch.compile(lambda r, f: (objective.d(r, f), objective.g(f, r)), fullgraph=True, backend="eager")
    torch.testing.assert_close(both(real, fake), (objective.d(real, fake), objective.g(fake, real)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Relativistic(of="wasserstein"), "of='wasserstein' is not one of logistic, least-squares, hinge"),
        (lambda: R3Gan(gamma=-1.0), "gamma=-1.0 is not a finite number of at least 0"),
        (lambda: QuadraticPotential(0.0), "weight=0.0 is not a finite number above 0"),
        (lambda: QuadraticPotential(math.inf), "weight=inf"),
        (lambda: QuadraticPotential(distance="l0"), "distance='l0' is not one of l1, l2"),
        (
            lambda: QuadraticPotential().d(Scores(torch.zeros(2)), shown(torch.zeros(2), 0)),
            "it takes Scores with x",
        ),
        (lambda: QuadraticPotential().d(shown(torch.zeros(2), 0), torch.zeros(2)), "it takes Scores with x"),
        (lambda: QuadraticPotential().d(shown(torch.zeros(3), 0), shown(torch.zeros(2), 0)), r"\[3\] and \[2\]"),
    ],
)
def test_impossible_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
