"""The usual gradient penalties: each is its paper's formula, on critics whose gradients are known."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from gan_ops.objectives import (
    R1,
    R2,
    Dragan,
    GradientPenalty,
    NonSaturating,
    Penalty,
    WganDiv,
    WganGP,
    WganLP,
    gradient_of,
    penalties,
    score_gradient,
)
from gan_ops.objectives.penalties import dragan, r1, r2, wgan_div, wgan_gp, wgan_lp

W = torch.tensor([3.0, 4.0])  # a linear critic's gradient, of norm 5, wherever it is taken
REAL = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
FAKE = torch.zeros(4, 2)
BATCHES = {
    "wgan_gp": (REAL, FAKE),
    "wgan_lp": (REAL, FAKE),
    "wgan_div": (REAL, FAKE),
    "r1": (REAL,),
    "r2": (FAKE,),
    "dragan": (REAL,),
}
ALL = pytest.mark.parametrize("name", BATCHES)


def penalty_of(name: str, critic, **options) -> Tensor:
    return getattr(penalties, name)(critic, *BATCHES[name], **options)


def linear(x: Tensor) -> Tensor:
    return x @ W.to(x)


def quadratic(x: Tensor) -> Tensor:
    """Its gradient is the point itself."""
    return x.square().sum(1) / 2


def curved() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 1), nn.Flatten(0))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("wgan_gp", {}, 10 * 16),
        ("wgan_gp", {"weight": 2.0, "target": 10.0}, 2 * 0.25),
        ("wgan_lp", {}, 10 * 16),
        ("wgan_lp", {"target": 10.0}, 0),
        ("wgan_div", {}, 2 * 5**6),
        ("wgan_div", {"weight": 3.0, "power": 2.0}, 3 * 25),
        ("wgan_div", {"power": 3.0}, 2 * 125),
        ("r1", {}, 5 * 25),
        ("r1", {"gamma": 1.0}, 12.5),
        ("r2", {}, 5 * 25),
        ("dragan", {}, 10 * 16),
        ("dragan", {"weight": 1.0, "target": 2.5}, 1),
    ],
)
def test_of_a_linear_critic_it_is_known(name: str, options: dict, expected: float) -> None:
    assert penalty_of(name, linear, **options).item() == pytest.approx(expected)


def test_r1_looks_at_real_and_r2_at_generated_samples() -> None:
    assert r1(quadratic, REAL).item() == pytest.approx(5 * REAL.square().sum(1).mean().item())
    assert r2(quadratic, FAKE + 2).item() == pytest.approx(5 * 8)


def test_wgan_div_looks_between_the_samples_too() -> None:
    u = torch.rand(4, generator=_seeded())
    expected = 2 * ((1 - u)[:, None] * REAL).norm(dim=1).pow(6).mean()
    torch.testing.assert_close(wgan_div(quadratic, REAL, FAKE, generator=_seeded()), expected)


@pytest.mark.parametrize("power", [2.0, 2.5, 3.0, 6.0])
def test_wgan_divs_derivative_at_0_is_0_and_that_of_a_large_gradient_finite(power: float) -> None:
    gradient = torch.tensor([[0.0, 0.0], [1e6, 0.0], [0.6, 0.8]]).requires_grad_()
    penalty = WganDiv(1.0, power).loss(gradient)
    penalty.backward()
    assert penalty.isfinite() and gradient.grad.isfinite().all() and not gradient.grad[0].any()
    torch.testing.assert_close(gradient.grad[2], power / 3 * torch.tensor([0.6, 0.8]))  # p‖g‖^(p−1) along g
    assert WganDiv().loss(torch.tensor([[3e6]])) == torch.inf  # as the docstring says


@pytest.mark.parametrize("one_sided", [False, True])
def test_wasserstein_penalties_look_between_the_samples(one_sided: bool) -> None:
    u = torch.rand(4, generator=torch.Generator().manual_seed(7))
    norms = ((1 - u)[:, None] * REAL).norm(dim=1)  # the fakes are 0
    excess = norms / 4 - 1
    expected = 10 * (excess.relu() if one_sided else excess).square().mean()
    function = wgan_lp if one_sided else wgan_gp
    actual = function(quadratic, REAL, FAKE, target=4.0, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(actual, expected)


def test_dragan_looks_near_the_real_samples() -> None:
    real = torch.randn(64, 3, 5)
    u = torch.empty_like(real).uniform_(generator=torch.Generator().manual_seed(1))
    points = real + 0.5 * real.std(unbiased=False) * u
    expected = 10 * (points.flatten(1).norm(dim=1) - 1).square().mean()
    actual = dragan(lambda x: quadratic(x.flatten(1)), real, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(actual, expected)


@ALL
def test_gradients_of_the_parameters_are_those_of_the_formula_in_plain_torch(name: str) -> None:
    critic = curved().double()
    seen = []

    def watched(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return critic(x)

    batches = [b.double() for b in BATCHES[name]]
    getattr(penalties, name)(watched, *batches).backward()
    actual = [p.grad for p in critic.parameters()]
    critic.zero_grad()

    (points,) = seen  # it is called once
    points.requires_grad_()
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    norm = gradient.norm(dim=1)
    formula = {
        "wgan_lp": 10 * (norm - 1).relu().square(),
        "wgan_div": 2 * norm.pow(6),
        "r1": 5 * norm.square(),
        "r2": 5 * norm.square(),
    }
    formula.get(name, 10 * (norm - 1).square()).mean().backward()
    for a, p in zip(actual, critic.parameters(), strict=True):
        if a is None:
            assert p.grad is None or not p.grad.any()  # the last bias
        else:
            torch.testing.assert_close(a, p.grad)


@ALL
def test_a_critic_with_a_gradient_of_zero_gives_no_nan(name: str) -> None:
    critic = curved()
    with torch.no_grad():
        critic[2].weight.zero_()
    penalty = penalty_of(name, critic)
    penalty.backward()
    assert penalty.item() == pytest.approx(10 if name in ("wgan_gp", "dragan") else 0)
    assert all(p.grad is None or not p.grad.any() for p in critic.parameters())


@ALL
def test_it_is_float32_and_nothing_but_the_critic_is_under_autocast(name: str) -> None:
    critic = curved()
    # r2's fakes are all alike, so that its penalty is one sample's; the others' random numbers must agree.
    options = {} if name in ("r1", "r2") else {"generator": torch.Generator().manual_seed(0)}
    expected = penalty_of(name, critic, **options)
    if options:
        options["generator"].manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        actual = penalty_of(name, critic, **options)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=0.05, atol=0.01)  # bfloat16 has 8 bits


@ALL
def test_a_loss_scale_changes_nothing_but_the_way(name: str) -> None:
    options = {} if name in ("r1", "r2") else {"generator": torch.Generator().manual_seed(0)}
    critic = curved()
    expected = penalty_of(name, critic, **options)
    if options:
        options["generator"].manual_seed(0)
    torch.testing.assert_close(penalty_of(name, critic, scale=torch.tensor(1024.0), **options), expected)


@pytest.mark.parametrize("name", ["wgan_gp", "wgan_lp", "wgan_div", "dragan"])
def test_random_numbers_come_from_the_generator(name: str) -> None:
    draws = [penalty_of(name, quadratic, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_equal_microbatches_average_to_the_batch() -> None:
    critic = curved()
    parts = [r1(critic, part) for part in REAL.chunk(2)]
    torch.testing.assert_close(sum(parts) / 2, r1(critic, REAL))


@ALL
def test_nothing_flows_to_the_batches(name: str) -> None:
    batches = [b.clone().requires_grad_() for b in BATCHES[name]]
    getattr(penalties, name)(curved(), *batches).backward()
    assert all(b.grad is None for b in batches)


def test_under_ddp_gradients_are_those_of_the_critic_alone(tmp_path) -> None:
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1, timeout=timedelta(seconds=60))
    try:
        gradients = []
        for wrap in (lambda module: module, nn.parallel.DistributedDataParallel):
            critic = curved()
            wrapped = wrap(critic)
            loss = wrapped(FAKE).mean() - wrapped(REAL).mean()
            (loss + r1(wrapped, REAL) + wgan_gp(wrapped, REAL, FAKE + 1, generator=_seeded())).backward()
            gradients.append([p.grad for p in critic.parameters()])
    finally:
        dist.destroy_process_group()
    torch.testing.assert_close(*gradients)


def gradients(critic, parameters: list[Tensor], autocast: bool = False) -> tuple[Tensor | None, ...]:
    """A critic's step with two penalties; the second's points are all alike, so that no random number counts."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = critic(FAKE).mean() - critic(REAL).mean() + r1(critic, REAL) + wgan_gp(critic, REAL, REAL)
    return torch.autograd.grad(loss, parameters, allow_unused=True)


