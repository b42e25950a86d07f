"""Seeds of the independent streams of random numbers of a run."""

from __future__ import annotations

import hashlib


def stream_seed(seed: int, purpose: str, rank: int = 0) -> int:
    """A seed for one of a run's independent streams of random numbers, in one of its processes."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose} {rank}".encode()).digest()[:4], "little")
