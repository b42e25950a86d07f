"""What a run says: lines for people, ``stats.jsonl`` and TensorBoard events for programs."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

LINES, STATS = "log.txt", "stats.jsonl"


class RunLog:
    """Writes to a run's folder and to the screen.

    Args:
        sizes: bytes of each file to keep when a run is resumed, as :meth:`sizes` gave them at its checkpoint.
        purge_step: on resume, TensorBoard's events from this step on are void.
        tensorboard: write events too, if TensorBoard is installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sizes: Mapping[str, int] | None = None,
        purge_step: int | None = None,
        tensorboard: bool = True,
        screen: TextIO | None = None,
    ) -> None:
        self._screen = screen or sys.stdout
        self._shown = False  # whether the screen's last line is one of progress, to be replaced
        self._files = {name: _open_at(folder / name, (sizes or {}).get(name)) for name in (LINES, STATS)}
        self._events = _open_events(folder, purge_step) if tensorboard else None
        if tensorboard and self._events is None:
            self.line("TensorBoard is not installed, so no events are written: pip install tensorboard")

    def line(self, text: str) -> None:
        """A line for people."""
        if self._shown:
            self._screen.write("\r\x1b[K")
            self._shown = False
        print(text, file=self._screen, flush=True)
        self._write(LINES, text)

    def progress(self, text: str) -> None:
        """A line that the next one replaces on a terminal; elsewhere a line like any other."""
        if not self._screen.isatty():
            return self.line(text)
        self._screen.write("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1])
        self._screen.flush()
        self._shown = True
        self._write(LINES, text)

    def stats(self, images: int, values: Mapping[str, Any]) -> None:
        """One line of ``stats.jsonl``, and a TensorBoard scalar for each number."""
        self._write(STATS, json.dumps({"images": images, **values}))
        if self._events is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    # TensorBoard has no brackets in names, and groups them by the part before a slash.
                    self._events.add_scalar(name.replace("[", "/").replace("]", ""), value, images)

    def image(self, name: str, pixels: Tensor, images: int) -> None:
        """A picture for TensorBoard, uint8 [C, H, W]."""
        if self._events is not None:
            self._events.add_image(name, pixels, images)

    def sizes(self) -> dict[str, int]:
        """Bytes written to each file so far."""
        return {name: file.tell() for name, file in self._files.items()}

    def close(self) -> None:
        if self._shown:
            self._screen.write("\n")
        for file in self._files.values():
            file.close()
        if self._events is not None:
            self._events.close()

    def _write(self, name: str, text: str) -> None:
        file = self._files[name]
        file.write((text + "\n").encode(errors="backslashreplace"))
        file.flush()


class NoLog:
    """The log of the processes that neither write nor print."""

    def line(self, text: str) -> None: ...
    def progress(self, text: str) -> None: ...
    def stats(self, images: int, values: Mapping[str, Any]) -> None: ...
    def image(self, name: str, pixels: Tensor, images: int) -> None: ...
    def close(self) -> None: ...

    def sizes(self) -> dict[str, int]:
        return {}


def _open_at(path: Path, size: int | None) -> Any:
    """The file opened for appending, cut to ``size`` bytes if it is longer."""
    if size is not None and path.exists() and path.stat().st_size > size:
        os.truncate(path, size)
    return open(path, "ab")  # it stays open for as long as the log


def _open_events(folder: Path, purge_step: int | None) -> Any:
    """TensorBoard's writer, or None where TensorBoard is missing. Its import takes a second: only here."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=purge_step)


def peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: on a GPU those of torch's tensors there, else those of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def duration(seconds: float) -> str:
    """``3725`` → ``"1h 02m"``."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d {h:02d}h"
    return f"{h}h {m:02d}m" if h else f"{m}m {s:02d}s"
