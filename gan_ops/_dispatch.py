"""Whether an op runs its kernel or its plain-torch definition."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gan_ops import _extension

reference_only = os.environ.get("GAN_OPS_REFERENCE", "0") not in ("", "0")
"""Set by ``GAN_OPS_REFERENCE=1``: the compiled part is not even loaded."""

if not reference_only:
    try:
        _extension.load()
    except _extension.BuildError:
        # The doctor is in this package and must be importable to say what is wrong; nobody else goes on without.
        if ("-m", "gan_ops.doctor") not in zip(sys.orig_argv, sys.orig_argv[1:], strict=False):
            raise
        reference_only = True

_contexts: list[None] = []
"""One entry for each use_reference() that some thread is in (a list: its append and pop are atomic)."""


@contextmanager
def use_reference() -> Iterator[None]:
    """Within this context every op, in all threads, runs its definition in :mod:`gan_ops.reference`."""
    _contexts.append(None)
    try:
        yield
    finally:
        _contexts.pop()


def kernels_run() -> bool:
    """False where the reference is forced or under a ``torch.func`` transform, which C++ autograd functions refuse."""
    return not (reference_only or _contexts or torch._C._are_functorch_transforms_active())


def kernels_run_eagerly() -> bool:
    """As :func:`kernels_run`, for ops that compilers fuse better than any kernel: in a graph, their definition."""
    return kernels_run() and not torch.compiler.is_compiling()
