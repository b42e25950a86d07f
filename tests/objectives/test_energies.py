"""Objectives of energies against values worked out by hand: the energies are minus the scores."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, tensor

from gan_ops.objectives import Began, EnergyMargin, LossSensitive, Magan, Objective, Scores, pulling_away

# Energies of real samples are 1 and 3, of generated ones 0.5 and 6.
REAL, FAKE = tensor([-1.0, -3.0]), tensor([-0.5, -6.0])
X = tensor([[0.0, 1.0], [2.0, 0.0]])
GENERATED = tensor([[0.5, 1.0], [2.0, -3.0]])  # ‖x − G(z)‖₁ is 0.5 and 3
PAIRS = Scores(REAL, x=X), Scores(FAKE, x=GENERATED)


def playing(margin: float) -> Magan:
    """MAGAN after its pretraining."""
    magan = Magan(epoch=2, pretraining=1)
    magan.step.fill_(2)
    magan.margin.fill_(margin)
    return magan


def began(k: float) -> Began:
    objective = Began()
    objective.k.fill_(k)
    return objective


MAKERS = {
    "EBGAN": lambda: EnergyMargin(2.0, pulling_away=0.0),
    "MAGAN": lambda: playing(2.0),
    "BEGAN": lambda: began(0.25),
    "loss-sensitive": lambda: LossSensitive("paper", weight=2.0, distance=0.5),
    "generalized": lambda: LossSensitive("generalized", distance=0.5, slope=0.2),
}
D_GRADIENTS = {
    # d/ds of the energies' mean is −½ a sample; the second generated sample is beyond the margin of 2.
    "EBGAN": ([-0.5, -0.5], [0.5, 0.0]),
    "MAGAN": ([-0.5, -0.5], [0.5, 0.0]),
    "BEGAN": ([-0.5, -0.5], [0.125, 0.125]),
    # Δ + U(x) − U(G) is 0.25 + 1 − 0.5 = 0.75 and 1.5 + 3 − 6 = −1.5.
    "loss-sensitive": ([-0.5 - 2 * 0.5, -0.5], [2 * 0.5, 0.0]),
    "generalized": ([-0.5, -0.5 * 0.2], [0.5, 0.5 * 0.2]),
}


@pytest.mark.parametrize(
    ("name", "critic", "generator"),
    [
        ("EBGAN", 2.0 + (1.5 + 0) / 2, 3.25),
        ("MAGAN", 2.0 + (1.5 + 0) / 2, 3.25),
        ("BEGAN", 2.0 - 0.25 * 3.25, 3.25),
        ("loss-sensitive", 2.0 + 2 * (0.75 + 0) / 2, 3.25),
        ("generalized", (0.75 - 0.2 * 1.5) / 2, 3.25),
    ],
)
def test_losses(name: str, critic: float, generator: float):
    real, fake = PAIRS
    assert MAKERS[name]().d(real, fake).item() == pytest.approx(critic)
    assert MAKERS[name]().g(fake).item() == pytest.approx(generator)


@pytest.mark.parametrize("name", MAKERS)
def test_gradients(name: str):
    real, fake = (scores._replace(score=scores.score.clone().requires_grad_()) for scores in PAIRS)
    MAKERS[name]().d(real, fake).backward()
    expected = D_GRADIENTS[name]
    torch.testing.assert_close((real.score.grad, fake.score.grad), (tensor(expected[0]), tensor(expected[1])))
    fake.score.grad = None
    MAKERS[name]().g(fake).backward()
    torch.testing.assert_close(fake.score.grad, tensor([-0.5, -0.5]))


@pytest.mark.parametrize("name", MAKERS)
def test_losses_are_means_and_not_sums(name: str):
    real, fake = PAIRS
    twice = [Scores(s.score.repeat(2), x=s.x.repeat(2, 1)) for s in PAIRS]
    torch.testing.assert_close(MAKERS[name]().d(*twice), MAKERS[name]().d(real, fake))
    torch.testing.assert_close(MAKERS[name]().g(twice[1]), MAKERS[name]().g(fake))


@pytest.mark.parametrize("name", ["EBGAN", "MAGAN", "BEGAN"])
def test_scores_and_plain_tensors_give_the_same(name: str):
    assert torch.equal(MAKERS[name]().d(*PAIRS), MAKERS[name]().d(REAL, FAKE))
    assert torch.equal(MAKERS[name]().g(PAIRS[1]), MAKERS[name]().g(FAKE))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MAKERS)
def test_extreme_scores_have_finite_losses_and_gradients(name: str, dtype: torch.dtype):
    scores = tensor([-100.0, 100.0, 0.0], dtype=dtype).requires_grad_()
    x = torch.zeros(3, 2, dtype=dtype)
    for loss in (
        MAKERS[name]().d(Scores(scores, x=x), Scores(scores.flip(0), x=x)),
        MAKERS[name]().g(Scores(scores, x=x)),
    ):
        (gradient,) = torch.autograd.grad(loss, scores)
        assert loss.dtype == torch.float32 and loss.isfinite() and gradient.isfinite().all()


# --- EBGAN


def test_pulling_away_is_the_mean_squared_cosine_of_pairs():
    codes = tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])  # cosines 0, 1/√2 and 1/√2
    assert pulling_away(codes).item() == pytest.approx((0 + 0.5 + 0.5) / 3)


@pytest.mark.parametrize(
    ("codes", "value"), [(torch.eye(3), 0.0), (-2 * torch.ones(4, 2), 1.0), (torch.ones(1, 5), 0.0)]
)
def test_pulling_away_of_orthogonal_parallel_and_single_codes(codes: Tensor, value: float):
    assert pulling_away(codes).item() == pytest.approx(value, abs=1e-6)


def test_pulling_away_looks_at_directions_alone():
    codes = torch.randn(5, 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(pulling_away(codes * torch.rand(5, 1, 1, 1) * 9), pulling_away(codes))
    torch.testing.assert_close(pulling_away(codes.flatten(1)), pulling_away(codes))


def test_autocast_does_not_round_the_products_of_codes():
    codes = torch.randn(5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pulling_away(codes), value := pulling_away(codes.clone())) and value.dtype == torch.float32
    assert torch.equal(pulling_away(codes), value)


def test_pulling_away_has_both_derivatives():
    codes = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pulling_away, codes)
    assert torch.autograd.gradgradcheck(pulling_away, codes)


def test_codes_of_zero_have_finite_gradients():
    codes = torch.zeros(3, 2, dtype=torch.bfloat16).requires_grad_()
    value = pulling_away(codes)
    assert value == 0 and value.dtype == torch.float32
    assert torch.autograd.grad(value, codes)[0].isfinite().all()


def test_ebgan_pulls_the_last_maps_apart():
    codes = tensor([[2.0, 0.0], [1.0, 1.0]])
    stats: dict[str, Tensor] = {}
    loss = EnergyMargin(1.0, pulling_away=0.1).g(Scores(FAKE, maps=(torch.ones(2, 3), codes)), stats=stats)
    assert loss.item() == pytest.approx(3.25 + 0.1 * 0.5)
    assert stats["pulling_away"].item() == pytest.approx(0.5)


@pytest.mark.parametrize("fake", [FAKE, Scores(FAKE)])
def test_ebgan_says_that_it_needs_codes(fake):
    with pytest.raises(ValueError, match=r"pulling_away=0\.1 needs the critic's codes"):
        EnergyMargin().g(fake)
    EnergyMargin().d(REAL, FAKE)


# --- MAGAN


def step(objective: Objective, real: float, fake: float) -> dict[str, Tensor]:
    """A step in which all energies are these."""
    stats: dict[str, Tensor] = {}
    objective.d(tensor([-real]), tensor([-fake]), stats)
    objective.g(tensor([-fake]), stats=stats)
    objective.after(stats)
    return stats


def epochs(objective: Objective, *energies: tuple[float, float]) -> list[float]:
    """The margin after epochs of two steps each, with these mean energies."""
    margins = []
    for real, fake in energies:
        step(objective, 1.5 * real, 0.5 * fake)
        step(objective, 0.5 * real, 1.5 * fake)
        margins.append(objective.margin.item())
    return margins


def test_magan_begins_with_the_mean_energy_of_the_last_epoch_of_pretraining():
    assert epochs(Magan(epoch=2, pretraining=2), (8, 1), (4, 2)) == [0, 4]


def test_magan_learns_on_real_samples_alone_before():
    magan = Magan(epoch=2, pretraining=1)
    fake = FAKE.clone().requires_grad_()
    assert magan.d(REAL, fake) == 2
    assert torch.autograd.grad(magan.d(REAL, fake), fake)[0].count_nonzero() == 0
    assert torch.autograd.grad(magan.g(fake), fake)[0].count_nonzero() == 0


@pytest.mark.parametrize(
    ("energies", "margin"),
    [
        ([(3, 5)], 4),  # the first epoch has none before it
        ([(3, 5), (2, 5)], 2),
        ([(3, 5), (2, 6)], 2),
        ([(3, 5), (2, 4.5)], 4),  # G's energies still fall
        ([(3, 5), (5, 6)], 4),  # those of reals are above the margin
        ([(3, 1), (2, 2)], 4),  # those of reals are not below G's
        ([(3, 5), (2, 5), (3, 6)], 2),  # it never rises
        ([(3, 5), (2, 4.5), (1, 4.5)], 1),
    ],
    ids=str,
)
def test_the_margin_falls_as_in_algorithm_1(energies, margin):
    assert epochs(Magan(epoch=2, pretraining=1), (4, 9), *energies)[-1] == margin


def test_magan_reports_its_margin():
    magan = playing(2.0)
    assert step(magan, 1, 3)["margin"] == 2


# --- BEGAN


def test_k_follows_the_energies_of_real_samples_and_of_gs():
    objective = Began(gamma=0.5, rate=0.1)
    stats = step(objective, 4.0, 0.5)
    assert (stats["real_energy"], stats["fake_energy"], stats["k"]) == (4, 0.5, 0)
    assert objective.k.item() == pytest.approx(0.1 * (0.5 * 4 - 0.5))
    stats = step(objective, 1.0, 1.0)
    assert stats["k"].item() == pytest.approx(0.15)
    assert stats["convergence"].item() == pytest.approx(4 + abs(0.5 * 4 - 0.5))
    assert objective.k.item() == pytest.approx(0.15 + 0.1 * (0.5 - 1))


def test_k_moves_by_the_fakes_of_gs_step():
    objective, stats = Began(rate=0.1), {}
    objective.d(tensor([-4.0]), tensor([-100.0]), stats)
    objective.g(tensor([-0.5]), stats=stats)
    objective.after(stats)
    assert objective.k.item() == pytest.approx(0.15)


@pytest.mark.parametrize(("real", "fake", "k"), [(100.0, 0.0, 1.0), (0.0, 100.0, 0.0)])
def test_k_stays_between_0_and_1(real: float, fake: float, k: float):
    objective = Began(rate=0.1)
    step(objective, real, fake)
    assert objective.k == k


def test_at_its_equilibrium_k_stands_still():
    objective = began(0.3)
    step(objective, 2.0, 1.0)
    assert objective.k.item() == pytest.approx(0.3) and objective.convergence == 2


# --- what they remember


@pytest.mark.parametrize("make", [lambda: Magan(epoch=3, pretraining=1), Began], ids=["MAGAN", "BEGAN"])
@pytest.mark.parametrize("taken", [1, 3, 5, 7])
def test_what_is_remembered_is_resumed_to_the_bit(make, taken: int):
    random = torch.Generator().manual_seed(0)
    energies = torch.rand(12, 2, generator=random).tolist()
    through, resumed = make(), make()
    for real, fake in energies[:taken]:
        step(through, real, fake)
    resumed.load_state_dict(copy.deepcopy(through.state_dict()))
    for real, fake in energies[taken:]:
        ours, theirs = step(resumed, real, fake), step(through, real, fake)
        assert ours == theirs
    assert all(map(torch.equal, resumed.state_dict().values(), through.state_dict().values()))


@pytest.mark.parametrize("make", [Magan, Began])
def test_buffers_are_changed_in_place(make):
    objective = make()
    before = dict(objective.named_buffers())
    step(objective, 1.0, 2.0)
    assert all(buffer is before[name] for name, buffer in objective.named_buffers())


# --- loss-sensitive GANs


@pytest.mark.parametrize(
    ("slope", "loss"), [(0.0, 0.75 / 2), (1.0, (0.75 - 1.5) / 2), (-1.0, (0.75 + 1.5) / 2), (0.5, (0.75 - 0.75) / 2)]
)
def test_the_slope_goes_from_the_hinge_to_the_wasserstein_loss(slope: float, loss: float):
    objective = LossSensitive("generalized", distance=0.5, slope=slope)
    assert objective.d(*PAIRS).item() == pytest.approx(loss)


def test_only_the_generalized_form_is_invariant_to_a_shift_of_energies():
    def loss(form: str, shift: float) -> float:
        return LossSensitive(form, distance=0.5).d(*(s._replace(score=s.score + shift) for s in PAIRS)).item()

    assert loss("generalized", 7.0) == pytest.approx(loss("generalized", 0.0))
    assert loss("paper", 7.0) == pytest.approx(loss("paper", 0.0) - 7)


def test_margins_are_constants_and_are_reported():
    x, generated = (s.x.clone().requires_grad_() for s in PAIRS)
    score, stats = REAL.clone().requires_grad_(), {}
    LossSensitive(distance=0.5).d(Scores(score, x=x), Scores(FAKE, x=generated), stats).backward()
    assert x.grad is None and generated.grad is None
    assert stats["margin"].item() == pytest.approx(0.5 * (0.5 + 3) / 2)


def test_a_margin_of_half_precision_is_a_sum_in_float32():
    n = 4096
    scores = [Scores(torch.zeros(1), x=torch.full((1, n), value, dtype=torch.bfloat16)) for value in (1.0, -1.0)]
    assert LossSensitive(distance=1.0).d(*scores) == 2 * n


def test_samples_are_asked_for():
    assert LossSensitive().shown
    for real, fake in ((REAL, FAKE), (Scores(REAL), Scores(FAKE))):
        with pytest.raises(ValueError, match="it takes Scores with x"):
            LossSensitive().d(real, fake)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EnergyMargin(0.0), "margin=0.0 is not a finite number above 0"),
        (lambda: EnergyMargin(pulling_away=-1.0), "pulling_away=-1.0"),
        (lambda: Magan(epoch=0), "epoch=0"),
        (lambda: Magan(pretraining=0), "pretraining=0"),
        (lambda: Began(gamma=math.nan), "gamma=nan"),
        (lambda: Began(rate=-0.1), "rate=-0.1"),
        (lambda: LossSensitive("other"), "form='other' is not one of paper, generalized"),
        (lambda: LossSensitive(weight=-1.0), "weight=-1.0"),
        (lambda: LossSensitive(distance=math.inf), "distance=inf"),
        (lambda: LossSensitive(slope=1.5), "slope=1.5 is not between -1 and 1"),
    ],
)
def test_impossible_values_are_named(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
