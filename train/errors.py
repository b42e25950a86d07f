"""What can go wrong for a user, as one line each; the programs turn these into exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UsageError(ValueError):
    """What was asked for cannot be done as asked (exit code 2)."""


class NotMeasurable(UsageError):
    """A metric cannot be measured here; it is left out where nobody asked for it by name."""


class CheckpointError(UsageError):
    """A checkpoint is missing, damaged or does not fit (exit code 2)."""


class TrainingError(RuntimeError):
    """Training cannot continue, although it was started correctly (exit code 1)."""


def run_program(main: Callable[[], int]) -> int:
    """The exit code of ``main()``, with the errors a user can meet said in one line on stderr.

    2 for usage (options, data and checkpoints included), 1 for what failed on the way, a full disk for one.
    Anything else is a bug and keeps its traceback.
    """
    from train.data import DataError

    try:
        return main()
    except (UsageError, DataError) as error:
        return _say(error, 2)
    except TrainingError as error:
        return _say(error, 1)
    except OSError as error:
        reason = error.strerror or str(error)
        return _say(f"{error.filename}: {reason}" if error.filename else reason, 1)
    except KeyboardInterrupt:
        return _say("interrupted before training began", 130)


def _say(error: Exception | str, code: int) -> int:
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    return code
