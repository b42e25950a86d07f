"""Runs every kernel on a GPU, each a few times and on small shapes; a sanitizer watches (benchmarks/on_gpu).

A case is an op family with all its derivatives in one type, layout and size. Those of the greatest use come first,
each family's first before any family's second, and none begins after --until: what has been seen by then is said,
and --first takes up the rest.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE)]  # gan_ops, and families.py
if importlib.util.find_spec("hypothesis") is None:
    sys.path.append(str(HERE.parent / "without_hypothesis"))

from comparing import derivatives  # noqa: E402
from families import ATTENTION, FAMILIES, Family  # noqa: E402

KINDS = [
    (torch.bfloat16, True),
    (torch.float32, False),
    (torch.float32, True),
    (torch.bfloat16, False),
    (torch.float64, False),
    (torch.float64, True),
]
"""Types and whether in channels_last. float16 runs bfloat16's code with other conversions."""
SIZES = {False: (1, 8, 30), True: (1, 30)}
"""How many times as wide and as high, by whether in channels_last."""
TOO_LATE = 10.0
"""Seconds after --until at which a case that hangs ends the program."""


@dataclass(frozen=True)
class Case:
    family: Family
    dtype: torch.dtype
    channels_last: bool
    wider: int

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "contiguous"
        return f"{self.family}, {str(self.dtype).removeprefix('torch.')}, {layout}, {self.wider} times as wide"

    def run(self, device: str) -> None:
        shapes = tuple((*shape[:2], *(self.wider * n for n in shape[2:])) for shape in self.family.sizes)
        if self.family.name.startswith("minibatch_discrimination") and self.wider > 1:
            shapes = ((70, *shapes[0][1:]),)  # more samples than a tile has
        if self.family.name.startswith("pair_distances") and self.wider > 1:
            shapes = ((70, 170), (133, 170))  # more samples and features than a tile has
        if self.family.name.startswith("attention") and self.wider > 1:
            # Rows that a block shares, where the others are a warp's.
            row = next(row for row in ATTENTION if row.name == self.family.name)
            shapes = row.shapes(matrices=4, rows=19, columns=1100, features=5, of_values=3)
        if self.family.name.startswith("grid_sample"):  # a grid's last axis is its points' own
            shapes = (
                shapes[0],
                (shapes[1][0], *(self.wider * n for n in self.family.sizes[1][1:-1]), len(shapes[0]) - 2),
            )
        inputs = self.family.inputs(torch.Generator().manual_seed(0), self.dtype, shapes)
        if self.channels_last:
            inputs = tuple(t.to(memory_format=torch.channels_last) if t.dim() == 4 else t for t in inputs)
        derivatives(self.family.op, tuple(t.to(device).requires_grad_() for t in inputs))


def distinct() -> list[Family]:
    """The families, less those that differ by a number or a formula alone, whose kernels are others' and take no other
    way through them, and conv2d, whose kernels are torch's."""
    same = (
        "fade_in(fraction=0.69",  # 0.7 in float32
        "minibatch_stddev(group_size=1, num_channels=1)",
        "virtual_batch_norm(affine=True, reference_size=inf)",
        "gradient_penalty(target=0, one_sided=False)",
        *(f"scale_bias_act({act}" for act in ("linear", "tanh", "sigmoid", "elu", "selu", "softplus")),
        "filtered_lrelu without bias",
        "filtered_lrelu(separable up filter alone)",
        "filtered_lrelu(2-D down filter alone)",
        "filtered_lrelu(long filter)",
        *(f"upfirdn2d({filter}" for filter in ("4x4", "12", "no filter", "2, ")),
        *(f"attention(bias=[{shared}" for shared in ("N", "L, N", "L, 1")),
        "grid_sample(2-D, bilinear, border",
        "grid_sample(2-D, bilinear, reflection",
        "grid_sample(2-D, nearest",
        "grid_sample(3-D, bilinear, reflection",
        "grid_sample(3-D, nearest",
        "conv2d",
    )
    for beginning in same:
        assert any(family.name.startswith(beginning) for family in FAMILIES), f"{beginning} is no family"
    return [family for family in FAMILIES if not family.name.startswith(same)]


def cases() -> Iterator[Case]:
    """The families' own odd sizes, and planes of 64 and of 900 times as many pixels: where pixels are adjacent, kernels
    give a plane four threads, a warp or a block, as it is large. With the largest, blocks come to their loops' second
    rounds."""
    for dtype, channels_last in KINDS:
        for wider in SIZES[channels_last]:
            for family in distinct():
                if len(family.sizes[0]) != 4 and (channels_last or wider == max(SIZES[False])):
                    continue  # minibatch discrimination, pair distances and attention have no layouts and two sizes
                yield Case(family, dtype, channels_last, wider)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--until", type=float, metavar="TIME", help="begin no case after this Unix time")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="leave out as many cases")
    options = parser.parse_args(arguments)
    if options.until:
        signal.alarm(max(1, round(options.until + TOO_LATE - time.time())))
    every = list(cases())
    for i, case in enumerate(every):
        if i < options.first:
            continue
        if options.until and time.time() > options.until:
            print(f"{i} of {len(every)} cases", flush=True)
            break
        print(f"case {i}: {case}", flush=True)  # the last one that a log has is the one at fault
        case.run(options.device)
        if options.device == "cuda":
            torch.cuda.synchronize()
    else:
        print(f"all {len(every)} cases", flush=True)
    signal.alarm(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
