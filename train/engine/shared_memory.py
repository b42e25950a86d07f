"""Means over the processes of one machine by way of memory that they share: faster than gloo, which uses sockets."""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from train.base import processes

FOLDER = Path("/dev/shm")
"""Files there are memory."""
_LINE = 64
"""Bytes that processors fetch at once: what different processes write lies in different ones."""


class SharedMemory:
    """A slot for each process, twice: while one set is still being read, the next message goes to the other. A number
    of each process says how many messages it has laid there.

    Attributes:
        serves: whether there is memory to share, on a processor that shows writes to others in their order (x86).
    """

    def __init__(self) -> None:
        here = processes.on_this_machine() == processes.size()
        self.serves = here and FOLDER.is_dir() and platform.machine() == "x86_64"
        self._capacity = 0  # bytes of a slot

    def reserve(self, size: int) -> bool:
        """Sees to it that a message of so many bytes fits; False, in all processes, where it cannot."""
        if self.serves and size > self._capacity:
            self.serves = self._map(-(-size // _LINE) * _LINE)
        return self.serves

    def mean(self, parts: Sequence[Tensor]) -> Tensor:
        """Of tensors [n] joined; summed in the order of ranks, so that all processes have the same bits."""
        mine, count = processes.rank(), sum(part.numel() for part in parts)
        slots = self._slots[self._messages % 2].view(parts[0].dtype)[:, :count]
        torch.cat(list(parts), out=slots[mine])
        self._messages += 1
        self._laid[mine] = self._messages
        # Whoever has laid this message has read the one before, whose slots the next one takes.
        processes.wait_until(lambda: int(self._laid.min()) >= self._messages)
        total = torch.add(slots[0], slots[1])
        for slot in slots[2:]:
            total += slot
        return total.div_(processes.size())

    def _map(self, capacity: int) -> bool:
        """Maps memory for larger slots, if there is enough of it."""
        count = processes.size()
        length = count * _LINE + 2 * count * capacity
        path = processes.from_first(lambda: _new_file(length))
        if path is None:
            return False
        memory = torch.from_file(path, shared=True, size=length, dtype=torch.uint8)
        processes.exchange(None)
        if processes.is_first():
            os.unlink(path)  # the memory stays for as long as it is mapped
        self._laid = memory[: count * _LINE].view(torch.int64)[:: _LINE // 8]  # [processes]
        self._slots = memory[count * _LINE :].view(2, count, capacity)
        self._capacity, self._messages = capacity, 0
        return True


def _new_file(length: int) -> str | None:
    """A file of so many zero bytes, all of which there are; None if memory is short."""
    with contextlib.suppress(OSError):
        number, path = tempfile.mkstemp(prefix="gan_ops-", dir=FOLDER)
        try:
            os.posix_fallocate(number, 0, length)
            return path
        except OSError:
            os.unlink(path)
        finally:
            os.close(number)
    return None
