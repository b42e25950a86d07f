"""Games of any kind are trained, resumed to the bit, captured and skipped alike; those that cannot be say why."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from train.engine.cuda_graphs import WARM_UP
from train.engine.game import Batch, Move, Networks, Role, Stats
from train.engine.trainer import Trainer

from ..runs import assert_same, steps
from .fake_cuda import FakeCuda
from .games import BATCH, TOYS, Balanced, Lazy, Toy, source_of, spoil, toy_trainer, trainer_of

TOYS_WITH_UPDATES = [(name, update) for name, toy in TOYS.items() for update in toy.updates]
SPOILT = {"TwoLists": "a", "Often": "D/real", "Wide": "D/real"}
"""A column of each game that its first update cannot do without; "real" where nothing is said."""


def saved(trainer: Trainer) -> dict[str, Any]:
    """The state as a file brings it back."""
    file = io.BytesIO()
    torch.save(trainer.state_dict(), file)
    file.seek(0)
    return torch.load(file)


# ---- resuming


@pytest.mark.parametrize(
    "options",
    [{}, {"microbatch": 2}, {"precision": torch.float16}],
    ids=["float32", "microbatches", "fp16"],
)
@pytest.mark.parametrize(("name", "update"), TOYS_WITH_UPDATES)
def test_every_game_resumes_to_the_bit_also_where_updates_were_skipped(name, update, options) -> None:
    def new() -> Trainer:
        trainer = toy_trainer(name, update=update, **options)
        for step in (2, 6):
            spoil(trainer.game, step * shown, SPOILT.get(name, "real"))
        return trainer

    shown = BATCH * (3 if name == "Often" else 1)  # samples of a step
    whole = steps(new(), 4)
    assert whole.skipped()[0] >= 1
    state = saved(whole)
    steps(whole, 6)
    resumed = new()
    steps(resumed, 1)
    resumed.load_state_dict(state)
    steps(resumed, 6)
    assert_same(resumed.state_dict(), whole.state_dict())
    assert resumed.measurements() == whole.measurements()
    assert whole.skipped()[0] >= 2
    assert all(p.isfinite().all() for network in whole.game.networks.values() for p in network.parameters())


# ---- what each of the toys is for


@pytest.mark.parametrize("update", Balanced.updates)
def test_a_state_stays_where_an_update_was_skipped(update) -> None:
    trainer = toy_trainer("Balanced", update=update)
    spoil(trainer.game, 2 * BATCH, "real")
    k, d, skipped = [], [], []
    for _ in range(4):
        trainer.step()
        k.append(float(trainer.game.state.k))
        d.append(trainer.game.networks["D"][0].weight.detach().clone())
        skipped.append(trainer.skipped())
    assert k[0] != 0.25 and k[0] != k[1] == k[2] != k[3]
    assert torch.equal(d[1], d[2]) and not torch.equal(d[2], d[3])
    assert skipped == [(0, 0), (0, 0), (1, 1), (1, 0)]


def test_the_state_moves_by_what_the_losses_reported() -> None:
    trainer = steps(toy_trainer("Balanced"), 1)
    means = trainer.measurements()
    expected = 0.25 + 0.05 * (means["real_failure"] / 2 - means["fake_failure"])
    assert float(trainer.game.state.k) == pytest.approx(expected, rel=1e-6)


def test_a_lazy_move_is_made_when_due_and_slows_its_role_down() -> None:
    trainer = toy_trainer("Lazy", lr=0.01)
    due = [trainer.step().due for _ in range(7)]
    assert [bool(labels) for labels in due] == [True, False, False, True, False, False, True]
    assert due[0] == {"Flat"}
    (d,), (g,) = (trainer.players[name].optimizer.param_groups for name in "DG")
    pace = 1 / (1 + 1 / 3)
    assert d["betas"] == pytest.approx((0.5**pace, 0.9**pace)) and g["betas"] == (0.0, 0.99)
    assert float(d["lr"]) == pytest.approx(0.01 * 2 * pace) and float(g["lr"]) == pytest.approx(0.01)
    counts = [int(next(iter(trainer.players[name].optimizer.state.values()))["step"]) for name in "DG"]
    assert counts == [7 + 3, 7]


def test_historical_averaging_acts_in_moves_of_every_step_alone() -> None:
    torch.manual_seed(1)
    trainer = steps(trainer_of(Lazy(historical_averaging=0.5)), 4)
    assert float(trainer.players["D"].state_dict()["time"]) == 1 + 4  # and two lazy moves
    resumed = trainer_of(Lazy(historical_averaging=0.5))
    resumed.load_state_dict(saved(trainer))
    assert_same(steps(resumed, 3).state_dict(), steps(trainer, 3).state_dict())


def test_lists_of_data_have_orders_of_their_own() -> None:
    trainer = toy_trainer("TwoLists")
    seen: dict[str, list[Tensor]] = {"a": [], "b": []}
    draw = trainer.game.draw

    def watched(columns: Batch, *args: Any) -> Batch:
        for name, column in columns.items():
            seen[name] += list(column.unbind())
        return draw(columns, *args)

    trainer.game.draw = watched
    steps(trainer, 35)
    assert trainer.images == 35 * BATCH  # those of the longest list
    for name, length in trainer.source.lists.items():
        for epoch in range(35 * BATCH // length):
            some = torch.stack(seen[name][epoch * length : (epoch + 1) * length])
            assert len(some.flatten(1).unique(dim=0)) == length


def test_a_pool_of_each_process_holds_what_a_loss_reported() -> None:
    trainer = toy_trainer("Pooled")
    made = []
    trainer.game.networks["G"].register_forward_hook(lambda _, args, result: made.append(result.detach()))
    steps(trainer, 2)
    pool = trainer.game.own.pool
    assert torch.equal(pool, torch.cat((made[1], made[0]))[: len(pool)])
    assert torch.equal(saved(trainer)["processes"][0]["own"]["pool"], pool)


def test_a_role_that_moves_often_sees_rows_of_its_own_in_each_repeat() -> None:
    trainer = toy_trainer("Often")
    d, drawn, seen = trainer.game.d, [], []
    draw = trainer.game.draw
    trainer.game.draw = lambda *args: drawn.append(draw(*args)) or drawn[-1]

    def watched(nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        seen.append(b)
        return d(nets, b, stats)

    trainer.game.d = watched
    steps(trainer, 1)
    assert all(rows.keys() == {"D/real", "D/z"} for rows in seen)
    for name in ("D/real", "D/z"):
        assert torch.equal(torch.cat([rows[name] for rows in seen]), drawn[0][name])
    steps(trainer, 1)
    counts = [int(next(iter(trainer.players[name].optimizer.state.values()))["step"]) for name in "DG"]
    assert counts == [6, 2]
    assert all((p.detach().abs() <= 0.4).all() for p in trainer.game.networks["D"].parameters())
    assert trainer.images == 2 * 3 * BATCH


@pytest.mark.parametrize("name", ["TwoLists", "Weighed", "Lazy", "Normalised"])
def test_scaled_losses_of_several_terms_move_as_far_as_plain_ones(name) -> None:
    norms = []
    for precision in (torch.float32, torch.float16):
        trainer = toy_trainer(name, precision=precision)
        for player in trainer.players.values():
            if player.loss_scale is not None:
                player.loss_scale.scale.fill_(256)
        steps(trainer, 1)
        assert trainer.skipped() == (0, 0)
        norms.append({key: value for key, value in trainer.measurements().items() if key.endswith("_norm")})
    assert norms[1] == pytest.approx(norms[0], rel=0.02)


# ---- captured


@pytest.fixture
def on_fake_cuda(monkeypatch: pytest.MonkeyPatch):
    """Has a trainer capture on a fake device."""
    monkeypatch.setattr("train.engine.trainer.wanted", lambda option, *_: option == "on")

    def put(trainer: Trainer, cuda: FakeCuda) -> FakeCuda:
        trainer._cuda, trainer._cuda_graphs = cuda, "on"
        return cuda

    return put


@pytest.mark.parametrize(
    "options", [{}, {"microbatch": 2, "precision": torch.float16}], ids=["plain", "microbatches, fp16"]
)
@pytest.mark.parametrize(("name", "update"), TOYS_WITH_UPDATES)
def test_captured_units_train_to_the_same_bits(name, update, options, on_fake_cuda) -> None:
    count = 16
    eager, captured = (toy_trainer(name, update=update, **options) for _ in range(2))
    said: list[str] = []
    captured.say = said.append
    cuda = on_fake_cuda(captured, FakeCuda())
    for trainer in (eager, captured):
        spoil(trainer.game, 10 * BATCH * (3 if name == "Often" else 1), SPOILT.get(name, "real"))
        steps(trainer, count)
    assert said == []
    moves = captured.game.moves(captured.position)
    lazy = [move for move in moves if move.every > 1]
    due = [len(range(0, count, move.every)) for move in lazy]
    main = len(moves) - len(lazy) if update == "alternating" else 1
    ends = [count - sum(due), *due] if captured._step._buffers or captured.averages else []
    expected = [*[count] * main, *due, *ends]
    assert sorted(graph.replays for graph, _ in cuda.captured) == sorted(n - WARM_UP for n in expected)
    assert len({id(pool) for _, pool in cuda.captured}) == 1 + 2 * len(lazy), "graphs of every step share a pool"
    assert_same(captured.state_dict(), eager.state_dict())


@pytest.mark.parametrize("failing", range(5))
def test_units_after_one_that_cannot_be_captured_see_what_it_reports(failing, on_fake_cuda) -> None:
    class Everything(Lazy, Balanced):
        """Lazy moves, and a state that moves by what is reported."""

        def __init__(self) -> None:
            Balanced.__init__(self)

        def flat(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
            yield self.state.k * nets.D(b["real"]).square().mean()

        d, g = Balanced.d, Balanced.g

    said: list[str] = []
    trainers = []
    for _ in range(2):
        torch.manual_seed(1)
        trainers.append(trainer_of(Everything()))
    eager, captured = trainers
    captured.say = said.append
    on_fake_cuda(captured, FakeCuda("operation not permitted\nwhen stream is capturing", failing))
    assert_same(steps(captured, 16).state_dict(), steps(eager, 16).state_dict())
    assert len(said) == 1
    assert said[0].endswith(" runs without CUDA graphs: operation not permitted when stream is capturing")


@pytest.mark.parametrize(("name", "update"), [("Pooled", "alternating"), ("TwoLists", "merged"), ("Lazy", "joint")])
def test_a_captured_run_resumes_to_the_bit(name, update, on_fake_cuda) -> None:
    eager, captured = (toy_trainer(name, update=update) for _ in range(2))
    cuda = on_fake_cuda(captured, FakeCuda())
    state = saved(steps(eager, 3))
    steps(eager, 12)
    steps(captured, 6)
    captured.load_state_dict(state)
    assert_same(steps(captured, 12).state_dict(), eager.state_dict())
    assert 0 < cuda.held < len(cuda.captured)


# ---- compiled


@pytest.mark.parametrize(
    ("name", "update", "graphs"),
    [
        ("Balanced", "merged", 1),
        ("Pooled", "alternating", 2),
        ("Lazy", "joint", 3),
        ("Often", "alternating", 2),
        ("Annealed", "alternating", 2),
    ],
)
def test_compiled_games_follow_what_changes_between_steps(name, update, graphs, without_code_generation) -> None:
    torch.compiler.reset()
    counters.clear()
    eager, compiled = toy_trainer(name, update=update), toy_trainer(name, update=update, compile=True)
    said: list[str] = []
    compiled.say = said.append
    ours, theirs = (steps(trainer, 6).state_dict() for trainer in (compiled, eager))
    assert len(said) == graphs and all(": compiled the " in line for line in said)
    assert counters["stats"]["unique_graphs"] == graphs
    for part in ("networks", "state"):
        torch.testing.assert_close(ours[part], theirs[part], rtol=1e-3, atol=1e-5)
    own, others = (state["processes"][0]["own"] for state in (ours, theirs))
    torch.testing.assert_close(own, others, rtol=1e-3, atol=1e-5)


# ---- games that cannot be played


class Bad(Toy):
    """A game with something wrong in it."""

    def __init__(self, wrong: dict[str, Any]) -> None:
        super().__init__()
        for name, value in wrong.items():
            setattr(self, name, value)


def loss_of(*terms: Any):
    """A loss that yields what functions of the networks and the columns give."""

    def loss(nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        for term in terms:
            yield term(nets, b)

    return loss


def d_score(nets: Networks, b: Batch) -> Tensor:
    return nets.D(b["real"]).score


D, G = (
    Move("D", loss_of(lambda nets, b: d_score(nets, b).mean())),
    Move("G", loss_of(lambda nets, b: nets.G(b["z"]).mean())),
)


def moves(*made: Move) -> dict[str, Any]:
    return {"moves": lambda at: list(made)}


def roles(**changed: Role) -> dict[str, Any]:
    return {"roles": {"D": Role(("D",)), "G": Role(("G",)), **changed}}


def draws(**columns: Tensor) -> dict[str, Any]:
    return {"draw": lambda *args: columns}


x = torch.zeros(BATCH, 3)


@pytest.mark.parametrize(
    ("wrong", "options", "message"),
    [
        (roles(D=Role(("D", "Q"))), {}, "role 'D' names the network 'Q': there are G, D"),
        (roles(D=Role(())), {}, "role 'D' has no parameter to move"),
        ({"averaged": ("H",)}, {}, "averaged names the network 'H': there are G, D"),
        (moves(D, Move("E", D.loss)), {}, "move 'E' is of role 'E': there are D, G"),
        (moves(), {}, "no move is made at every step"),
        (moves(Move("D", D.loss, every=2)), {}, "no move is made at every step"),
        (moves(D, G, Move("D", D.loss)), {}, "two moves are called 'D': name one of them"),
        (moves(Move("D", D.loss, times=0), G), {}, "move 'D' has times=0, every=1: at least 1 each"),
        (moves(D, Move("G", G.loss, rows=0)), {}, "move 'G' has rows=0: at least 1"),
        (
            moves(D, Move("D", D.loss, rows=2, name="More"), G),
            {},
            "move 'D' has rows=1: at least 1, and the same in all",
        ),
        (moves(Move("D", D.loss, times=2), G), {"update": "merged"}, "move 'D' has times=2: only alternating moves"),
        (moves(D, G, Move("D", D.loss, name="More")), {"update": "joint"}, "update='joint': role 'D' has two moves"),
        ({"updates": ("joint",)}, {}, "update='alternating' is not one of joint, which this game knows"),
        (moves(Move("D", loss_of()), G), {}, "the loss of move 'D' yields no term"),
        (moves(Move("D", loss_of(d_score)), G), {}, r"the loss of move 'D' yields a term \[4\], not a number"),
        (
            moves(Move("D", loss_of(lambda nets, b: b["z"].sum())), G),
            {},
            "the loss of move 'D' yields a term that depends on no parameter",
        ),
        (
            moves(Move("D", loss_of(lambda nets, b: nets.D.body(b["real"]).sum())), G),
            {},
            "no attribute 'body'",
        ),
        (
            moves(Move("D", loss_of(lambda nets, b: nets.D(b["real"]).maps[0].sum())), G),
            {},
            "the loss of move 'D' does not depend on D.head.weight",
        ),
        (
            moves(Move("D", loss_of(lambda nets, b: nets.E(b["real"]))), G),
            {},
            "the game has no network 'E', only G, D",
        ),
        (draws(real=x, z=x[:3, :2]), {}, r"column 'z' has 3 rows, not the batch's 4"),
        (
            {**moves(Move("D", D.loss, times=2), G), **draws(**{"real": x, "z": x[:, :2], "D/z": x})},
            {},
            "column 'D/z' has 4 rows, not 2 times the batch's 4",
        ),
    ],
)
def test_a_game_that_cannot_be_played_says_why(wrong, options, message) -> None:
    with pytest.raises((ValueError, AttributeError), match=message):
        steps(trainer_of(Bad(wrong), **options), 1)


def test_an_empty_list_of_data_is_named() -> None:
    source = source_of(Toy())
    source.lists["x"] = 0
    with pytest.raises(ValueError, match="the list 'x' of the data is empty"):
        trainer_of(Toy(), source=source)
