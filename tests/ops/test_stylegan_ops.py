"""docs/stylegan_ops.md: the right side of every row computes what StyleGAN's op of the left side is defined as."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import gan_ops
from tests.ops.comparing import assert_all_close, derivatives

PAGE = (Path(__file__).parents[2] / "docs" / "stylegan_ops.md").read_text()
ROWS = dict(re.findall(r"^\| `([^`]+)`[^|]*\| `([^`]+)`[^|]*\|$", PAGE, re.MULTILINE))

# ---- What the left sides are defined as, in plain torch ----


def fir(x: Tensor, f: Tensor, up=(1, 1), down=(1, 1), pad=(0, 0, 0, 0), flip=False, gain=1.0) -> Tensor:
    """Zero-insertion, padding, FIR filter and decimation; factors as (x, y)."""
    n, c, h, w = x.shape
    (ux, uy), (dx, dy) = up, down
    wide = x.new_zeros(n, c, h * uy, w * ux)
    wide[:, :, ::uy, ::ux] = x
    f = torch.outer(f, f) if f.dim() == 1 else f
    f = f if flip else f.flip(0, 1)
    y = F.conv2d(F.pad(wide, pad), f.expand(c, 1, *f.shape), groups=c)
    return gain * y[:, :, ::dy, ::dx]


def grown(pad: int, before: tuple[int, int], after: tuple[int, int]) -> list[int]:
    """Padding given on every side and what keeps the image in place, (x, y)."""
    return [pad + before[0], pad + after[0], pad + before[1], pad + after[1]]


def aligned_up(pad: int, f: Tensor, up: int) -> list[int]:
    taps = f.shape[-1]
    return grown(pad, ((taps + up - 1) // 2,) * 2, ((taps - up) // 2,) * 2)


def aligned_down(pad: int, f: Tensor, down: int) -> list[int]:
    taps = f.shape[-1]
    return grown(pad, ((taps - down + 1) // 2,) * 2, ((taps - down) // 2,) * 2)


ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "linear": (lambda t: t, 1.0),
    "relu": (torch.relu, math.sqrt(2)),
    "lrelu": (lambda t: F.leaky_relu(t, 0.2), math.sqrt(2)),
    "tanh": (torch.tanh, 1.0),
    "sigmoid": (torch.sigmoid, 1.0),
    "elu": (F.elu, 1.0),
    "selu": (F.selu, 1.0),
    "softplus": (F.softplus, 1.0),
    "swish": (lambda t: t * torch.sigmoid(t), math.sqrt(2)),
}


def activated(x: Tensor, b: Tensor, act: str, gain: float | None = None, clamp: float | None = None, dim=1) -> Tensor:
    function, usual = ACTIVATIONS[act]
    shape = [1] * x.dim()
    shape[dim] = -1
    y = function(x + b.reshape(shape)) * (usual if gain is None else gain)
    return y if clamp is None else y.clamp(-clamp, clamp)


def lrelu_between(x, fu, fd, b, up, down, pad, gain, slope, clamp, flip) -> Tensor:
    t = fir(x + b[:, None, None], fu, (up, up), pad=pad, flip=flip, gain=up**2)
    t = (F.leaky_relu(t, slope) * gain).clamp(-clamp, clamp)
    return fir(t, fd, down=(down, down), flip=flip)


def convolved(x, w, f, up, down, pad, groups, flip_weight, flip) -> Tensor:
    """Upsampling, convolution, downsampling, each as it is defined."""
    w = w if flip_weight else w.flip(2, 3)
    total = [pad] * 4
    for aligned, factor in ((aligned_up, up), (aligned_down, down)):
        if factor > 1:
            total = [a + b for a, b in zip(total, aligned(0, f, factor), strict=True)]
    x = fir(x, f if up > 1 else f.new_ones(1, 1), (up, up), pad=total, flip=flip, gain=up**2)
    x = F.conv2d(x, w, groups=groups)
    return fir(x, f, down=(down, down), flip=flip) if down > 1 else x


def modulated(x, w, s, demodulate, noise=None, input_gain=1.0, convolve=None) -> Tensor:
    """Weights of each sample, one sample after the other."""
    of_each = w * s[:, None, :, None, None]
    if demodulate:
        of_each = of_each / (of_each.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    y = torch.cat([convolve(x[i : i + 1] * input_gain, of_each[i]) for i in range(len(x))])
    return y if noise is None else y + noise


# ---- The rows ----


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


X, B, FOUR, SQUARE = normal(2, 4, 7, 6), normal(4), normal(4), normal(3, 4)
W, S = normal(6, 4, 3, 3), normal(2, 4)
RESAMPLED: dict[str, Any] = {"f": FOUR, "padding": 1, "flip": False, "gain": 1.5}

Case = tuple[str, dict[str, Any], Callable[..., Tensor]]


def bias_acts() -> list[Case]:
    plain = "bias_act(x, b, act=act, gain=gain, clamp=clamp)"
    return [
        *(
            (plain, {"x": X, "b": B, "act": act, "gain": gain, "clamp": clamp}, activated)
            for act in ACTIVATIONS
            for gain, clamp in ((None, None), (0.7, 0.6))
        ),
        (
            'bias_act(x, b, act="lrelu", alpha=alpha)',
            {"x": X, "b": B, "alpha": 0.3},
            lambda x, b, alpha: F.leaky_relu(x + b[:, None, None], alpha) * math.sqrt(2),
        ),
        ("bias_act(x, b, dim=dim, act=act)", {"x": X.movedim(1, 3), "b": B, "act": "swish", "dim": 3}, activated),
        (
            'bias_act(x, b, act="lrelu", gain=gain)',
            {"x": X, "b": B, "gain": math.sqrt(2)},
            lambda x, b, gain: activated(x, b, "lrelu", gain),
        ),
    ]


def filters() -> list[Case]:
    row = "setup_filter(f, normalize=True, flip_filter=flip, gain=gain, separable=separable)"

    def expected(f: list[float], flip: bool, gain: float, separable: bool | None) -> Tensor:
        taps = torch.tensor(f)
        taps = taps / taps.sum()
        if not (separable or (separable is None and len(taps) >= 8)):
            taps = torch.outer(taps, taps)
        taps = taps * gain ** (taps.dim() / 2)
        return taps.flip(list(range(taps.dim()))) if flip else taps

    return [
        (row, {"f": [1.0, 2.0, 4.0], "flip": True, "gain": 4.0, "separable": separable}, expected)
        for separable in (None, True)
    ] + [(row, {"f": [1.0] * 7 + [2.0], "flip": False, "gain": 4.0, "separable": None}, expected)]


def resamplings() -> list[Case]:
    def both(factor: int) -> tuple[int, int]:
        return factor, factor

    return [
        (
            "upfirdn2d(x, f, up=up, down=down, padding=padding, flip_filter=flip, gain=gain)",
            {"x": X, "f": SQUARE, "up": [2, 1], "down": [1, 3], "padding": [3, -1, 2, 4], "flip": True, "gain": 1.5},
            lambda x, f, up, down, padding, flip, gain: fir(x, f, up, down, padding, flip, gain),
        ),
        (
            "upfirdn2d(x, f, up=up, down=down, padding=padding, flip_filter=flip, gain=gain)",
            {"x": X, "f": FOUR, "up": 2, "down": 3, "padding": 2, "flip": False, "gain": 4},
            lambda x, f, up, down, padding, flip, gain: fir(x, f, both(up), both(down), [padding] * 4, flip, gain),
        ),
        (
            "filter2d(x, f, padding=padding, flip_filter=flip, gain=gain)",
            {"x": X, **RESAMPLED},
            lambda x, f, padding, flip, gain: fir(x, f, pad=grown(padding, (2, 2), (1, 1)), flip=flip, gain=gain),
        ),
        (
            "upsample2d(x, f, up=up, padding=padding, flip_filter=flip, gain=gain)",
            {"x": X, "up": 2, **RESAMPLED},
            lambda x, f, up, padding, flip, gain: fir(
                x, f, both(up), pad=aligned_up(padding, f, up), flip=flip, gain=gain * up**2
            ),
        ),
        (
            "downsample2d(x, f, down=down, padding=padding, flip_filter=flip, gain=gain)",
            {"x": X, "down": 2, **RESAMPLED},
            lambda x, f, down, padding, flip, gain: fir(
                x, f, down=both(down), pad=aligned_down(padding, f, down), flip=flip, gain=gain
            ),
        ),
        (
            "filtered_lrelu(x, fu, fd, b, up=up, down=down, padding=padding, gain=gain, slope=slope, clamp=clamp,"
            " flip_filter=flip)",
            {"x": X, "fu": normal(8), "fd": normal(6), "b": B, "up": 2, "down": 2, "padding": [6, 7, 5, 6]}
            | {"gain": 1.3, "slope": 0.2, "clamp": 1.0, "flip": False},
            lambda x, fu, fd, b, up, down, padding, gain, slope, clamp, flip: lrelu_between(
                x, fu, fd, b, up, down, padding, gain, slope, clamp, flip
            ),
        ),
    ]


def convolutions() -> list[Case]:
    resampled = (
        "conv2d_resample(x, w, f, up=up, down=down, padding=padding, groups=groups, flip_weight=flip_weight,"
        " flip_filter=flip)"
    )
    of_two = "modulated_conv2d(x, w, s, noise=noise, up=up, down=down, padding=padding, resample_filter=f,"
    of_two += " demodulate=demodulate, flip_weight=flip_weight)"
    of_three = "modulated_conv2d(x, w, s, demodulate=demodulate, padding=padding, input_gain=input_gain)"

    def like_two(x, w, s, noise, up, down, padding, f, demodulate, flip_weight) -> Tensor:
        def convolve(x: Tensor, w: Tensor) -> Tensor:
            return convolved(x, w, f, up, down, padding, 1, flip_weight, False)

        return modulated(x, w, s, demodulate, noise, convolve=convolve)

    def like_three(x, w, s, demodulate, padding, input_gain) -> Tensor:
        # As theirs: brought to root mean squares of 1 first.
        if demodulate:
            w = w * w.square().mean((1, 2, 3), keepdim=True).rsqrt()
            s = s * s.square().mean().rsqrt()

        def convolve(x: Tensor, w: Tensor) -> Tensor:
            return F.conv2d(x, w, padding=padding)

        return modulated(x, w, s, demodulate, input_gain=input_gain, convolve=convolve)

    factors = {"up": 1, "down": 1}, {"up": 2, "down": 1}, {"up": 1, "down": 2}
    return [
        *(
            (
                resampled,
                {"x": X, "w": w, "f": FOUR, "padding": w.shape[-1] // 2, "groups": 2, **factor}
                | {"flip_weight": flip_weight, "flip": not flip_weight},
                lambda x, w, f, up, down, padding, groups, flip_weight, flip: convolved(
                    x, w, f, up, down, padding, groups, flip_weight, flip
                ),
            )
            for w in (normal(6, 2, 3, 3), normal(6, 2, 1, 1))
            for factor in factors
            for flip_weight in (False, True)
        ),
        (
            "conv2d_gradfix.conv2d(x, w, b, padding=p, groups=groups)",
            {"x": X, "w": normal(6, 2, 3, 3), "b": normal(6), "p": 1, "groups": 2},
            lambda x, w, b, p, groups: F.conv2d(x, w, b, padding=p, groups=groups),
        ),
        (
            "grid_sample_gradfix.grid_sample(x, grid)",
            {"x": X, "grid": normal(2, 3, 5, 2)},
            between_pixels,
        ),
        (
            "fma(x, d, noise)",
            {"x": X, "d": normal(2, 4, 1, 1), "noise": normal(2, 1, 7, 6)},
            lambda x, d, noise: x * d + noise,
        ),
        *(
            (
                of_two,
                {"x": X, "w": W, "s": S, "f": FOUR, "padding": 1, "demodulate": demodulate}
                | {"noise": normal(2, 1, 7 * factor["up"], 6 * factor["up"]), **factor}
                | {"flip_weight": factor["up"] == 1},
                like_two,
            )
            for factor in factors[:2]
            for demodulate in (False, True)
        ),
        *(
            (
                of_three,
                {"x": X, "w": W, "s": S, "padding": 2, "input_gain": gain, "demodulate": gain == 0.8},
                like_three,
            )
            for gain in (0.8, 1.2)
        ),
    ]


def between_pixels(x: Tensor, grid: Tensor) -> Tensor:
    """Pixel i has the weight 1 − |u − i| at u along each axis, as far as that is positive."""

    def weights(coordinate: Tensor, pixels: int) -> Tensor:
        u = ((coordinate + 1) * pixels - 1) / 2
        return (1 - (u[..., None] - torch.arange(pixels)).abs()).relu()  # [N, H', W', pixels]

    columns, rows = weights(grid[..., 0], x.shape[3]), weights(grid[..., 1], x.shape[2])
    return torch.einsum("ncij,nhwi,nhwj->nchw", x, rows, columns)


CASES = [*bias_acts(), *filters(), *resamplings(), *convolutions()]
FILTERS = {"f", "fu", "fd"}
EPS = 1e-7
"""For demodulation's eps of 1e-8, which StyleGAN3 adds to other numbers; the rest is float64."""


