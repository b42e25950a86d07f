"""``python -m train.export``: writes a run's generator as a file for other programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import torch
import tyro
from torch import nn

from gan_ops.doctor import float32_proper
from train.base.device import resolve_device
from train.base.errors import CheckpointError, UsageError, run_program
from train.base.files import write_atomically
from train.run.generators import build_generator, find_checkpoint
from train.run.options import parse_options
from train.run.portable import FORMATS, Draw, inputs

PROG = "python -m train.export"
BATCHES = (1, 3)
"""Sizes of the batches that a file is checked with: others than the one that the graph was recorded with."""
TOLERANCE = 1e-4
"""Largest difference, as a share of the largest value: 8-bit pixels are 80 times as far apart."""


@dataclass(frozen=True)
class Options:
    """Writes the averaged generator of a run to a file for other programs, and checks that it draws the same images."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT_OR_RUN")]
    """A checkpoint, or the folder of a run, whose newest checkpoint is used."""
    format: Literal["onnx", "torch-export", "safetensors"] = "onnx"
    """onnx and torch-export hold the whole network and do not need this repository; safetensors holds the weights."""
    out: Path | None = None
    """File to write (default: generator.onnx, generator.pt2 or generator.safetensors)."""
    device: str = "cpu"
    """Device that a torch-export program will run on: auto, cpu, cuda or cuda:N."""


@torch.no_grad()
def largest_difference(draw: Draw, generator: nn.Module, device: torch.device) -> float:
    """Between the images of the two, as a share of the largest value, or of 1 where all are smaller."""
    worst = 0.0
    with float32_proper():
        for count in BATCHES:
            given = [tensor.to(device) for tensor in inputs(generator, count)]
            expected, actual = generator(*given).cpu(), draw(*given).cpu()
            difference = (actual - expected).abs().max() / expected.abs().max().clamp(min=1)
            worst = max(worst, float("inf") if difference.isnan() else difference.item())
    return worst


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    device = resolve_device(options.device)
    form = FORMATS[options.format]
    out = options.out or Path("generator" + form.suffix)
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: name a file in it")
    if missing := form.missing():
        raise UsageError(
            f"--format {options.format} needs packages that are not installed: pip install {' '.join(missing)}"
        )
    path, state = find_checkpoint(options.source)
    generator = build_generator(path, state, device)
    if not all(tensor.isfinite().all() for tensor in generator.parameters()):
        raise CheckpointError(f"checkpoint {path} has weights that are not finite: use an earlier one")
    content = form.encode(build_generator(path, state, device), state)
    checked = ", not checked (pip install onnxruntime to have it checked)"

    def write_and_check(file: BinaryIO) -> None:
        nonlocal checked
        file.write(content)
        file.flush()
        if form.loads_here():
            difference = largest_difference(form.load(Path(file.name), device), generator, device)
            if difference > TOLERANCE:
                raise UsageError(
                    f"the {options.format} file draws images that differ from those of {path} by {difference:.2g}"
                )
            checked = f", checked: draws the same images as the checkpoint, largest difference {difference:.1g}"

    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, write_and_check)
    size, labels = generator.resolution, ", labels [N]" if generator.num_classes else ""
    print(f"{out}: z [N, {generator.latent_dim}]{labels} to images of {size}x{size}{checked}")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
