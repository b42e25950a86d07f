"""``python -m gan_ops.doctor``: describes this installation and compares its kernels with their definitions.

The exit code is 0 if everything agrees, and 1 if an op does not or the compiled extension cannot be loaded.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

import gan_ops
from gan_ops import _extension
from gan_ops._dispatch import reference_only

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest error that passes, in units of the largest value of the float64 definition's results."""


def main() -> int:
    """Prints the report and returns the exit code."""
    for name, value in environment():
        print(f"{name:<16}{value}")
    try:
        module = _extension.load()
    except _extension.BuildError as error:
        print(f"{'kernels':<16}{error}")
        return 1
    print(f"{'gan_ops':<16}{gan_ops.__version__}, {_extension.find()}")
    print(f"{'built with':<16}torch {module.torch_version}, gcc {module.compiler}, {cuda_build(module)}")
    print(f"{'CPU kernels':<16}{module.instruction_set}, {torch.get_num_threads()} threads")
    if reference_only:
        print(f"{'ops':<16}run their definitions, not their kernels, because of GAN_OPS_REFERENCE: nothing to check")
        return 0
    failures = 0
    for device in devices():
        for name, op, reference, shapes in cases():
            wrong = complaints(op, reference, shapes, device)
            failures += bool(wrong)
            verdict = "; ".join(wrong) or "agrees with its definition, including first and second derivatives"
            print(f"{device + ':':<16}{name:<26}{verdict}")
        for name, op, reference, shapes in measures():
            wrong = complaints(
                op, reference, shapes, device, {torch.float32: TOLERANCES[torch.float32]}, results=output_alone
            )
            failures += bool(wrong)
            print(f"{device + ':':<16}{name:<26}{'; '.join(wrong) or 'agrees with its definition'}")
    return 1 if failures else 0


def environment() -> Iterator[tuple[str, str]]:
    """What surrounds gan_ops: names and values."""
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    yield "torch", f"{torch.__version__}, CUDA {torch.version.cuda or 'none'}"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [
        f"{torch.cuda.get_device_name(i)} ({'.'.join(map(str, torch.cuda.get_device_capability(i)))})"
        for i in range(count)
    ]
    yield "GPUs", ", ".join(names) or "none visible"
    variables = ("GAN_OPS_REFERENCE", "GAN_OPS_CPU", "GAN_OPS_CACHE")
    settings = [f"{name}={os.environ[name]}" for name in variables if name in os.environ]
    yield "settings", ", ".join(settings) or "none"
    for package in ("numpy", "torchvision"):
        try:
            yield package, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield package, "not installed"


def cuda_build(module) -> str:
    """The CUDA part of a build, in words."""
    if not module.cuda_version:
        return "no CUDA kernels"
    major, minor = divmod(module.cuda_version, 1000)
    return f"CUDA {major}.{minor // 10} for {module.cuda_architectures}"


