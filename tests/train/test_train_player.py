"""One update of one player: skipping, loss scaling, learning rate."""

import copy

import pytest
import torch
from torch import nn

from train.engine.optimizers import Adam, Optimistic, OptimisticAdam, RMSProp
from train.engine.player import Player, Role
from train.engine.precision import LossScale

RULES = (Adam(), RMSProp(), Optimistic(), OptimisticAdam())
EACH_RULE = pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)


class Weights(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.later = nn.Parameter(torch.tensor([3.0]))

    def active_parameters(self):
        return [self.used]


def player(network: nn.Module | None = None, *, loss_scaling=False, pace=1.0, **role) -> Player:
    made = Player(
        {"N": network or Weights()},
        Role(("N",), **role),
        pace=pace,
        loss_scaling=loss_scaling,
    )
    made.set_lr(0.1)
    return made


def continued(p: Player, q: Player) -> None:
    """Brings ``q`` to where ``p`` is, as resuming does: the networks, then the rest."""
    q.networks["N"].load_state_dict(p.networks["N"].state_dict())
    q.load_state_dict(copy.deepcopy(p.state_dict()))


def step(p: Player, *gradient: float):
    return p.update([p.scaled(torch.tensor(gradient))])


@EACH_RULE
@pytest.mark.parametrize("loss_scaling", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_an_update_with_a_non_finite_gradient_is_skipped_and_counted(loss_scaling, bad, rule):
    p = player(loss_scaling=loss_scaling, optimizer=rule)
    step(p, 1.0, 1.0)
    before = p.networks["N"].used.clone()
    moments = {k: v.clone() for k, v in p.optimizer.state[p.networks["N"].used].items()}
    _, skipped = step(p, 1.0, bad)
    assert skipped == 1
    assert torch.equal(p.networks["N"].used, before)
    assert all(torch.equal(v, moments[k]) for k, v in p.optimizer.state[p.networks["N"].used].items())
    assert (p.skipped, p.streak) == (1, 1)


def test_the_streak_ends_with_a_finite_step_and_the_count_stays():
    p = player()
    for value in (float("nan"), float("nan"), 1.0):
        step(p, 1.0, value)
    assert (p.skipped, p.streak) == (2, 0)


@EACH_RULE
def test_a_first_step_that_is_skipped_leaves_the_optimizer_at_its_start(rule):
    p, q = player(optimizer=rule), player(optimizer=rule)
    step(p, float("nan"), 1.0)
    step(p, 1.0, 2.0)
    step(q, 1.0, 2.0)
    assert torch.equal(p.networks["N"].used, q.networks["N"].used)


@EACH_RULE
def test_loss_scaling_changes_neither_step_nor_norm(rule):
    p, q = player(loss_scaling=True, optimizer=rule), player(optimizer=rule)
    for gradient in ((3.0, 4.0), (-1.0, 0.5)):
        norm_p, _ = step(p, *gradient)
        norm_q, _ = step(q, *gradient)
        assert norm_p == norm_q
    assert torch.equal(p.networks["N"].used, q.networks["N"].used)


def test_gradients_are_gone_after_an_update():
    p = player()
    step(p, 1.0, 1.0)
    assert p.networks["N"].used.grad is None


@EACH_RULE
def test_a_gradient_in_another_memory_layout_moves_the_same_weights(rule):
    class Convolution(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.weight = nn.Parameter(torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last))

        def active_parameters(self):
            return [self.weight]

    p, q = player(Convolution(), optimizer=rule), player(Convolution(), optimizer=rule)
    gradient = torch.randn(2, 3, 4, 5)
    for each, laid_out in ((p, gradient), (q, gradient.contiguous(memory_format=torch.channels_last))):
        each.update([laid_out])
        each.update([laid_out.square()])
    assert torch.equal(p.networks["N"].weight, q.networks["N"].weight)


@EACH_RULE
def test_parameters_not_in_use_are_left_alone(rule):
    p = player(optimizer=rule)
    step(p, 1.0, 1.0)
    assert torch.equal(p.networks["N"].later, torch.tensor([3.0]))
    assert p.networks["N"].later not in p.optimizer.state


def test_the_loss_scale_halves_after_a_bad_step_and_doubles_after_enough_good_ones():
    scale = LossScale(torch.device("cpu"), initial=8.0, interval=3)
    seen = []
    for bad in (1, 0, 0, 1, 0, 0, 0, 0):
        scale.update(torch.tensor(float(bad)))
        seen.append(float(scale.scale))
    assert seen == [4, 4, 4, 2, 2, 2, 4, 4]


def test_the_loss_scale_stays_where_a_penaltys_inner_gradient_fits_into_fp16():
    scale = LossScale(torch.device("cpu"), interval=1)
    for _ in range(3):
        scale.update(torch.tensor(0.0))
    assert torch.isfinite(scale.scale.half())


def test_the_learning_rate_reaches_adam_also_after_loading():
    p, q = player(), player()
    step(p, 1.0, 1.0)
    continued(p, q)
    for each in (p, q):
        each.set_lr(0.5)
        before = each.networks["N"].used.clone()
        step(each, 1.0, 1.0)
        assert torch.allclose(before - each.networks["N"].used, torch.tensor(0.5), rtol=1e-3)
    assert torch.equal(p.networks["N"].used, q.networks["N"].used)


def test_resetting_the_optimizer_makes_the_next_step_like_a_first_one():
    p = player()
    step(p, 100.0, 100.0)
    p.reset_optimizer()
    before = p.networks["N"].used.clone()
    step(p, 1.0, 1.0)
    assert torch.allclose(before - p.networks["N"].used, torch.tensor(0.1), rtol=1e-3)


@EACH_RULE
def test_a_reset_optimizer_steps_as_a_new_one(rule):
    p = player(optimizer=rule)
    step(p, 100.0, -3.0)
    p.reset_optimizer()
    q = player(optimizer=rule)
    q.networks["N"].load_state_dict(p.networks["N"].state_dict())
    for each in (p, q):
        step(each, 1.0, 2.0)
        step(each, -0.5, 2.0)
    assert torch.equal(p.networks["N"].used, q.networks["N"].used)


@EACH_RULE
@pytest.mark.parametrize("loss_scaling", [False, True])
def test_an_optimizer_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(rule, loss_scaling):
    p, q = (player(optimizer=rule, loss_scaling=loss_scaling) for _ in range(2))
    for gradient in ((1.0, -2.0), (0.25, float("nan")), (3.0, 4.0)):
        step(p, *gradient)
    continued(p, q)
    for gradient in ((-1.0, 0.5), (float("inf"), 0.0), (2.0, 2.0)):
        for each in (p, q):
            each.set_lr(0.2)
            step(each, *gradient)
    assert torch.equal(p.networks["N"].used, q.networks["N"].used)
    states = [each.optimizer.state[each.networks["N"].used] for each in (p, q)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("before", RULES, ids=lambda rule: type(rule).__name__)
@EACH_RULE
def test_another_optimizer_than_the_checkpoints_starts_anew(before, rule):
    p, q, new = player(optimizer=before), player(optimizer=rule), player(optimizer=rule)
    step(p, 100.0, -3.0)
    step(p, 1.0, -3.0)
    continued(p, q)
    new.networks["N"].load_state_dict(p.networks["N"].state_dict())
    for each in (p, q, new):
        step(each, 1.0, 2.0)
    expected = p if before == rule else new
    assert torch.equal(q.networks["N"].used, expected.networks["N"].used)
    assert before == rule or not torch.equal(q.networks["N"].used, p.networks["N"].used)


def test_a_checkpoint_of_before_there_was_a_choice_is_adams():
    p, q = player(), player()
    step(p, 1.0, -2.0)
    state = {name: value for name, value in p.state_dict().items() if name != "rule"}
    q.load_state_dict(copy.deepcopy(state))
    assert q.optimizer.state[q.networks["N"].used]["step"] == 1


@EACH_RULE
def test_clipping_and_historical_averaging_go_with_each_optimizer(rule):
    p = player(optimizer=rule, clip=0.5, historical_averaging=0.5)
    for _ in range(3):
        step(p, 1.0, -1.0)
    assert p.networks["N"].used.abs().max() <= 0.5 and p.state_dict()["time"] == 4


def test_historical_averaging_pulls_to_the_mean_of_the_past():
    weight, lr = 0.3, 0.1
    p = player(historical_averaging=weight, betas=(0.0, 0.0), eps=1e6)  # steps of lr·g/(|g| + eps): gradient descent
    past = []
    for t in range(1, 6):
        theta = p.networks["N"].used.detach().clone()
        past.append(theta)
        mean = torch.stack(past).mean(0)
        gradient = torch.tensor([1.0, -2.0])
        expected = gradient + weight * 2 * (1 - 1 / t) ** 2 * (theta - (mean * t - theta) / max(t - 1, 1))
        p.set_lr(lr * 1e6)
        norm, _ = step(p, *gradient.tolist())
        assert norm == pytest.approx(expected.norm().item(), rel=1e-4)
        torch.testing.assert_close(p.networks["N"].used.detach(), theta - lr * expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss_scaling", [False, True])
def test_the_past_comes_back_with_a_checkpoint(loss_scaling):
    options = {"historical_averaging": 0.5, "loss_scaling": loss_scaling}
    first, second = player(**options), player(**options)
    for _ in range(3):
        step(first, 1.0, -2.0)
    continued(first, second)
    for p in (first, second):
        p.set_lr(0.1)
        step(p, 1.0, 1.0)
    assert torch.equal(first.networks["N"].used, second.networks["N"].used)


def test_averaging_that_begins_with_a_resumed_run_has_that_start_as_its_past():
    plain, averaging = player(), player(historical_averaging=0.5)
    step(plain, 1.0, -2.0)
    continued(plain, averaging)
    assert torch.equal(averaging.state_dict()["averages"]["N.used"], plain.networks["N"].used)


def test_a_parameter_that_comes_into_use_later_has_its_start_as_its_past():
    p = player(historical_averaging=0.5)
    for _ in range(3):
        step(p, 1.0, -2.0)
    p.networks["N"].active_parameters = lambda: [p.networks["N"].used, p.networks["N"].later]
    p.refresh()
    p.update([torch.zeros(2), torch.zeros(1)])
    assert p.networks["N"].later.item() == 3.0  # nothing has pulled it anywhere
    assert p.state_dict()["averages"]["N.later"].item() == 3.0


def test_clipping_bounds_the_parameters_in_use():
    p = player(clip=0.5)
    step(p, 1.0, -1.0)
    assert p.networks["N"].used.tolist() == [0.5, 0.5] and p.networks["N"].later.tolist() == [3.0]


def test_a_role_with_lazy_moves_is_slowed_down_in_proportion():
    p, q = player(pace=0.8, betas=(0.5, 0.9)), player(betas=(0.5**0.8, 0.9**0.8))
    q.set_lr(0.08)
    for gradient in ((3.0, 4.0), (-1.0, 0.5)):
        step(p, *gradient)
        step(q, *gradient)
    assert torch.equal(p.networks["N"].used, q.networks["N"].used)


def test_the_learning_rate_is_so_many_times_the_schedules():
    p, q = player(lr=4.0), player()
    q.set_lr(0.4)
    for each in (p, q):
        step(each, 1.0, -2.0)
    assert torch.equal(p.networks["N"].used, q.networks["N"].used)