def test_every_row_has_a_case() -> None:
    assert len(ROWS) == PAGE.count("\n| `")
    assert {row for row, _, _ in CASES} == set(ROWS)


@pytest.mark.parametrize(("row", "values", "expected"), CASES, ids=lambda part: part if isinstance(part, str) else "")
def test_a_row(row: str, values: dict[str, Any], expected: Callable[..., Tensor]) -> None:
    ours = compile(ROWS[row], "docs/stylegan_ops.md", "eval")
    moving = {name: value for name, value in values.items() if isinstance(value, Tensor) and name not in FILTERS}
    if not moving:
        torch.testing.assert_close(eval(ours, vars(gan_ops) | values), expected(**values))
        return

    def run(tensors: tuple[Tensor, ...], function: Callable[..., Tensor]) -> Tensor:
        return function(**values | dict(zip(moving, tensors, strict=True)))

    inputs = tuple(value.clone().requires_grad_() for value in moving.values())
    actual = derivatives(lambda *t: run(t, lambda **names: eval(ours, vars(gan_ops) | names)), inputs)
    assert_all_close(actual, derivatives(lambda *t: run(t, expected), inputs), EPS)


def test_gradients_of_images_need_no_context() -> None:
    called = []

    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            called.append(str(function))
            return function(*args, **(kwargs or {}))

    images, weight = X.clone().requires_grad_(), W.clone().requires_grad_()
    scores = gan_ops.conv2d(images, weight, padding=1).sum()
    with Calls():
        torch.autograd.grad(scores, images)
    assert any("conv2d_input_grad" in name for name in called)
    assert not any("conv2d_weight_grad" in name for name in called)