def devices() -> list[str]:
    """The kinds of device to check: the CPU, and CUDA when a GPU is visible."""
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def cases() -> list[tuple[str, Callable[..., Tensor], Callable[..., Tensor], list[list[int]]]]:
    """Each op with its definition and the shapes of its inputs."""
    definition = gan_ops.reference
    return [
        ("pixel_norm", gan_ops.pixel_norm, gan_ops.reference.pixel_norm, [[4, 37, 5, 3]]),
        ("minibatch_stddev", gan_ops.minibatch_stddev, gan_ops.reference.minibatch_stddev, [[8, 6, 5, 3]]),
        (
            "minibatch_discrimination",
            gan_ops.minibatch_discrimination,
            gan_ops.reference.minibatch_discrimination,
            [[21, 6, 5]],
        ),
        ("bias_act", gan_ops.bias_act, gan_ops.reference.bias_act, [[4, 19, 5, 3], [19]]),
        ("gradient_penalty", gan_ops.gradient_penalty, gan_ops.reference.gradient_penalty, [[4, 37, 9, 7]]),
        ("interpolate", gan_ops.interpolate, gan_ops.reference.interpolate, [[4, 37, 5, 3], [4, 37, 5, 3], [4]]),
        (
            "pair_distances",
            lambda x, y: by_each_metric(gan_ops.pair_distances, x, y),
            lambda x, y: by_each_metric(definition.pair_distances, x, y),
            [[21, 37], [18, 37]],
        ),
        (
            "grid_sample",
            lambda x, grid: both_paddings(gan_ops.grid_sample, x, grid),
            lambda x, grid: both_paddings(definition.grid_sample, x, grid),
            [[4, 19, 5, 3], [4, 3, 7, 2]],
        ),
        (
            "historical_distance",
            lambda *p: historical(definition.historical_update_, gan_ops.historical_distance, p),
            lambda *p: historical(definition.historical_update_, definition.historical_distance, p),
            [[19, 6, 3, 3], [19]],
        ),
        (
            "historical_update_",
            lambda *p: historical(gan_ops.historical_update_, definition.historical_distance, p),
            lambda *p: historical(definition.historical_update_, definition.historical_distance, p),
            [[19, 6, 3, 3], [19]],
        ),
        (
            "attention",
            lambda *tensors: gan_ops.attention(*tensors, is_causal=True),
            lambda *tensors: definition.attention(*tensors, is_causal=True),
            [[2, 3, 21, 5], [2, 3, 18, 5], [2, 3, 18, 4], [3, 21, 18]],
        ),
        (
            "virtual_batch_norm",
            lambda x, mean, root, w, b: gan_ops.virtual_batch_norm(x, mean, 1 + root.square(), 3, w, b),
            lambda x, mean, root, w, b: gan_ops.reference.virtual_batch_norm(x, mean, 1 + root.square(), 3, w, b),
            [[4, 19, 5, 3], [19], [19], [19], [19]],
        ),
        (
            "bias_act_pixel_norm",
            gan_ops.bias_act_pixel_norm,
            gan_ops.reference.bias_act_pixel_norm,
            [[4, 19, 5, 3], [19]],
        ),
        (
            "scale_bias_act",
            lambda *tensors: by_two_activations(gan_ops.scale_bias_act, *tensors),
            lambda *tensors: by_two_activations(definition.scale_bias_act, *tensors),
            [[4, 19, 5, 3], [4, 19], [19], [4, 1, 5, 3], []],
        ),
        (
            "fade_in",
            lambda new, old: gan_ops.fade_in(new, old, 0.3),
            lambda new, old: gan_ops.reference.fade_in(new, old, 0.3),
            [[4, 3, 6, 10], [4, 3, 3, 5]],
        ),
        (
            "filtered_lrelu",
            lambda x, b: filtered(gan_ops.filtered_lrelu, x, b),
            lambda x, b: filtered(definition.filtered_lrelu, x, b),
            [[4, 19, 7, 5], [19]],
        ),
        (
            "conv2d",
            lambda x, w, b: gan_ops.conv2d(x, w, b, padding=1),
            lambda x, w, b: gan_ops.reference.conv2d(x, w, b, padding=1),
            [[4, 6, 5, 3], [7, 6, 3, 3], [7]],
        ),
        (
            "upfirdn2d",
            lambda x: resampled(gan_ops.upfirdn2d, x),
            lambda x: resampled(definition.upfirdn2d, x),
            [[4, 6, 9, 7]],
        ),
        (
            "resample_conv2d",
            lambda x, w: gan_ops.resample_conv2d(x, w, taps(x)[:4], up=2, padding=1),
            lambda x, w: definition.resample_conv2d(x, w, taps(x)[:4], up=2, padding=1),
            [[4, 6, 5, 3], [7, 6, 3, 3]],
        ),
    ]


