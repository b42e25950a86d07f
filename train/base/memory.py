"""How the C library hands out memory on the CPU."""

from __future__ import annotations

import ctypes

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MOST_FROM_HEAP = 32 << 20  # the most that M_MMAP_THRESHOLD takes; larger blocks are mapped one by one
_GIB = 1 << 30


def keep_freed_memory() -> bool:
    """Makes malloc keep what a step frees for the next one, instead of giving it back and faulting it in again.

    A step allocates the same activations every time; by default thousands of pages a step come and go, some 5 to 15 %
    of its time. The peak stays what it was. Returns whether this C library (glibc) could be told.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_THRESHOLD, _MOST_FROM_HEAP), (_M_TRIM_THRESHOLD, _GIB), (_M_TOP_PAD, _MOST_FROM_HEAP))
    return all([bool(mallopt(name, value)) for name, value in settings])