def compiled(function):
    torch.compiler.reset()
    return torch.compile(function, backend="aot_eager")


def test_a_step_compiled_with_its_gradients_has_those_of_eager_mode() -> None:
    critic = curved()
    expected = gradients(critic, list(critic.parameters()))
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        actual = compiled(gradients)(critic, list(critic.parameters()))
    torch.testing.assert_close(actual, expected)


def one_pass(critic, parameters: list[Tensor], zeros: Tensor) -> tuple[Tensor, ...]:
    """A critic's step with R1 and R2, whose gradients come from the scores' own pass."""
    real, fake = REAL + zeros, FAKE + zeros
    of_real, of_fake = critic(real), critic(fake)
    penalty = R1().loss(gradient_of(of_real, real)) + R2().loss(gradient_of(of_fake, fake))
    return torch.autograd.grad(NonSaturating().d(of_real, of_fake) + penalty, parameters)


def test_a_compiled_step_takes_gradients_from_the_scores_own_pass() -> None:
    critic, zeros = curved(), torch.zeros_like(REAL).requires_grad_()
    parameters = list(critic.parameters())
    loss = NonSaturating().d(critic(REAL), critic(FAKE)) + r1(critic, REAL) + r2(critic, FAKE)
    expected = torch.autograd.grad(loss, parameters)
    torch.testing.assert_close(one_pass(critic, parameters, zeros), expected)
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        torch.testing.assert_close(compiled(one_pass)(critic, parameters, zeros), expected)


