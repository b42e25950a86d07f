"""One program at a time in a folder that programs write to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from train.base.errors import UsageError

LOCK = "lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def locked(folder: Path, program: str) -> Iterator[BinaryIO]:
    """Keeps others who ask from working in the folder while this process lives, or one that it passes the file to.

    The file ``lock`` is locked with flock(2) and says who locked it. The kernel releases the lock when the last process
    that has the file open ends, however it ends. A killed process or a reboot leaves the file without a lock, and the
    next process takes it over. The file is never removed: two processes could then lock two files of the same name.

    Containers on one machine share the lock. The process id in the file is that of the container whose host name
    stands beside it. Over NFS the lock holds between machines (Linux 2.6.12 and later), unless the folder is mounted
    with ``nolock`` or ``local_lock``: then it holds within each machine only. A machine that crashed keeps its lock
    until the server's lease runs out. On a file system without locks there is a warning, and no protection.

    Raises:
        UsageError: if another is at work there.
    """
    with open(folder / LOCK, "a+b") as lock:  # not "wb": that would erase who holds it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another {program} is already running in {folder}{_holder(lock)}") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(
                f"warning: {folder} is on a file system without locks ({error.strerror}): nothing prevents"
                f" another {program} from writing there",
                file=sys.stderr,
            )
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        lock.flush()
        yield lock


def _holder(lock: BinaryIO) -> str:
    """Who wrote into the file; nothing where nobody has."""
    lock.seek(0)
    text = lock.read(200).decode(errors="replace").strip()
    return f": {text}, or one that it started" if text else ""