def measures() -> list[tuple[str, Callable[..., Tensor], Callable[..., Tensor], list[list[int]]]]:
    """The same for the ops that only measure: no derivatives, and float32 alone, for the definitions too."""
    ops, definition = gan_ops.ops, gan_ops.reference

    def both(op: Callable[..., tuple[Tensor, Tensor]]) -> Callable[[Tensor], Tensor]:
        places = torch.tensor([[[0, 0], [3, 9]], [[5, 1], [9, 4]]])
        return lambda x: torch.cat([part.flatten() for part in op(x.float(), places.to(x.device))])

    def along(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *x: op(*[part.float() for part in x], channels=3)

    return [
        ("laplacian_patches", both(ops.laplacian_patches), both(definition.laplacian_patches), [[2, 3, 16, 16]]),
        (
            "projected_wasserstein",
            along(ops.projected_wasserstein),
            along(definition.projected_wasserstein),
            [[300, 12], [300, 12], [9, 12]],
        ),
    ]


def taps(x: Tensor) -> Tensor:
    """Of a filter, twelve."""
    return torch.linspace(-0.5, 1, 12, dtype=torch.float64, device=x.device)


def resampled(upfirdn2d: Callable[..., Tensor], x: Tensor) -> Tensor:
    """x enlarged by taps for both axes, and shrunk by a square of them."""
    along = taps(x)
    return upfirdn2d(upfirdn2d(x, along, up=2, padding=6), torch.outer(along[:4], along[4:8]), down=[2, 3], padding=1)


def by_each_metric(distances: Callable[..., Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Distances of all pairs by the three metrics."""
    return torch.stack([distances(x, y, metric) for metric in ("l1", "l2", "squared")])


def by_two_activations(epilogue: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """A piecewise linear one, and one with a second derivative."""
    return torch.stack([epilogue(*tensors, act="lrelu", clamp=3.0), epilogue(*tensors, act="swish")])


def both_paddings(grid_sample: Callable[..., Tensor], x: Tensor, grid: Tensor) -> Tensor:
    """With nothing around the image, and its border."""
    return torch.stack([grid_sample(x, grid, padding_mode=padding) for padding in ("zeros", "border")])


def filtered(lrelu, x: Tensor, bias: Tensor) -> Tensor:
    """With 2× more pixels in between, by filters of which one is separable."""
    taps = torch.tensor([0.0625, 0.25, 0.4375, 0.25], dtype=torch.float64, device=x.device)
    return lrelu(x, taps, taps[:3, None] * taps, bias, up=2, down=2, padding=[4, 3, 5, 2], clamp=0.75)


def historical(update_, distance, parameters: tuple[Tensor, ...]) -> Tensor:
    """The distance at step 3 from averages that have moved on the way."""
    averages = [torch.empty_like(p) for p in parameters]
    for step in (1, 2):
        update_([p.detach() + step for p in parameters], averages, step)
    return distance(parameters, averages, 3)


def derivatives(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Output, gradients, and gradients of the gradients, with fixed cotangents."""

    def cotangent(like: Tensor) -> Tensor:
        # The same on every device: drawn in float64 on the CPU, for a GPU's float32 cosines are others by 6e-8.
        values = torch.cos(torch.arange(like.numel(), dtype=torch.float64, device="cpu"))
        return values.view(like.shape).to(like)

    output = function(*inputs)
    first = torch.autograd.grad(output, inputs, cotangent(output), create_graph=True)
    curved = [g for g in first if g.requires_grad]  # a bias's gradient depends on nothing
    second = torch.autograd.grad(curved, inputs, [cotangent(g) for g in curved], materialize_grads=True)
    return [output, *first, *second]


def output_alone(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Output alone."""
    return [function(*[x.detach() for x in inputs])]


def complaints(
    op,
    reference,
    shapes: list[list[int]],
    device: str,
    tolerances: Mapping[torch.dtype, float] = TOLERANCES,
    *,
    results: Callable[..., list[Tensor]] = derivatives,
) -> list[str]:
    """What is wrong with op on the device, dtype by dtype; nothing when it agrees with its definition.

    ``results`` are what of a function and its inputs is compared.
    """
    found = []
    for dtype, tolerance in tolerances.items():
        try:
            error = disagreement(op, reference, shapes, device, dtype, results)
        except RuntimeError as problem:  # kernels for other GPUs, say
            found.append(f"{dtype} fails: {str(problem).splitlines()[0]}")
            continue
        if not error <= tolerance:
            found.append(f"{dtype} is off by {error:.1e}")
    return found


def disagreement(op, reference, shapes: list[list[int]], device: str, dtype: torch.dtype, results) -> float:
    """The largest error of op's ``results`` in ``dtype``, against the definition's in float64."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    narrow = [t.to(device).requires_grad_() for t in inputs]
    wide = [t.double().requires_grad_() for t in inputs]
    worst = 0.0
    with float32_proper():
        both = zip(results(op, narrow), results(reference, wide), strict=True)
    for actual, expected in both:
        error = (actual.detach().cpu().double() - expected).abs().max() / expected.abs().max().clamp(min=1)
        worst = max(worst, float("inf") if error.isnan() else error.item())
    return worst


@contextmanager
def float32_proper() -> Iterator[None]:
    """Within, no float32 product is taken in TF32, of ten bits: a GPU's convolutions are by default."""
    places = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = False
        yield
    finally:
        for place, allowed in zip(places, before, strict=True):
            place.allow_tf32 = allowed


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m gan_ops.doctor", description=__doc__).parse_args()  # it has no options
    sys.exit(main())
