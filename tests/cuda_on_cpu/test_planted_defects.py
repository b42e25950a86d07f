"""Defects planted into copies of our kernels are found: a harness that lets them pass would prove nothing."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from compiling import BUILD, CUDA, GLUE, compile_libraries
from emulated import Executor
from families import FAMILIES, Shapes
from kernel_checks import check_kernels

STDDEV = "minibatch_stddev(group_size=4, num_channels=1)"
DISCRIMINATION = "minibatch_discrimination(include_self=False)"


@dataclass(frozen=True)
class Defect:
    name: str
    file: str  # of csrc/cuda/
    right: str  # what stands there, once
    wrong: str  # and what comes in its place
    report: str  # a regular expression
    shapes: Shapes = ((8, 19, 7, 9),)  # two groups of three chunks each, the last one not full
    family: str = STDDEV
    misaligned: bool = False
    misaligned_vectors: bool | None = None
    channels_last: bool = False

    def __str__(self) -> str:
        return self.name

    def plant(self) -> list[Path]:
        """The sources of a library with the defect."""
        folder = BUILD / "planted" / self.name.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        name = self.family.split("(")[0]
        kernels = folder / f"{name}.cu"
        for path in (CUDA / kernels.name, *CUDA.glob("*.cuh")):
            shutil.copyfile(path, folder / path.name)
        replace(folder / "launch.cuh", ALL_TYPES, ONLY_FLOAT)
        replace(folder / self.file, self.right, self.wrong)
        return [kernels, GLUE / f"{name}.cpp"]


# What is compiled takes a quarter of the time.
ALL_TYPES, ONLY_FLOAT = "with_type_among<__half, __nv_bfloat16>(dtype, body);", "body(Type<float>{});"


def replace(path: Path, right: str, wrong: str) -> None:
    text = path.read_text()
    assert text.count(right) == 1, f"{path.name} does not have {right!r} once: plant the defect elsewhere"
    path.write_text(text.replace(right, wrong))


DIFFERS = "on the order of threads, or on unwritten memory|is .* off its definition|asked for, or on unwritten memory"

DEFECTS = [
    Defect(
        "an index one too far",
        "minibatch_stddev.cu",
        right="position = begin + threadIdx.x * kV; position < end;",
        wrong="position = begin + threadIdx.x * kV; position <= end;",
        report="heap-buffer-overflow",
    ),
    Defect(
        "shared memory for one warp too few",
        "minibatch_stddev.cu",
        right="const Body& body) {\n  __shared__ A shared[kThreads / kWarp];",
        wrong="const Body& body) {\n  __shared__ A shared[kThreads / kWarp - 1];",
        report="insufficient space for an object|out of bounds",
    ),
    Defect(
        "no barrier between writing and reading",
        "launch.cuh",
        right="= value;\n  __syncthreads();",
        wrong="= value;",
        report=DIFFERS,
    ),
    Defect(
        "no barrier between reading and writing again",
        "launch.cuh",
        right="__syncthreads();\n  return total;",
        wrong="return total;",
        report=DIFFERS,
    ),
    Defect(
        "a mask without the last lane",
        "launch.cuh",
        right="kAllLanes = 0xffffffffu",
        wrong="kAllLanes = 0x7fffffffu",
        report="mask 0x7fffffff (is not in the mask itself|reads lane 31, which is not in the mask)",
    ),
    Defect(
        "threads that leave before a sum of all",
        "minibatch_stddev.cu",
        right="if (partial == nullptr) continue;",
        wrong="if (partial == nullptr || sum == A(0)) continue;",
        report="threads wait for others that do not come",
    ),
    Defect(
        "an output that is not written",
        "minibatch_stddev.cu",
        right="      out[s.map_run(n, in_sample / s.plane, mf % s.features) + in_sample % s.plane] = value;",
        wrong="      if (i > 0) out[s.map_run(n, in_sample / s.plane, mf % s.features) + in_sample % s.plane] = value;",
        report="result 0 is nan off its definition",
    ),
    Defect(
        "16 bytes at once wherever they lie",
        "vectors.cuh",
        right="& 15) == 0",
        wrong="& 0) == 0",
        report="misaligned address",
        shapes=((8, 16, 4, 4),),
        misaligned=True,
    ),
    *[
        Defect(
            name,
            "virtual_batch_norm.cu",
            right,
            wrong,
            report,
            shapes=((3, 8, 24, 23), *[(8,)] * 4),  # three samples of three chunks each, the last one not full
            channels_last=True,
            family="virtual_batch_norm(affine=True, reference_size=3)",
        )
        for name, right, wrong, report in [
            (
                "writing that overtakes the sums it waits for",
                "min(tasks, chunks + grid / 2)",
                "min(tasks, chunks - 1 + 0 * grid)",
                "a thread sleeps until another block has done something",
            ),
            (
                "sums that are joined when one of them is missing",
                "== tickets.chunks - 1",
                "== tickets.chunks - 2",
                DIFFERS,
            ),
            (
                "a counter that is not cleared",
                "(groups + 1) * sizeof",
                "groups * sizeof",
                f"a thread sleeps until another block has done something|{DIFFERS}",
            ),
        ]
    ],
    Defect(
        "weights that are read before other lanes have written them",
        "minibatch_discrimination.cu",
        right="weight[r]);\n        __syncwarp();",
        wrong="weight[r]);",
        report=DIFFERS,
        shapes=((70, 2, 5),),  # blocks enough for 4 × 4 pairs a thread
        family=DISCRIMINATION,
    ),
    Defect(
        "features that are replaced before all have added them up",
        "pair_distances.cu",
        right="__syncthreads();  // all have read what was there\n",
        wrong="\n",
        report=DIFFERS,
        shapes=((70, 40), (70, 40)),
        family="pair_distances(metric=squared)",
    ),
    Defect(
        "a share of a tile's features that is left out",
        "pair_distances.cu",
        right="share < shares; ++share) sum",
        wrong="share < shares - 1; ++share) sum",
        report="result 0 is .* off its definition",
        shapes=((5, 170), (6, 170)),
        family="pair_distances(metric=l1)",
    ),
    Defect(
        "16 bytes of parameters at once wherever they lie",
        "channel_walk.cuh",
        right="all = all && aligned(f.parameter(k));",
        wrong="all = all && f.parameter(k) != nullptr;",
        report="misaligned address",
        shapes=((2, 16, 4, 4), (16,)),
        family="bias_act_pixel_norm",
        misaligned_vectors=True,
        channels_last=True,
    ),
    Defect(
        "parameters of the channels of another vector",
        "channel_walk.cuh",
        right="load_channels<T>(f, h * stride + column * kV, here[h], parameters_by_vector, channels[h]);",
        wrong="load_channels<T>(f, column * kV, here[0], parameters_by_vector, channels[h]);",
        report="result 0 is .* off its definition",
        shapes=((2, 264, 3, 3), (264,)),
        family="bias_act_pixel_norm",
        channels_last=True,
    ),
    Defect(
        "no barrier between the warps' sums and their reader",
        "columns.cuh",
        right="lane * kCount + k] = values[k];\n  __syncthreads();",
        wrong="lane * kCount + k] = values[k];",
        report=DIFFERS,
        shapes=((2, 8, 20, 20), (8,)),
        family="bias_act",
        channels_last=True,
    ),
    Defect(
        "16 bytes of bias at once wherever it lies",
        "bias_act.cu",
        right="load(bias + c + k, kVector<A>, aligned(bias), of_channel + k);",
        wrong="load(bias + c + k, kVector<A>, true, of_channel + k);",
        report="misaligned address",
        shapes=((2, 16, 4, 4), (16,)),
        family="bias_act",
        misaligned_vectors=True,
        channels_last=True,
    ),
    Defect(
        "the bias of the first strip of channels for all",
        "bias_act.cu",
        right="load(bias + c + k, kVector<A>, aligned(bias), of_channel + k);",
        wrong="load(bias + column * kV + k, kVector<A>, aligned(bias), of_channel + k);",
        report="result 0 is .* off its definition",
        shapes=((2, 264, 3, 3), (264,)),
        family="bias_act",
        channels_last=True,
    ),
    Defect(
        "no barrier between warps' sums over channels and their reader",
        "grid_sample.cu",
        right="corners.along(a, place);\n      __syncthreads();",
        wrong="corners.along(a, place);",
        report=DIFFERS,
        shapes=((2, 19, 4, 3), (2, 5, 7, 2)),
        family="grid_sample(2-D, bilinear, zeros)",
    ),
    Defect(
        "points that begin the next cell added to this one",
        "grid_sample.cu",
        right="i < end; ++i) {\n        const int64_t point = order.points[i];",
        wrong="i <= end; ++i) {\n        const int64_t point = order.points[i];",
        report="result 1 is .* off its definition|heap-buffer-overflow",
        shapes=((2, 5, 4, 3), (2, 5, 7, 2)),
        family="grid_sample(2-D, bilinear, zeros)",
        channels_last=True,
    ),
    Defect(
        "warps' largest scores that are replaced before all have read them",
        "attention.cu",
        right="value = larger(value, shared[warp]);\n    __syncthreads();",
        wrong="value = larger(value, shared[warp]);",
        report=DIFFERS,
        shapes=((1, 3, 2), (1, 1030, 2), (1, 1030, 2)),  # rows so long that a block has one
        family="attention()",
    ),
    Defect(
        "a score of the future that is seen",
        "attention.cu",
        right="seen = args.block.seen(r);\n  A* s =",
        wrong="seen = args.block.seen(r) < columns ? args.block.seen(r) + 1 : columns;\n  A* s =",
        report="result 0 is .* off its definition",
        shapes=((2, 4, 3), (2, 5, 3), (2, 5, 2), (1, 5)),
        family="attention(bias=[1, M], is_causal)",
    ),
    Defect(
        "inputs that are read before all threads have brought theirs",
        "upfirdn2d.cu",
        right="inputs[r * stride + j + k] = found[k];\n      }\n    }\n    __syncthreads();",
        wrong="inputs[r * stride + j + k] = found[k];\n      }\n    }",
        report=DIFFERS,
        shapes=((1, 3, 9, 20),),
        family="upfirdn2d(4x4)",
    ),
    Defect(
        "activations that are read before all threads have written theirs",
        "filtered_lrelu.cu",
        right="    });\n    __syncthreads();\n\n    if (apart2) {",
        wrong="    });\n\n    if (apart2) {",
        report=DIFFERS,
        shapes=((2, 3, 9, 20), (3,)),
        family="filtered_lrelu",
    ),
    Defect(
        "rows of partial sums that are left out",
        "scale_bias_act.cu",
        right="for (int r = 0; r < kSumRows; ++r) of_column",
        wrong="for (int r = 1; r < kSumRows; ++r) of_column",
        report="result .* is .* off its definition",
        shapes=((3, 19, 24, 23), (3, 19), (19,)),
        family="scale_bias_act(sigmoid, scale, bias)",
        channels_last=True,
    ),
]


@pytest.fixture(scope="module")
def libraries() -> dict[Defect, Path]:
    return dict(zip(DEFECTS, compile_libraries(defect.plant() for defect in DEFECTS), strict=True))


@pytest.mark.parametrize("defect", DEFECTS, ids=str)
def test_a_planted_defect_is_reported(libraries: dict[Defect, Path], defect: Defect) -> None:
    family = next(family for family in FAMILIES if family.name == defect.family)
    with closing(Executor(libraries[defect])) as executor, pytest.raises(AssertionError, match=defect.report):
        check_kernels(
            executor,
            family,
            torch.float32,
            defect.shapes,
            channels_last=defect.channels_last,
            misaligned=defect.misaligned,
            misaligned_vectors=defect.misaligned_vectors,
        )