AUTOCAST = pytest.mark.parametrize("autocast", [False, True])  # there torch alone leaves the penalties out silently


@AUTOCAST
def test_a_critic_compiled_without_its_gradients_is_refused(autocast: bool) -> None:
    critic = curved()
    with pytest.raises(RuntimeError, match=r"compiled code.*trace_autograd_ops = True"):
        gradients(compiled(critic), list(critic.parameters()), autocast)


@AUTOCAST
def test_a_step_compiled_without_that_setting_is_refused(autocast: bool) -> None:
    critic = curved()
    with pytest.raises(RuntimeError, match=r"compiled code.*trace_autograd_ops = True"):
        compiled(gradients)(critic, list(critic.parameters()), autocast)


def test_what_is_compiled_beside_the_points_is_no_matter() -> None:
    critic, scale = curved(), torch.ones((), requires_grad=True)
    doubled = compiled(lambda: 2 * scale)
    r1(lambda x: critic(x) * doubled(), REAL).backward()
    actual, scale.grad = scale.grad, None
    r1(lambda x: critic(x) * (2 * scale), REAL).backward()
    torch.testing.assert_close(actual, scale.grad)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("wgan_gp", {"weight": -1.0}, "weight=-1"),
        ("wgan_lp", {"target": -1.0}, "target=-1"),
        ("wgan_div", {"weight": -1.0}, "weight=-1"),
        ("wgan_div", {"power": 1.5}, "power=1.5 is not a finite number of at least 2"),
        ("wgan_div", {"power": float("inf")}, "power=inf"),
        ("r1", {"gamma": -2.0}, "gamma=-2"),
        ("r2", {"gamma": float("nan")}, "gamma=nan"),
        ("dragan", {"noise": -0.5}, "noise=-0.5"),
        ("dragan", {"target": float("inf")}, "target=inf is not a finite number of at least 0"),
    ],
)
def test_bad_settings_are_named(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        penalty_of(name, linear, **options)


CLASSES = {"wgan_gp": WganGP, "wgan_lp": WganLP, "wgan_div": WganDiv, "r1": R1, "r2": R2, "dragan": Dragan}


def points_of(penalty: Penalty) -> Tensor:
    """What a trainer does."""
    match penalty.at:
        case "between":
            return penalty.points(REAL, FAKE, torch.rand(4, generator=_seeded()))
        case "around":
            return penalty.points(REAL, torch.rand(4, 2, generator=_seeded()))
        case "real" | "fake":
            return {"real": REAL, "fake": FAKE}[penalty.at]


@ALL
def test_the_classes_are_the_functions_in_parts(name: str) -> None:
    critic, penalty = curved(), CLASSES[name](3.0)
    options = {"gamma": 3.0} if name in ("r1", "r2") else {"weight": 3.0, "generator": _seeded()}
    assert torch.equal(penalty.loss(score_gradient(critic, points_of(penalty))), penalty_of(name, critic, **options))


def test_the_classes_differ_in_where_they_look_and_in_sides() -> None:
    places = {name: kind().at for name, kind in CLASSES.items()}
    between = dict.fromkeys(("wgan_gp", "wgan_lp", "wgan_div"), "between")
    assert places == between | {"r1": "real", "r2": "fake", "dragan": "around"}
    gradient = torch.tensor([[0.0, 0.5], [3.0, 4.0]])
    assert torch.equal(GradientPenalty(2.0, 3.0, True).loss(gradient), WganLP(2.0, 3.0).loss(gradient))
    assert torch.equal(GradientPenalty(2.0, 3.0).loss(gradient), WganGP(2.0, 3.0).loss(gradient))


@ALL
@pytest.mark.parametrize("every", [0, -1, 1.5])
def test_an_interval_is_a_whole_number_from_1_on(name: str, every: float) -> None:
    assert CLASSES[name]().every == 1 and CLASSES[name](every=16).every == 16
    with pytest.raises(ValueError, match=f"every={every} is not a whole number of at least 1"):
        CLASSES[name](every=every)


def test_real_and_fake_have_one_shape() -> None:
    with pytest.raises(ValueError, match=r"real is \[4, 2\] but fake is \[3, 2\]"):
        wgan_gp(linear, REAL, FAKE[:3])
