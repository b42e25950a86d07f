"""Historical averaging. Sizes are layers and channels: a layer is a 3×3 convolution's weight and its bias."""

from __future__ import annotations

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.ops.family import Family, Part, cells
from benchmarks.ops.sizes import BF16, ON_GPU, Size

SIZES = (
    [
        Size((4, 8)),
        Size((10, 128)),
        Size((8, 512)),
        Size((16, 1024), channels_last=True, dtype=BF16),  # this and the next: 302 MB
        Size((8, 1024)),  # what trains: weights are float32, those of autocast too
    ]
    if ON_GPU
    else [Size((4, 8)), Size((8, 64)), Size((10, 128)), Size((10, 256)), Size((8, 512))]
)
STEP = 10  # the parameters are the tenth


def parameters(size: Size) -> tuple[Tensor, ...]:
    layers, channels = size.numbers
    shapes = [(channels, channels, 3, 3), (channels,)] * layers
    return tuple(size.randn(*shape) for shape in shapes)


def halves(tensors: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters and averages."""
    middle = len(tensors) // 2
    return list(tensors[:middle]), list(tensors[middle:])


def total(tensors: tuple[Tensor, ...]) -> int:
    """Bytes of the parameters."""
    return sum(tensor.nbytes for tensor in tensors) // 2


def foreach_distance(*tensors: Tensor) -> Tensor:
    """Norms by multi-tensor functions; the mean with θ_t counted is (1 − 1/t) of the way nearer to it."""
    differences = torch._foreach_sub(*halves(tensors))
    return torch.stack(torch._foreach_norm(differences)).square().sum() * (1 - 1 / STEP) ** 2


def foreach_update(*tensors: Tensor) -> None:
    """The averages' step to the mean of t, by a multi-tensor function."""
    theta, averages = halves(tensors)
    torch._foreach_lerp_(averages, theta, 1 / STEP)


DISTANCE = Family(
    "historical_distance",
    sizes=SIZES,
    inputs=parameters,
    constants=parameters,
    # Forward reads parameters and averages; backward reads both and writes the gradient; double backward reads v too,
    # for the cotangent's gradient, and writes that to the parameters.
    traffic=lambda *tensors: tuple(passes * total(tensors) for passes in (2, 3, 4)),
    call=lambda op, *tensors: op(*halves(tensors), STEP),
    rivals={"_foreach_norm": foreach_distance},
)
UPDATE = Family(
    "historical_update_",
    sizes=SIZES,
    inputs=parameters,
    constants=parameters,
    # Reads parameters and averages, writes averages.
    traffic=lambda *tensors: (3 * total(tensors),),
    call=lambda op, *tensors: op(*halves(tensors), STEP),
    rivals={"_foreach_lerp_": foreach_update},
    modes=["forward"],
)


@cells(DISTANCE)
def test_historical_distance(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    DISTANCE.race(benchmark, mode, size, part)


@cells(UPDATE)
def test_historical_update_(benchmark: BenchmarkFixture, mode: str, size: Size, part: Part) -> None:
    UPDATE.race(benchmark, mode, size, part)
