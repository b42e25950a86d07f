"""What ops become inside compiled graphs, as their functions in gan_ops have it: tables print it, tests trace it."""

from __future__ import annotations

import gan_ops

_GATES = {"kernels_run", "kernels_run_eagerly"}


def stays_a_kernel(name: str) -> bool | None:
    """Whether the op of this name is its kernel there, or else its definition; None if it has no kernel at all."""
    gates = _GATES & set(getattr(gan_ops, name).__code__.co_names)
    return gates == {"kernels_run"} if gates else None
