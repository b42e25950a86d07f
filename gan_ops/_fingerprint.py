"""The hash of the C++/CUDA sources (op schemas included) that a build is made from.

setup.py bakes it into ``gan_ops._C``; at load it is compared with the sources that lie beside the package, if any do.
Kept free of other imports: setup.py runs this file on its own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_SOURCE_SUFFIXES = {".cpp", ".cu", ".cuh", ".h"}


def sources(csrc: Path) -> list[Path]:
    """All source files below ``csrc``, in a fixed order."""
    return sorted((path for path in csrc.rglob("*") if path.suffix in _SOURCE_SUFFIXES), key=lambda p: p.as_posix())


def fingerprint(csrc: Path) -> str:
    """Sixteen hexadecimal digits that change with any name or content below ``csrc``."""
    digest = hashlib.sha256()
    for path in sources(csrc):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(csrc).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]
