"""What can go wrong for a user, as one line each; the programs turn these into exit codes."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable, Sequence

import torch

LONGEST = 1000
"""Characters of a message; of a longer one the middle is left out."""
_OF_PATHS = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.ENXIO),
)
"""Reasons of an OSError that another path would mend."""


class UsageError(ValueError):
    """What was asked for cannot be done as asked (exit code 2)."""


class NotMeasurable(UsageError):
    """A metric cannot be measured here; it is left out where nobody asked for it by name."""


class CheckpointError(UsageError):
    """A checkpoint is missing, damaged or does not fit (exit code 2)."""


class TrainingError(RuntimeError):
    """Training cannot continue, although it was started correctly (exit code 1)."""


class OtherFailed(Exception):
    """Another process of the run has failed and says why; this one ends with the same exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class DataError(ValueError):
    """Data that cannot be used. The message is one line that names the culprit; trainers print it and exit with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class UnreadableImage(Exception):
    """One image that cannot be decoded; such images are listed and skipped. The message says why."""


def run_program(main: Callable[[], int]) -> int:
    """The exit code of ``main()``, with the errors a user can meet said in one line on stderr.

    2 for usage (options, paths, data and checkpoints included), 1 for what failed on the way: a full disk, or too
    little memory. Anything else is a bug and keeps its traceback.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        return main()
    except OtherFailed as error:
        return error.code
    except (UsageError, DataError, TrainingError) as error:
        return _say(error, exit_code(error))
    except OSError as error:
        reason = error.strerror or str(error)
        name = error.filename
        name = name.decode(errors="backslashreplace") if isinstance(name, bytes) else name
        return _say(f"{name}: {reason}" if name else reason, exit_code(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _say("there is not enough memory: smaller sizes, such as that of --batch or --microbatch, need less", 1)
    except KeyboardInterrupt:
        return _say("interrupted before training began", 130)


def exit_code(error: Exception) -> int:
    """2 for what the user asked wrongly, 1 for what failed on the way."""
    asked_wrongly = isinstance(error, OSError) and error.errno in _OF_PATHS
    return 2 if asked_wrongly or isinstance(error, UsageError | DataError) else 1


def listed(names: Sequence[str], most: int) -> str:
    """``"a, b and 3 more"``: the first ``most`` names, and how many others there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def is_out_of_memory(error: Exception) -> bool:
    """On a GPU torch has a type for it, on the CPU only a message."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _say(error: Exception | str, code: int) -> int:
    text = " ".join(str(error).split())
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2 - 10]} … {text[10 - LONGEST // 2 :]}"
    print("error: " + text.encode(errors="backslashreplace").decode(), file=sys.stderr)
    return code
