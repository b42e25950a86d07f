"""The state of a run and one step of it. Nothing here knows files, options or any game."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from train.base import processes
from train.base.processes import share_of
from train.base.seeds import stream_seed
from train.base.tables import lookup
from train.engine.checks import check_moves, check_networks
from train.engine.cuda_graphs import Cuda, wanted
from train.engine.curve import Curve
from train.engine.ema import averaged_copy, weight_of
from train.engine.game import Game, Move, Source, Update
from train.engine.meters import Meters
from train.engine.parallel import fill, make_alike, mean_statistics, statistics
from train.engine.player import Player
from train.engine.precision import Autocast
from train.engine.schedule import Position, Schedule
from train.engine.step import Step


class Trainer:
    """Plays a game; :meth:`state_dict` is all that a resumed run needs to go on exactly.

    Args:
        source: of the game's data.
        ema_kimg: half-life of the averaged networks in thousands of samples, by resolution.
        ema_ramp: until it is as old as its half-life, an average is over all steps, so that nothing of the start stays.
        ema_curve: what multiplies the half-life; None for 1.
        seed: of the run; with the process's rank it seeds its random numbers.
        update: how the moves of a step relate, see :data:`train.engine.game.Update`.
        reset_optimizer: forget the optimizers' state at the start of each phase but the first.
        compile: compile the gradients' computation, anew for each phase.
        cuda_graphs: record each phase's steps as CUDA graphs: "on", "off", or "auto" (see
            :mod:`train.engine.cuda_graphs`).

    Attributes:
        averages: the averaged networks by name.
        players: what moves the roles, by name.
        images: samples shown so far.
        say: takes a line for people, such as why something is not compiled.

    Raises:
        ValueError: for a game that cannot be played: a role that names no network, an empty list of data, moves that
            contradict each other.
    """

    def __init__(
        self,
        game: Game,
        schedule: Schedule,
        source: Source,
        *,
        device: torch.device,
        autocast: Autocast,
        ema_kimg: Mapping[int, float],
        ema_ramp: bool = False,
        ema_curve: Curve | None = None,
        seed: int = 0,
        update: Update = "alternating",
        reset_optimizer: bool = False,
        compile: bool = False,
        cuda_graphs: str = "off",
    ) -> None:
        self.game, self.schedule, self.source, self.device = game, schedule, source, device
        self._autocast, self._ema_kimg = autocast, dict(ema_kimg)
        self._ema_ramp, self._ema_curve = ema_ramp, ema_curve
        self._update, self._reset_optimizer = update, reset_optimizer
        self._compile, self._cuda_graphs = compile, cuda_graphs
        self._cuda = Cuda(device) if device.type == "cuda" and cuda_graphs != "off" else None
        for name, length in source.lists.items():
            if length < 1:
                raise ValueError(f"the list {name!r} of the data is empty")
        for phase in schedule.phases:
            share_of(phase.batch)
        check_networks(game)
        for network in game.networks.values():
            make_alike([*network.parameters(), *network.buffers()])
        moves = game.moves(schedule.position(0))
        check_moves(moves, game, update)
        self.players = {
            name: _player(game, name, moves, loss_scaling=autocast.dtype == torch.float16) for name in game.roles
        }
        self.averages = {name: averaged_copy(game.networks[name]) for name in game.averaged}
        self.say: Callable[[str], None] = print
        self.images = 0
        self.steps = 0
        self.meters = Meters(device)
        self._phase = -1
        self._stage: tuple[int, bool] | None = None
        self._moves: Sequence[Move] = ()
        self._step: Step | None = None
        self._fade = torch.tensor(0.0, device=device)
        self._weight = torch.tensor(1.0, device=device)
        self._seed = seed
        self._random = torch.Generator(device).manual_seed(stream_seed(seed, "steps", processes.rank()))
        if processes.rank():  # layers that are random in training, such as dropout, draw from torch's own
            torch.manual_seed(stream_seed(seed, "layers", processes.rank()))
        self._own_at_start = {name: value.clone() for name, value in game.own.state_dict().items()}

    @property
    def position(self) -> Position:
        """Of the step to come."""
        return self.schedule.position(self.images)

    @property
    def done(self) -> bool:
        return self.images >= self.schedule.total

    def step(self) -> Position:
        """Makes the moves of a step and says where in the schedule that was. Nothing is read from the device."""
        at = self.position
        self._enter(at)
        at = replace(at, due=frozenset(m.label for m in self._moves if m.every > 1 and self.steps % m.every == 0))
        share = share_of(at.batch)
        counts = self.game.takes(share, at)
        seen = self.source.columns(counts, at, self._random)
        self._step(self.game.draw(seen, share, at, self._random), at.due)
        self.images += self.game.shows(share, at) * processes.size()
        self.steps += 1
        return at

    def measurements(self) -> dict[str, float]:
        """Means of what was reported since the last call, over the steps where it was finite (NaN: in none)."""
        return self.meters.means()

    def skipped(self) -> tuple[int, int]:
        """Updates skipped for non-finite gradients: in the whole run, and the longest row of them up to now."""
        players = self.players.values()
        return int(sum(p.skipped for p in players)), int(max(p.streak for p in players))

    def average_statistics(self) -> None:
        """Gives the averaged networks the means over all processes of what theirs remember of batches, such as batch
        norm's running statistics. All processes must call it. Training is not touched: it reads none of them, and the
        mean of the averages that go on from there is what it would have been."""
        if processes.size() > 1:
            fill(self.averages, mean_statistics(self.averages))

    def state_dict(self) -> dict[str, Any]:
        """The same in all processes, which must call it together; "processes" has what each keeps for itself."""
        self.average_statistics()
        networks = {name: network.state_dict() for name, network in self.game.networks.items()}
        own: dict[str, Any] = {
            "own": self.game.own.state_dict(),
            "random": self._random.get_state(),
            "global_random": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            own["global_random_cuda"] = torch.cuda.get_rng_state(self.device)
        if processes.size() > 1:
            own["own"] = {name: value.cpu() for name, value in own["own"].items()}
            own["statistics"] = {name: value.cpu() for name, value in statistics(self.game.networks).items()}
            for name, value in mean_statistics(self.game.networks).items():
                network, _, key = name.partition(".")
                networks[network][key] = value
        return {
            "images": self.images,
            "steps": self.steps,
            "phase": self._phase,
            "networks": networks,
            "averages": {name: network.state_dict() for name, network in self.averages.items()},
            "players": {name: player.state_dict() for name, player in self.players.items()},
            "state": self.game.state.state_dict(),
            "source": self.source.state_dict(),
            "meters": self.meters.state_dict(),
            "processes": processes.exchange(own),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there: exactly, if there were as many processes. Else their random numbers begin anew, and what
        each kept for itself is as at the start."""
        self.images, self.steps, self._phase = (int(state[name]) for name in ("images", "steps", "phase"))
        if min(self.images, self.steps) < 0:
            raise ValueError(f"images={self.images}, steps={self.steps}: a run cannot have shown less than nothing")
        for mine, theirs in ((self.game.networks, state["networks"]), (self.averages, state["averages"])):
            for name, network in mine.items():
                network.load_state_dict(theirs[name])
        for name, player in self.players.items():
            player.load_state_dict(state["players"][name])
        self.game.state.load_state_dict(state["state"])
        self._stage = None
        self.source.load_state_dict(state["source"])
        self.meters.load_state_dict(state["meters"])
        if len(state["processes"]) == processes.size():
            self._load_own(state["processes"][processes.rank()])
        else:
            of_this_moment = f"steps from {self.images} on in {processes.size()}"
            self._random.manual_seed(stream_seed(self._seed, of_this_moment, processes.rank()))
            torch.manual_seed(stream_seed(self._seed, of_this_moment + " layers", processes.rank()))
            self.game.own.load_state_dict(self._own_at_start)

    def _load_own(self, own: Mapping[str, Any]) -> None:
        """What a process kept for itself."""
        self.game.own.load_state_dict(own["own"])
        if own["random"].shape == self._random.get_state().shape:  # else: it is of another kind of device
            self._random.set_state(own["random"])
        torch.set_rng_state(own["global_random"])
        if self.device.type == "cuda" and "global_random_cuda" in own:
            torch.cuda.set_rng_state(own["global_random_cuda"], self.device)
        if processes.size() > 1:
            fill(self.game.networks, own["statistics"])

    def _enter(self, at: Position) -> None:
        """Brings networks and optimizers to a position."""
        # Within a stage nothing changes its shape or its place in memory.
        stage = (at.phase, at.fade > 0)
        if stage != self._stage:
            if self._step is not None:
                self._step.release()
            if at.phase != self._phase:
                self.game.enter(at)
            networks = {**self.game.networks, **{f"averaged {n}": ema for n, ema in self.averages.items()}}
            self.game.arrange(networks, at, self._fade if at.fade else 0.0)
            for player in self.players.values():
                player.refresh()
                if at.phase != self._phase and self._phase >= 0 and self._reset_optimizer:
                    player.reset_optimizer()
            self._step = self._step_for(at)
            self._stage, self._phase = stage, at.phase
        self._fade.fill_(at.fade)
        if self._ema_ramp or self._ema_curve:
            self._weight.fill_(max(self._average_weight(at), 1 / (self.steps + 1) if self._ema_ramp else 0.0))
        for player in self.players.values():
            player.set_lr(at.lr)
            player.anneal(at.images)

    def _average_weight(self, at: Position) -> float:
        half_life = 1000 * lookup(self._ema_kimg, at.resolution)
        if self._ema_curve:
            half_life *= self._ema_curve.at(at.images)
        return weight_of(self.game.shows(at.batch, at), half_life)

    def _step_for(self, at: Position) -> Step:
        self._moves = self.game.moves(at)
        return Step(
            self.game,
            self._moves,
            self.players,
            self.averages,
            self._autocast,
            batch=share_of(at.batch),
            weight=self._weight if self._ema_ramp or self._ema_curve else self._average_weight(at),
            microbatch=min(at.microbatch, share_of(at.batch)),
            update=self._update,
            report=self.meters.add,
            compile=self._compile,
            cuda=self._cuda if wanted(self._cuda_graphs, self.device, at.resolution) else None,
            say=lambda line: self.say(f"{at.resolution}x{at.resolution}: {line}"),
        )


def _player(game: Game, name: str, moves: Sequence[Move], *, loss_scaling: bool) -> Player:
    """What moves a role."""
    role = game.roles[name]
    own = [move for move in moves if move.role == name]
    main = sum(move.times for move in own if move.every == 1)
    pace = main / (main + sum(1 / move.every for move in own if move.every > 1)) if main else 1.0
    return Player({n: game.networks[n] for n in role.networks}, role, pace=pace, loss_scaling=loss_scaling)
