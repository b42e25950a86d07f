"""Games that cannot be played, and why."""

from __future__ import annotations

from collections.abc import Sequence

from train.engine.game import Game, Move, Update


def check_networks(game: Game) -> None:
    """ValueError where a role or an average is of a network that is not there, or a role of none that can move."""
    named = {f"role {name!r}": role.networks for name, role in game.roles.items()} | {"averaged": game.averaged}
    for what, networks in named.items():
        for network in networks:
            if network not in game.networks:
                raise ValueError(f"{what} names the network {network!r}: there are {', '.join(game.networks)}")
    for name, role in game.roles.items():
        if not any(p.requires_grad for network in role.networks for p in game.networks[network].parameters()):
            raise ValueError(f"role {name!r} has no parameter to move")


def check_moves(moves: Sequence[Move], game: Game, update: Update) -> None:
    """ValueError for moves that cannot be made."""
    if update not in game.updates:
        raise ValueError(f"update={update!r} is not one of {', '.join(game.updates)}, which this game knows")
    main = [move for move in moves if move.every == 1]
    if not main:
        raise ValueError("no move is made at every step")
    labels = [move.label for move in moves]
    for move in moves:
        if move.role not in game.roles:
            raise ValueError(f"move {move.label!r} is of role {move.role!r}: there are {', '.join(game.roles)}")
        if move.times < 1 or move.every < 1:
            raise ValueError(f"move {move.label!r} has times={move.times}, every={move.every}: at least 1 each")
        if move.times > 1 and (move.every > 1 or update != "alternating"):
            raise ValueError(f"move {move.label!r} has times={move.times}: only alternating moves of every step repeat")
        if move.rows < 1 or any(other.rows != move.rows for other in moves if other.role == move.role):
            raise ValueError(f"move {move.label!r} has rows={move.rows}: at least 1, and the same in all of its role")
        if labels.count(move.label) > 1:
            raise ValueError(f"two moves are called {move.label!r}: name one of them")
    movers = [move.role for move in main]
    for role in movers:
        if update != "alternating" and movers.count(role) > 1:
            raise ValueError(f"update={update!r}: role {role!r} has two moves, of which neither can come first")