def test_the_modules_functions_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code is not None
    package = ModuleType("torch_utils.ops")
    for name in ("bias_act", "conv2d_resample", "filtered_lrelu", "upfirdn2d"):
        module = ModuleType(name)
        setattr(package, name, module)
        monkeypatch.setitem(sys.modules, f"torch_utils.ops.{name}", module)
    monkeypatch.setitem(sys.modules, "torch_utils", ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.ops", package)
    exec(code[1], {})

    ops: Any = package
    torch.testing.assert_close(
        ops.bias_act.bias_act(X.movedim(1, 3), B, dim=3, act="tanh", alpha=0.5, clamp=0.3, impl="ref"),
        activated(X.movedim(1, 3), B, "tanh", clamp=0.3, dim=3),
    )
    torch.testing.assert_close(ops.upfirdn2d.upfirdn2d(X, FOUR, up=2, gain=3), fir(X, FOUR, (2, 2), gain=3))
    values = (X, FOUR, FOUR, B, 2, 2, [3, 2, 3, 2], 2**0.5, 0.2, 1.0, True)
    torch.testing.assert_close(ops.filtered_lrelu.filtered_lrelu(*values), lrelu_between(*values))
    names = {"w": W, "f": FOUR, "up": 2, "padding": 1, "flip_weight": False}
    torch.testing.assert_close(
        ops.conv2d_resample.conv2d_resample(x=X, **names), convolved(X, W, FOUR, 2, 1, 1, 1, False, False)
    )
