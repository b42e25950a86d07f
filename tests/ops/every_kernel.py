"""Runs every op and its derivatives on a GPU, on a few shapes; on_gpu.py has compute-sanitizer watch it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE)]  # gan_ops, and families.py
if importlib.util.find_spec("hypothesis") is None:
    sys.path.append(str(HERE.parent / "without_hypothesis"))

from comparing import derivatives  # noqa: E402
from families import FAMILIES, Family  # noqa: E402

DTYPES = [torch.float32, torch.bfloat16, torch.float64]


def run(family: Family, dtype: torch.dtype, channels_last: bool, device: str) -> None:
    """All derivatives on the family's own odd sizes, and with planes of 64 and of 900 times as many pixels, so that
    blocks come to their loops' second rounds."""
    for wider in (1, 8) if family.name == "conv2d" else (1, 8, 30):
        shapes = tuple((*shape[:2], *(wider * n for n in shape[2:])) for shape in family.sizes)
        if family.name.startswith("minibatch_discrimination") and wider > 1:
            shapes = ((70, *shapes[0][1:]),)  # more samples than a tile has
        inputs = family.inputs(torch.Generator().manual_seed(0), dtype, shapes)
        if channels_last:
            inputs = tuple(t.to(memory_format=torch.channels_last) if t.dim() == 4 else t for t in inputs)
        derivatives(family.op, tuple(t.to(device).requires_grad_() for t in inputs))


def main(device: str = "cuda") -> None:
    for family in FAMILIES:
        for dtype in DTYPES:
            for channels_last in (False, True):
                run(family, dtype, channels_last, device)
    if device == "cuda":
        torch.cuda.synchronize()
    print(f"{len(FAMILIES)} families")


if __name__ == "__main__":
    main()
