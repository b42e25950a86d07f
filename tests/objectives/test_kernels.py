"""MMD: kernels and losses by hand, the estimate against closed forms, and the witness that penalties differentiate."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import nn, tensor

from gan_ops.objectives import Mmd, Scores, WganGP, score_gradient
from gan_ops.objectives.kernels import Kernel, kernel_values

KERNELS = pytest.mark.parametrize("kernel", get_args(Kernel))
REAL, FAKE = tensor([[0.0, 0.0], [3.0, 4.0]]), tensor([[0.0, 0.0], [0.0, 1.0], [3.0, 4.0]])


def by_hand(kernel: str, d: float) -> float:
    """k at the distance d."""
    match kernel:
        case "gaussian":
            return sum(math.exp(-(d**2) / (2 * sigma**2)) for sigma in (1, 2, 4, 8, 16))
        case "rational-quadratic":
            return sum((1 + d**2 / (2 * alpha)) ** -alpha for alpha in (0.2, 0.5, 1, 2, 5))
        case "distance":
            return -float(d)
        case "exponential":
            return math.exp(-d)


def mmd_by_hand(kernel: str) -> float:
    """Of REAL and FAKE."""
    k, side = lambda d: by_hand(kernel, d), math.sqrt(18)
    return k(5) + (k(1) + k(5) + k(side)) / 3 - 2 * (k(0) + k(1) + k(5) + k(5) + k(side) + k(0)) / 6


@KERNELS
def test_kernel_values(kernel):
    expected = [[by_hand(kernel, 0), by_hand(kernel, 1), by_hand(kernel, 5)]]
    torch.testing.assert_close(kernel_values(REAL[:1], FAKE, kernel), tensor(expected))


@KERNELS
def test_losses(kernel):
    objective = Mmd(kernel, outputs=2)
    assert objective.g(FAKE, REAL).item() == pytest.approx(mmd_by_hand(kernel), rel=1e-5)
    assert objective.d(REAL, FAKE).item() == pytest.approx(-mmd_by_hand(kernel), rel=1e-5)
    assert torch.equal(objective.d(Scores(REAL), Scores(FAKE), {}), objective.d(REAL, FAKE))


def test_a_derivative_by_hand():
    # k = −|d| of x = 0, 1 and y = 2, 4: MMD² = 2·(2 + 4 + 1 + 3)/4 − 1 − 2, and each y sees two xs below and one y.
    real, fake = tensor([0.0, 1.0]), tensor([2.0, 4.0]).requires_grad_()
    loss = Mmd("distance", outputs=1).g(fake, real)
    loss.backward()
    assert loss.item() == 2.0
    assert fake.grad.tolist() == [2 / 4 * 2 + 1, 2 / 4 * 2 - 1]


def test_scores_count_as_vectors_of_one_number():
    objective = Mmd(outputs=1)
    assert torch.equal(objective.d(REAL[:, 1], FAKE[:, 1]), objective.d(REAL[:, 1:], FAKE[:, 1:]))


def test_the_linear_term_is_the_distance_of_the_means_less_its_bias():
    actual = Mmd(outputs=2, linear=3.0).g(FAKE, REAL) - Mmd(outputs=2).g(FAKE, REAL)
    # ⟨x₁, x₂⟩ = 0; the pairs of fakes 0, 4 and 0, averaged; both means' product.
    expected = 3 * (0 + 4 / 3 - 2 * (1.5 * 1 + 2 * 5 / 3))
    assert actual.item() == pytest.approx(expected, rel=1e-5)


def test_its_invariances():
    torch.manual_seed(0)
    x, y, turn = torch.randn(6, 3), torch.randn(5, 3) + 1, torch.linalg.qr(torch.randn(3, 3)).Q
    for kernel in get_args(Kernel):
        g = Mmd(kernel, outputs=3).g
        torch.testing.assert_close(g(y + 7, x + 7), g(y, x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(g(y @ turn, x @ turn), g(y, x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(g(x, y), g(y, x))


@KERNELS
def test_the_estimate_is_0_in_the_mean_for_equal_distributions(kernel):
    random = torch.Generator().manual_seed(0)
    objective = Mmd(kernel, outputs=2)
    draws = torch.stack([objective.g(*torch.randn(2, 8, 2, generator=random)) for _ in range(1000)])
    error = draws.std() / math.sqrt(len(draws))
    assert draws.mean().abs() < 3 * error
    # The biased estimate, with the pairs of a sample with itself, would be above it by (k(0) − E k)·2/8.
    assert error < (by_hand(kernel, 0) - by_hand(kernel, 1.5)) * 2 / 8 / 5


def test_of_two_normals_it_is_the_closed_form():
    # E exp(−(X − Y)²/2σ²) of X − Y ~ N(m, v) is σ/√(σ² + v)·exp(−m²/2(σ² + v)).
    def mean(m: float, v: float) -> float:
        widths = (1, 2, 4, 8, 16)
        return sum(s / math.sqrt(s**2 + v) * math.exp(-(m**2) / (2 * (s**2 + v))) for s in widths)

    expected = mean(0, 2) + mean(0, 8) - 2 * mean(1.5, 5)  # N(0, 1) and N(1.5, 4)
    random = torch.Generator().manual_seed(0)
    objective = Mmd("gaussian", outputs=1)
    normals = torch.randn(300, 2, 64, generator=random)
    draws = torch.stack([objective.g(1.5 + 2 * y, x) for x, y in normals])
    error = draws.std().item() / math.sqrt(len(draws))
    assert draws.mean().item() == pytest.approx(expected, abs=3 * error) and error < 0.02 * expected


@KERNELS
def test_the_witness_by_hand(kernel):
    k, side = lambda d: by_hand(kernel, d), math.sqrt(18)
    expected = [(k(0) + k(5)) / 2 - (k(0) + k(1) + k(5)) / 3, (k(1) + k(side)) / 2 - (k(1) + k(0) + k(side)) / 3]
    actual = Mmd(kernel, outputs=2).witness(FAKE[:2], REAL, FAKE)
    torch.testing.assert_close(actual, tensor(expected))


def critic() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 3)).double()


@KERNELS
def test_the_penalty_on_the_witness_has_gradients_at_real_samples_too(kernel):
    h, objective = critic(), Mmd(kernel, outputs=3)
    real, fake = REAL.double(), FAKE[:2].double()
    (penalty,) = objective.penalties
    points = penalty.points(real, fake, torch.tensor([0.0, 0.5], dtype=torch.float64))  # the first is a real sample

    def loss(*parameters):
        net = lambda x: torch.func.functional_call(h, dict(zip(names, parameters, strict=True)), x)  # noqa: E731
        gradient = score_gradient(lambda t: objective.witness(net(t), net(real), net(fake)), points)
        return penalty.loss(gradient)

    names = [name for name, _ in h.named_parameters()]
    value = loss(*h.parameters())
    gradients = torch.autograd.grad(value, list(h.parameters()), allow_unused=True)
    assert value.isfinite() and all(g is None or g.isfinite().all() for g in gradients)
    assert gradients[0].abs().max() > 0
    if kernel not in ("distance", "exponential"):  # those have a kink at the first point
        assert torch.autograd.gradcheck(loss, tuple(h.parameters()))


@KERNELS
def test_first_and_second_derivatives(kernel):
    torch.manual_seed(0)
    x, y = torch.randn(4, 2).double().requires_grad_(), torch.randn(3, 2).double().requires_grad_()
    for function in (lambda x, y: Mmd(kernel, 2, linear=0.5).g(y, x), lambda x, y: Mmd(kernel, 2).witness(y[:1], x, y)):
        assert torch.autograd.gradcheck(function, (x, y))
        assert torch.autograd.gradgradcheck(function, (x, y))


@KERNELS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [100.0, 0.0])
def test_of_extreme_and_of_coinciding_scores_losses_and_gradients_are_finite(kernel, dtype, size):
    real = (size * tensor([[1.0, -1.0], [-1.0, 1.0]])).to(dtype).requires_grad_()
    fake = (size * tensor([[1.0, -1.0], [1.0, 1.0]])).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = Mmd(kernel, 2, linear=1.0).d(real, fake)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite() and real.grad.isfinite().all() and fake.grad.isfinite().all()


def test_an_autoencoders_codes_are_compared_and_it_learns_to_reconstruct_both():
    codes, energies = (REAL, FAKE), (tensor([1.0, 3.0]), tensor([0.5, 0.5, 2.0]))
    real, fake = (Scores(-e, maps=(torch.zeros(len(e), 7), c)) for e, c in zip(energies, codes, strict=True))
    objective = Mmd("gaussian", outputs=1, reconstruction=8.0)
    mmd = mmd_by_hand("gaussian")
    assert objective.d(real, fake).item() == pytest.approx(-mmd + 8 * (2 + 1), rel=1e-5)
    assert objective.g(fake, real).item() == pytest.approx(mmd, rel=1e-5)


def test_what_it_asks_of_its_trainer():
    default = Mmd()
    assert default.compares and not default.shown and default.outputs == 16 and default.clip == 0
    assert default.penalties == (WganGP(1.0),) and Mmd(weight=0.0).penalties == ()
    assert Mmd(weight=5.0, clip=0.01).penalties == (WganGP(5.0),) and Mmd(clip=0.01).clip == 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mmd("laplace"), "kernel='laplace' is not one of gaussian, rational-quadratic, distance, exponential"),
        (lambda: Mmd(outputs=0), "outputs=0 is not a whole number of at least 1"),
        (lambda: Mmd(linear=-1.0), "linear=-1.0 is not a finite number of at least 0"),
        (lambda: Mmd(weight=math.inf), "weight=inf"),
        (lambda: Mmd(clip=-0.1), "clip=-0.1"),
        (lambda: Mmd(reconstruction=8.0), "outputs=16: an autoencoder's energy is one number"),
        (lambda: Mmd(outputs=2).g(FAKE, REAL[:1]), "at least two samples with two, but got 1 and 3"),
    ],
)
def test_impossible_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
