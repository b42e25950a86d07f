"""What the matrix (test_contract*.py) needs to know of each op family: the op, its definition,
inputs, and its registered ops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

import gan_ops
from gan_ops._resampling import Factors, Padding, both_axes, filter_size, four_sides, resampled_size

ops = torch.ops.gan_ops

Shapes = tuple[tuple[int, ...], ...]

SCALE = 5 / 16
"""Of bias_act: its products with narrow numbers are exact, or x and bias that cancel would leave a rounding's sign."""


@dataclass(frozen=True)
class Family:
    """One op family under test; ``op`` and ``reference`` take the tensors of ``inputs`` alone."""

    name: str
    op: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    sizes: Shapes  # of the inputs, where one case is enough; the first is a batch
    shapes: st.SearchStrategy[Shapes]  # of any inputs
    registered: Callable[[], list[tuple[Callable, tuple]]]
    wide_output: bool = False  # whether the output is float32 for narrower inputs
    kernels_in_graphs: bool = False  # whether a compiled function keeps the op; else it holds the definition
    third: bool = True  # whether there is a third derivative; else it is an error
    batched: int = 1  # how many inputs, from the first on, have the batch as their first axis
    domain: Callable[..., tuple[Tensor, ...]] = lambda *inputs: inputs  # from normal numbers to what the op is for
    # Names as in test_contract_infinities.py: of results that kernel and definition make by sums in another order, so
    # that of the same infinities one has inf − inf where the other has inf;
    sums_in_another_order: frozenset[str] = frozenset()
    # and of those that the definition makes nan by 0·nan for an infinite input, where the kernel has the true 0.
    zero_times_nan: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name

    def inputs(
        self, generator: torch.Generator, dtype: torch.dtype, shapes: Shapes | None = None
    ) -> tuple[Tensor, ...]:
        values = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes or self.sizes)
        return tuple(t.to(dtype) for t in self.domain(*values))


def feature_maps(
    batch: st.SearchStrategy[int] = st.integers(0, 5),  # noqa: B008 (a strategy is a constant)
    channels: st.SearchStrategy[int] = st.integers(1, 70),  # noqa: B008
) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes [N, C, *] of two to five axes: across register widths and tiles, size 1 and empty batches among them."""
    return st.tuples(batch, channels, st.lists(st.integers(1, 9), max_size=3)).map(lambda s: (s[0], s[1], *s[2]))


def _grad_input(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def _pixel_norm_registered() -> list[tuple[Callable, tuple]]:
    cases = []
    for shape in ([3, 5, 4, 3], [4, 20]):
        x, g, v = _grad_input(*shape), _grad_input(*shape), _grad_input(*shape)
        r = ops.pixel_norm(x.detach(), 1e-8)[1]
        cases += [
            (ops.pixel_norm.default, (x, 1e-8)),
            (ops.pixel_norm_backward.default, (g, x, r, 1e-8)),
            (ops.pixel_norm_double_backward.default, (v, g, x, r, 1e-8)),
        ]
    return cases


def _minibatch_stddev_registered() -> list[tuple[Callable, tuple]]:
    cases = []
    for group_size, num_channels in ((2, 1), (None, 3)):
        x, g, v = _grad_input(4, 6, 3, 2), _grad_input(4, 6 + num_channels, 3, 2), _grad_input(4, 6, 3, 2)
        options = (group_size, num_channels, 1e-8)
        cases += [
            (ops.minibatch_stddev.default, (x, *options)),
            (ops.minibatch_stddev_backward.default, (g, x, *options)),
            (ops.minibatch_stddev_double_backward.default, (v, g, x, *options)),
        ]
    return cases


def _minibatch_discrimination_registered() -> list[tuple[Callable, tuple]]:
    m, g, v = _grad_input(5, 3, 2), _grad_input(5, 3), _grad_input(5, 3, 2)
    return [
        (ops.minibatch_discrimination.default, (m, True)),
        (ops.minibatch_discrimination.default, (m, False)),
        (ops.minibatch_discrimination_backward.default, (g, m)),
        # Without gradients, which this one refuses to have.
        (ops.minibatch_discrimination_double_backward.default, (v.detach(), g.detach(), m.detach())),
    ]


def _bias_act_registered() -> list[tuple[Callable, tuple]]:
    x, b, g = _grad_input(3, 5, 4, 3), _grad_input(5), _grad_input(3, 5, 4, 3)
    y = ops.bias_act(x.detach(), b.detach(), 0.2, 1.5)
    return [
        (ops.bias_act.default, (x, b, 0.2, 1.5)),
        (ops.bias_act.default, (x, None, 0.2, 1.5)),
        (ops.bias_act.default, (x, b, 0.2, 1.5, SCALE)),
        (ops.bias_act_backward.default, (g, y, True, 0.2, 1.5)),
        (ops.bias_act_backward.default, (g, y, False, 0.2, 1.5)),
        (ops.bias_act_backward.default, (g, y, True, 0.2, 1.5, SCALE)),
    ]


def _virtual_batch_norm_registered() -> list[tuple[Callable, tuple]]:
    cases = []
    own, eps = 0.25, 1e-5
    for shape in ([3, 5, 4, 3], [4, 5]):
        x, g, v = _grad_input(*shape), _grad_input(*shape), _grad_input(*shape)
        mean, weight, bias, *of_channels = (_grad_input(5) for _ in range(7))
        var = (1 + torch.rand(5, dtype=torch.float64)).requires_grad_()
        saved = ops.virtual_batch_norm(x.detach(), mean.detach(), var.detach(), None, None, own, eps)[1:]
        backward, double_backward = ops.virtual_batch_norm_backward, ops.virtual_batch_norm_double_backward
        cases += [
            (ops.virtual_batch_norm.default, (x, mean, var, weight, bias, own, eps)),
            (ops.virtual_batch_norm.default, (x, mean, var, None, None, own, eps)),
            (backward.default, (g, x, *saved, mean, var, weight, own, eps, True, True)),
            (backward.default, (g, x, *saved, mean, var, None, own, eps, True, False)),
            (backward.default, (g, x, *saved, mean, var, weight, own, eps, False, True)),
            (double_backward.default, (v, *of_channels, g, x, *saved, mean, var, weight, own, eps, True)),
            (double_backward.default, (v, *[None] * 4, g, x, *saved, mean, var, None, own, eps, False)),
            (double_backward.default, (None, *of_channels, g, x, *saved, mean, var, weight, own, eps, True)),
        ]
    return cases


def _virtual_batch_norm(affine: bool, reference_size: float) -> Family:
    def make(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        # With the usual eps a plane of equal pixels would magnify its roundings 300 times, once for each derivative.
        return lambda x, mean, var, *affine: function(x, mean, var, reference_size, *affine, eps=1e-2)

    of_channels = 4 if affine else 2
    return Family(
        f"virtual_batch_norm(affine={affine}, reference_size={reference_size})",
        make(gan_ops.virtual_batch_norm),
        make(gan_ops.reference.virtual_batch_norm),
        ((4, 19, 3, 5), *[(19,)] * of_channels),
        feature_maps().map(lambda x: (x, *[(x[1],)] * of_channels)),
        _virtual_batch_norm_registered,
        kernels_in_graphs=True,
        # Sums over pixels are brought together in closed forms; the definition adds up one path after another.
        sums_in_another_order=frozenset(
            {"first[0]", "first[1]", "second to the cotangent", "second[0]", "second[2]", "second[3]"}
        ),
        domain=lambda x, mean, var, *affine: (x, mean, 0.5 + var.square(), *affine),
    )


@dataclass(frozen=True)
class Epilogue:
    """A set of scale_bias_act's options, and the tensors that it is given, in an order that begins with those of the
    batch."""

    act: str
    inputs: tuple[str, ...] = ("x", "scale", "noise", "bias", "strength")
    gain: float | None = None
    clamp: float | None = None
    shared_noise: bool = False

    def __str__(self) -> str:
        options = [self.act, *self.inputs[1:]]
        options += [f"clamp={self.clamp}"] if self.clamp is not None else []
        return f"scale_bias_act({', '.join(options)})" + (" of shared noise" if self.shared_noise else "")

    def shapes(self, x: tuple[int, ...]) -> Shapes:
        """Of the inputs beside x."""
        n, c, *spatial = x
        known = {"x": x, "scale": (n, c), "bias": (c,), "strength": ()}
        known["noise"] = (1 if self.shared_noise else n, 1, *spatial)
        return tuple(known[name] for name in self.inputs)

    def of(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*tensors: Tensor) -> Tensor:
            named = dict(zip(self.inputs, tensors, strict=True))
            return function(**named, act=self.act, gain=self.gain, clamp=self.clamp)

        return call


EPILOGUES = [
    Epilogue("lrelu"),
    Epilogue("relu", clamp=0.8, shared_noise=True),
    Epilogue("swish", clamp=1.1),
    Epilogue("tanh"),
    Epilogue("softplus", ("x", "scale", "noise")),
    Epilogue("selu", ("x", "noise", "bias"), gain=0.6),
    Epilogue("sigmoid", ("x", "scale", "bias")),
    Epilogue("elu", ("x",)),
    Epilogue("linear", ("x", "scale"), gain=-1.5),
]


def _scale_bias_act_registered() -> list[tuple[Callable, tuple]]:
    cases = []
    forward, backward, double_backward = (
        getattr(ops, f"scale_bias_act{order}").default for order in ("", "_backward", "_double_backward")
    )
    for act, clamp, noise_batch in (("lrelu", None, 3), ("swish", 1.0, 1)):
        x, g, v = _grad_input(3, 5, 4, 2), _grad_input(3, 5, 4, 2), _grad_input(3, 5, 4, 2)
        beside = _grad_input(3, 5), _grad_input(5), _grad_input(noise_batch, 1, 4, 2)
        moved = _grad_input(3, 5), _grad_input(5), _grad_input(noise_batch, 1, 4, 2)
        options = (act, 0.2, 1.4, clamp)
        cases += [
            (forward, (x, *beside, *options)),
            (forward, (x, None, None, None, *options)),
            (backward, (g, x, *beside, *options, [True] * 4)),
            (backward, (g, x, None, beside[1], None, *options, [True, False, True, False])),
            (backward, (g, x, *beside, *options, [False, True, False, True])),
            (double_backward, (v, *moved, g, x, *beside, *options, [True] * 5)),
            (double_backward, (v, None, None, None, g, x, *beside, *options, [True, False, True, False, False])),
            (double_backward, (None, *moved, g, x, *beside, *options, [True] * 5)),
        ]
    return cases


def _scale_bias_act(epilogue: Epilogue) -> Family:
    return Family(
        str(epilogue),
        epilogue.of(gan_ops.scale_bias_act),
        epilogue.of(gan_ops.reference.scale_bias_act),
        # On the CPU torch's derivatives of elu and selu at nan are nan in whole vectors, and as on CUDA in what is left
        # over: few enough elements are.
        epilogue.shapes((3, 2, 1, 1) if epilogue.act in ("elu", "selu") else (4, 19, 3, 5)),
        feature_maps().map(epilogue.shapes),
        _scale_bias_act_registered,
        kernels_in_graphs=True,
        # Torch adds up swish's second derivative from products of both signs.
        sums_in_another_order=frozenset(f"second[{i}]" for i in range(len(epilogue.inputs)) if epilogue.act == "swish"),
        batched=sum(
            name in ("x", "scale") or (name == "noise" and not epilogue.shared_noise) for name in epilogue.inputs
        ),
    )


def _bias_act_pixel_norm_registered() -> list[tuple[Callable, tuple]]:
    cases = []
    for shape in ([3, 5, 4, 3], [4, 20]):
        x, g, v = _grad_input(*shape), _grad_input(*shape), _grad_input(*shape)
        b, v_bias = _grad_input(shape[1]), _grad_input(shape[1])
        for bias, of_bias in ((b, v_bias), (b, None), (None, None)):
            r = ops.bias_act_pixel_norm(x.detach(), None if bias is None else bias.detach(), 0.2, 1e-8)[1]
            options = (bias is not None, 0.2, 1e-8)
            cases += [
                (ops.bias_act_pixel_norm.default, (x, bias, 0.2, 1e-8)),
                (ops.bias_act_pixel_norm_backward.default, (g, x, bias, r, *options)),
                (ops.bias_act_pixel_norm_double_backward.default, (v, of_bias, g, x, bias, r, *options)),
            ]
        r = ops.bias_act_pixel_norm(x.detach(), b.detach(), 0.2, 1e-8, SCALE)[1]
        options = (True, 0.2, 1e-8, SCALE)
        cases += [
            (ops.bias_act_pixel_norm.default, (x, b, 0.2, 1e-8, SCALE)),
            (ops.bias_act_pixel_norm_backward.default, (g, x, b, r, *options)),
            (ops.bias_act_pixel_norm_double_backward.default, (v, v_bias, g, x, b, r, *options)),
        ]
    return cases


def _fade_in_registered() -> list[tuple[Callable, tuple]]:
    new, old, g = _grad_input(2, 3, 6, 4), _grad_input(2, 3, 3, 2), _grad_input(2, 3, 6, 4)
    cases = []
    for fraction in ((None, 0.3), (torch.tensor(0.7), 0.0)):
        cases.append((ops.fade_in.default, (new, old, *fraction)))
        cases += [(ops.fade_in_backward.default, (g, *fraction, channels_last)) for channels_last in (False, True)]
    return cases


@dataclass(frozen=True)
class Attention:
    """A row of attention: the axes of the bias's shape that are the scores', of [..., N, M], and the options."""

    bias: str | None = None
    is_causal: bool = False
    scale: float | None = None

    @property
    def name(self) -> str:
        options = [f"bias=[{self.bias}]"] if self.bias else []
        options += ["is_causal"] if self.is_causal else []
        return f"attention({', '.join(options)})"

    def shapes(self, matrices: int, rows: int, columns: int, features: int, of_values: int) -> Shapes:
        sizes = {"L": matrices, "N": rows, "M": columns, "1": 1}
        bias = [tuple(sizes[axis] for axis in self.bias.split(", "))] if self.bias else []
        return (
            (matrices, rows, features),
            (matrices, columns, features),
            (matrices, columns, of_values),
            *bias,
        )

    def of(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return partial(function, scale=self.scale, is_causal=self.is_causal)


ATTENTION = [
    Attention(),
    Attention("N, M", scale=0.3),
    Attention("L, N, M"),
    Attention("L, 1, M"),
    Attention("1, M", is_causal=True),
]


def _attention_registered(row: Attention) -> list[tuple[Callable, tuple]]:
    shapes = row.shapes(2, 4, 3, 5, 2)
    inputs, v = ([_grad_input(*shape) for shape in shapes] for _ in range(2))
    g = _grad_input(2, 4, 2)
    bias, v_bias = (tensors[3] if row.bias else None for tensors in (inputs, v))
    options = row.scale, row.is_causal
    log_sum = ops.attention(*[t.detach() for t in inputs[:3]], None if bias is None else bias.detach(), *options)[1]
    saved = g, *inputs[:3], bias, log_sum, *options
    double_backward = ops.attention_double_backward.default
    return [
        (ops.attention.default, (*inputs[:3], bias, *options)),
        (ops.attention_backward.default, (*saved, [True] * 4)),
        (ops.attention_backward.default, (*saved, [False, True, False, True])),
        (double_backward, (*v[:3], v_bias, *saved, [True] * 5)),
        (double_backward, (None, v[1], None, v_bias, *saved, [True, False, True, False, True])),
    ]


def _attention(row: Attention) -> Family:
    size = st.integers(0, 20)
    return Family(
        row.name,
        row.of(gan_ops.attention),
        row.of(gan_ops.reference.attention),
        sizes=row.shapes(4, 19, 18, 5, 3),
        # Across the lanes of sums, and a last row of them that is full or not.
        shapes=st.tuples(st.integers(0, 5), size, st.integers(0, 140), st.integers(1, 9), size).map(
            lambda sizes: row.shapes(*sizes)
        ),
        registered=partial(_attention_registered, row),
        kernels_in_graphs=True,
        batched=4 if row.bias and "L" in row.bias else 3,
    )


def _conv2d_registered(groups: int) -> list[tuple[Callable, tuple]]:
    x, w, b = _grad_input(2, 3 * groups, 5, 4), _grad_input(4, 3, 3, 3), _grad_input(4)
    g = _grad_input(2, 4, 5, 4)
    return [
        (ops.conv2d.default, (x, w, b, 1, groups)),
        (ops.conv2d.default, (x, w, None, 1, groups)),
        (ops.conv2d_input_grad.default, (g, w, 1, groups)),
        (ops.conv2d_weight_grad.default, (g, x, 1, groups)),
    ]


def _gradient_penalty_registered() -> list[tuple[Callable, tuple]]:
    cases = []
    for target, one_sided in ((1.0, False), (5.0, True), (0.0, False)):
        x, g, v = _grad_input(3, 5, 4, 3), _grad_input(3), _grad_input(3, 5, 4, 3)
        norm = ops.gradient_penalty(x.detach(), target, one_sided)[1]
        cases += [
            (ops.gradient_penalty.default, (x, target, one_sided)),
            (ops.gradient_penalty_backward.default, (g, x, norm, target, one_sided)),
            (ops.gradient_penalty_double_backward.default, (v, g, x, norm, target, one_sided)),
        ]
    return cases


def _pair_distances_registered() -> list[tuple[Callable, tuple]]:
    cases = []
    for metric in ("l1", "l2", "squared"):
        x, y, g, v_x, v_y = (
            _grad_input(4, 3),
            _grad_input(5, 3),
            _grad_input(4, 5),
            _grad_input(4, 3),
            _grad_input(5, 3),
        )
        distance = ops.pair_distances(x.detach(), y.detach(), metric) if metric == "l2" else None
        cases += [
            (ops.pair_distances.default, (x, y, metric)),
            (ops.pair_distances_backward.default, (g, x, y, distance, metric, True, True)),
            (ops.pair_distances_backward.default, (g, x, y, distance, metric, True, False)),
            (ops.pair_distances_backward.default, (g, x, y, distance, metric, False, True)),
            # Without gradients, which this one refuses to have.
            (
                ops.pair_distances_double_backward.default,
                (*(t.detach() for t in (v_x, v_y, g, x, y)), distance, metric),
            ),
        ]
    return cases


def _interpolate_registered() -> list[tuple[Callable, tuple]]:
    real, fake, g, w = *(_grad_input(3, 5, 4) for _ in range(3)), _grad_input(3)
    return [
        (ops.interpolate.default, (real, fake, w)),
        (ops.interpolate.default, (real, fake.detach(), w.detach())),
        (ops.interpolate_backward.default, (g, w, True, True)),
        (ops.interpolate_backward.default, (g, w.detach(), False, True)),
        (ops.interpolate_weight_grad.default, (g, real, fake)),
    ]


def _averages_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Some averages that are functions of nothing but the parameters' shapes."""
    return [torch.arange(p.numel(), dtype=torch.float64).cos().to(p).reshape(p.shape) for p in parameters]


def _taps(*shape: int) -> Tensor:
    """A filter without symmetry and without a tap that is 0."""
    taps = 0.25 + torch.arange(math.prod(shape), dtype=torch.float64).mul(2.5).cos()
    return (taps / taps.abs().sum()).reshape(shape)


FILTERED_LRELU: dict[str, dict[str, Any]] = {
    "filtered_lrelu": {
        "up_filter": _taps(12),
        "down_filter": _taps(12),
        "up": 2,
        "down": 2,
        "padding": [11, 10, 13, 9],
        "clamp": 0.75,
    },
    "filtered_lrelu without bias": {
        "up_filter": _taps(9),
        "down_filter": _taps(6),
        "up": 4,
        "down": 2,
        "padding": 7,
        "slope": 0.0,
        "flip": True,
    },
    "filtered_lrelu(2-D filters)": {
        "up_filter": _taps(3, 5),
        "down_filter": _taps(5, 4),
        "up": 2,
        "down": 3,
        "padding": [8, 3, -1, 9],
        "gain": 1.5,
        "clamp": 2.0,
    },
    "filtered_lrelu(separable up filter alone)": {"up_filter": _taps(5), "up": 3, "padding": 4, "clamp": 0.5},
    # The emulated CUDA has no shared memory for this one (tests/cuda_on_cpu/README.md).
    "filtered_lrelu(long filter)": {"down_filter": _taps(24), "down": 2, "padding": 12, "clamp": 0.5},
    "filtered_lrelu(2-D down filter alone)": {"down_filter": _taps(2, 3), "down": 2, "padding": [2, 3]},
}
"""Rows of the family: their options."""


def _filtered_lrelu(name: str) -> Family:
    options = FILTERED_LRELU[name]
    with_bias = not name.endswith("without bias")
    largest = (2, 5, 5, 6) if "long" in name else (3, 20, 9, 20)

    def of(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(x: Tensor, bias: Tensor | None = None) -> Tensor:
            filters = {
                name: None if options.get(name) is None else options[name].to(x.device)
                for name in ("up_filter", "down_filter")
            }
            return function(x, bias=bias, **(options | filters))

        return call

    return Family(
        name,
        of(gan_ops.filtered_lrelu),
        of(gan_ops.reference.filtered_lrelu),
        sizes=((4, 19, 3, 5), (19,))[: 1 + with_bias],
        shapes=st.tuples(*[st.integers(least, most) for least, most in zip((0, 1, 1, 1), largest, strict=True)]).map(
            lambda x: (x, x[1:2])[: 1 + with_bias]
        ),
        registered=_filtered_lrelu_registered,
        kernels_in_graphs=True,
    )


def _filtered_lrelu_registered() -> list[tuple[Callable, tuple]]:
    x, b, w = _grad_input(2, 3, 4, 5), _grad_input(3), _taps(6)
    cases = []
    for filters, up, down in (((w, w), 2, 2), ((None, _taps(2, 3)), 1, 2)):
        options = (up, down, [5, 4, 6, 7], 1.5, 0.2)
        y, codes = ops.filtered_lrelu(x.detach(), *filters, b.detach(), *options, 0.5, False, True)
        g = torch.randn_like(y).requires_grad_()
        cases += [
            (ops.filtered_lrelu.default, (x, *filters, b, *options, 0.5, False)),
            (ops.filtered_lrelu.default, (x.detach(), *filters, None, *options, None, True, True)),
            (ops.filtered_lrelu_masked.default, (g, codes, *filters, None, *options, False, [4, 5], True, True, True)),
            (ops.filtered_lrelu_masked.default, (x, codes, *filters, b, *options, False, [4, 5], False, False, False)),
        ]
    return cases


def _historical_registered() -> list[tuple[Callable, tuple]]:
    cases = []
    for parameters in ([_grad_input(3, 4)], [_grad_input(2, 3, 2), _grad_input(5)]):
        averages, step = _averages_of([p.detach() for p in parameters]), torch.tensor(3.0)
        grad, v = _grad_input(), [torch.randn_like(p).requires_grad_() for p in parameters]
        cases += [
            (ops.historical_distance.default, (parameters, averages, step)),
            (ops.historical_distance_backward.default, (grad, parameters, averages, step)),
            (ops.historical_distance_double_backward.default, (v, grad, parameters, averages, step)),
            (ops.historical_update_.default, ([p.detach() for p in parameters], averages, step, 0.0)),
            (ops.historical_update_.default, ([p.detach() for p in parameters], averages, None, 3.0)),
        ]
    return cases


@st.composite
def _conv2d_shapes(draw: st.DrawFn, groups: int) -> Shapes:
    batch, out_channels = draw(st.integers(0, 3)), groups * draw(st.integers(1, 9))
    channels, kernel = draw(st.integers(1, 9)), draw(st.sampled_from([2, 3]))  # padding=1 must be less
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    return (batch, groups * channels, height, width), (out_channels, channels, kernel, kernel), (out_channels,)


def _conv2d(groups: int) -> Family:
    return Family(
        "conv2d" if groups == 1 else f"conv2d(groups={groups})",
        lambda x, w, b: gan_ops.conv2d(x, w, b, padding=1, groups=groups),
        lambda x, w, b: gan_ops.reference.conv2d(x, w, b, padding=1, groups=groups),
        sizes=((4, 6, 5, 4), (4, 6 // groups, 3, 3), (4,)),
        shapes=_conv2d_shapes(groups),
        registered=partial(_conv2d_registered, groups),
        kernels_in_graphs=True,
    )


@st.composite
def _fade_in_shapes(draw: st.DrawFn) -> Shapes:
    batch, channels = draw(st.integers(0, 3)), draw(st.integers(1, 40))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 40))
    return (batch, channels, 2 * height, 2 * width), (batch, channels, height, width)


def _fade_in(fraction: float | Tensor) -> Family:
    return Family(
        name=f"fade_in(fraction={fraction})",
        op=lambda new, old: gan_ops.fade_in(new, old, fraction),
        reference=lambda new, old: gan_ops.reference.fade_in(new, old, fraction),
        sizes=((4, 3, 6, 10), (4, 3, 3, 5)),
        shapes=_fade_in_shapes(),
        registered=_fade_in_registered,
        kernels_in_graphs=True,
        batched=2,
        # There the kernel is the forward pass again: lerp, which begins with a difference.
        sums_in_another_order=frozenset({"second to the cotangent"}),
    )


@dataclass(frozen=True)
class Resampling:
    """The arguments of upfirdn2d after x."""

    filter: Tensor | None
    up: Factors = 1
    down: Factors = 1
    padding: Padding = 0
    flip: bool = False
    gain: float = 1.0

    def of(self, function: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: function(x, self.filter, self.up, self.down, self.padding, self.flip, self.gain)

    def adjoint(self, x: Tensor, g: Tensor) -> Resampling:
        """What makes x's gradient of the output's g."""
        (taps_y, taps_x), (x0, _, y0, _) = filter_size(self.filter), four_sides(self.padding)
        sides = []
        for size, out, taps, up, down, before in (
            (x.shape[3], g.shape[3], taps_x, both_axes(self.up)[0], both_axes(self.down)[0], x0),
            (x.shape[2], g.shape[2], taps_y, both_axes(self.up)[1], both_axes(self.down)[1], y0),
        ):
            # The gradient's image is enlarged to out·down; as many pixels behind it as leave `size` of the result.
            sides += [taps - 1 - before, (size - 1) * up + taps - out * down - (taps - 1 - before)]
        return Resampling(self.filter, self.down, self.up, sides, not self.flip, self.gain)


def _taps(*shape: int) -> Tensor:
    return torch.arange(1, 1 + math.prod(shape), dtype=torch.float64).cos().reshape(shape) / math.prod(shape) ** 0.5


UPFIRDN2D = {
    "up=2": Resampling(_taps(4, 4), up=2, padding=[2, 1, 2, 1], gain=4.0),
    "down=2": Resampling(_taps(4, 4), down=2, padding=[1, 1, 1, 1]),
    "4x4": Resampling(_taps(4, 4), padding=[2, 1, 2, 1], flip=True),
    "12, up=2": Resampling(_taps(12), up=2, padding=[6, 5, 6, 5], gain=4.0),
    "12, down=2": Resampling(_taps(12), down=2, padding=5, flip=True),
    "12": Resampling(_taps(12), padding=[6, 5], gain=0.5),
    "5x3, up=[2, 3], down=[3, 2]": Resampling(_taps(5, 3), up=[2, 3], down=[3, 2], padding=[-1, 4, 5, -1]),
    "7, up=4, down=6": Resampling(_taps(7), up=4, down=6, padding=[4, 3, 5, 5], gain=-1.5),
    "no filter, up=3, down=2": Resampling(None, up=3, down=2, padding=[1, -2, 0, 2], gain=0.5),
    "2, up=5": Resampling(_taps(2), up=5, padding=1),
}


def _upfirdn2d_registered(how: Resampling) -> list[tuple[Callable, tuple]]:
    options = both_axes(how.up), both_axes(how.down), four_sides(how.padding), how.flip, how.gain
    x = _grad_input(2, 3, 5, 6)
    return [
        (ops.upfirdn2d.default, (x, how.filter, *options)),
        (ops.upfirdn2d.default, (x.detach().to(memory_format=torch.channels_last), how.filter, *options)),
    ]


def _upfirdn2d(name: str, how: Resampling) -> Family:
    def is_left(shape: tuple[int, ...]) -> bool:
        return min(resampled_size(shape[2:], filter_size(how.filter), how.up, how.down, how.padding)) >= 1

    size = st.integers(1, 14)
    return Family(
        name=f"upfirdn2d({name})",
        op=how.of(gan_ops.upfirdn2d),
        reference=how.of(gan_ops.reference.upfirdn2d),
        sizes=((4, 2, 5, 6),),
        shapes=st.tuples(st.integers(0, 2), st.integers(1, 20), size, size).filter(is_left).map(lambda x: (x,)),
        registered=partial(_upfirdn2d_registered, how),
        kernels_in_graphs=True,
    )


@dataclass(frozen=True)
class Sampling:
    """The options of grid_sample, and how many axes the images have."""

    axes: int
    padding_mode: str
    mode: str = "bilinear"
    align_corners: bool = False

    def __str__(self) -> str:
        words = [f"{self.axes}-D", self.mode, self.padding_mode] + ["align_corners"] * self.align_corners
        return f"grid_sample({', '.join(words)})"

    def of(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda input, grid: function(input, grid, self.mode, self.padding_mode, self.align_corners)


SAMPLINGS = [
    Sampling(2, "zeros"),
    Sampling(2, "border", align_corners=True),
    Sampling(2, "reflection"),
    Sampling(2, "zeros", "nearest"),
    Sampling(3, "zeros", align_corners=True),
    Sampling(3, "reflection"),
    Sampling(3, "border", "nearest", align_corners=True),
]


def _grid_sample_registered(how: Sampling) -> list[tuple[Callable, tuple]]:
    size = (4, 3, 5)[: how.axes]
    input, v_input = _grad_input(2, 3, *size), _grad_input(2, 3, *size)
    grid, v_grid = _grad_input(2, *size[::-1], how.axes), _grad_input(2, *size[::-1], how.axes)
    g, options = _grad_input(2, 3, *size[::-1]), (how.mode, how.padding_mode, how.align_corners)
    backward, double_backward = ops.grid_sample_backward.default, ops.grid_sample_double_backward.default
    of = (g, input, grid)
    return [
        (ops.grid_sample.default, (input, grid, *options)),
        (backward, (g, input, grid, *options, [True, True])),
        (backward, (g, input.detach(), grid, *options, [False, True])),
        (double_backward, (v_input, v_grid, *of, *options, [True] * 3)),
        (double_backward, (None, v_grid, *of, *options, [True, True, False])),
        (double_backward, (v_input, None, *of, *options, [True, False, True])),
    ]


@st.composite
def _grid_sample_shapes(draw: st.DrawFn, axes: int) -> Shapes:
    # Across registers of channels and blocks of points.
    batch, channels = draw(st.integers(0, 3)), draw(st.integers(1, 40))
    size, points = (draw(st.tuples(*[st.integers(1, most)] * axes)) for most in (9, 12 if axes == 2 else 6))
    return (batch, channels, *size), (batch, *points, axes)


def _grid_sample(how: Sampling) -> Family:
    return Family(
        name=str(how),
        op=how.of(gan_ops.grid_sample),
        reference=how.of(gan_ops.reference.grid_sample),
        sizes=((3, 19, 4, 3, 5)[: how.axes + 2], (3, *(4, 5, 3)[: how.axes], how.axes)),
        shapes=_grid_sample_shapes(how.axes),
        registered=partial(_grid_sample_registered, how),
        kernels_in_graphs=True,
        batched=2,
        domain=lambda input, grid: (input, 0.7 * grid),  # some outside
        # Kernels multiply g by sums over corners, or add up products of it; the definition goes by axes.
        sums_in_another_order=frozenset(
            {"output", "first[0]", "first[1]", "second to the cotangent", "second[0]", "second[1]"}
        ),
    )


def _stddev(group_size: int | None, num_channels: int) -> Family:
    return Family(
        name=f"minibatch_stddev(group_size={group_size}, num_channels={num_channels})",
        op=lambda x: gan_ops.minibatch_stddev(x, group_size, num_channels),
        reference=lambda x: gan_ops.reference.minibatch_stddev(x, group_size, num_channels),
        sizes=((2 * (group_size or 4), 6, 3, 5),),
        shapes=feature_maps(
            st.integers(0, 3).map(lambda groups: groups * (group_size or 2)),
            st.integers(1, 40).map(lambda channels: channels * num_channels),
        ).map(lambda shape: (shape,)),
        registered=_minibatch_stddev_registered,
        kernels_in_graphs=True,
        sums_in_another_order=frozenset({"second[0]"}),
    )


def _discrimination(include_self: bool) -> Family:
    return Family(
        name=f"minibatch_discrimination(include_self={include_self})",
        op=lambda m: gan_ops.minibatch_discrimination(m, include_self),
        reference=lambda m: gan_ops.reference.minibatch_discrimination(m, include_self),
        sizes=((19, 3, 4),),
        # Across tiles of rows and columns, and a last one that is full or not.
        shapes=st.tuples(st.integers(0, 50), st.integers(1, 5), st.integers(1, 9)).map(lambda shape: (shape,)),
        registered=_minibatch_discrimination_registered,
        kernels_in_graphs=True,
        third=False,
        sums_in_another_order=frozenset({"second[0]"}),
        # A sample's pair with itself is a constant, whose e = exp(−|inf − inf|) the definition multiplies by sign(0).
        zero_times_nan=frozenset({"first[0]", "second to the cotangent", "second[0]"} if include_self else ()),
    )


def _pair_distances(metric: str) -> Family:
    return Family(
        name=f"pair_distances(metric={metric})",
        op=lambda x, y: gan_ops.pair_distances(x, y, metric),
        reference=lambda x, y: gan_ops.reference.pair_distances(x, y, metric),
        sizes=((19, 5), (18, 5)),
        # Across tiles of rows and columns, and panels of features.
        shapes=st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40)).map(
            lambda s: ((s[0], s[2]), (s[1], s[2]))
        ),
        registered=_pair_distances_registered,
        wide_output=True,
        kernels_in_graphs=True,
        third=False,
    )


def _penalty(target: float, one_sided: bool) -> Family:
    return Family(
        name=f"gradient_penalty(target={target:g}, one_sided={one_sided})",
        op=lambda x: gan_ops.gradient_penalty(x, target, one_sided),
        reference=lambda x: gan_ops.reference.gradient_penalty(x, target, one_sided),
        sizes=((4, 19, 3, 5),),
        shapes=feature_maps().map(lambda shape: (shape,)),
        registered=_gradient_penalty_registered,
        wide_output=True,
        kernels_in_graphs=True,
        sums_in_another_order=frozenset({"second[0]"}),
    )


FAMILIES = [
    Family(
        "pixel_norm",
        gan_ops.pixel_norm,
        gan_ops.reference.pixel_norm,
        sizes=((4, 19, 3, 5),),
        shapes=feature_maps().map(lambda shape: (shape,)),
        registered=_pixel_norm_registered,
    ),
    Family(
        "bias_act",
        lambda x, b: gan_ops.bias_act(x, b, 0.2, 1.5),
        lambda x, b: gan_ops.reference.bias_act(x, b, 0.2, 1.5),
        sizes=((4, 19, 3, 5), (19,)),
        shapes=feature_maps().map(lambda shape: (shape, shape[1:2])),
        registered=_bias_act_registered,
        kernels_in_graphs=True,
    ),
    Family(
        "bias_act scaled",
        lambda x, b: gan_ops.bias_act(x, b, 0.2, 1.5, SCALE),
        lambda x, b: gan_ops.reference.bias_act(x, b, 0.2, 1.5, SCALE),
        sizes=((4, 19, 3, 5), (19,)),
        shapes=feature_maps().map(lambda shape: (shape, shape[1:2])),
        registered=_bias_act_registered,
        kernels_in_graphs=True,
    ),
    Family(
        "bias_act without bias",
        lambda x: gan_ops.bias_act(x, None, 0.0, 1.5),
        lambda x: gan_ops.reference.bias_act(x, None, 0.0, 1.5),
        sizes=((4, 19, 3, 5),),
        shapes=feature_maps().map(lambda shape: (shape,)),
        registered=_bias_act_registered,
        kernels_in_graphs=True,
    ),
    Family(
        "bias_act_pixel_norm",
        gan_ops.bias_act_pixel_norm,
        gan_ops.reference.bias_act_pixel_norm,
        sizes=((4, 19, 3, 5), (19,)),
        shapes=feature_maps().map(lambda shape: (shape, shape[1:2])),
        registered=_bias_act_pixel_norm_registered,
        kernels_in_graphs=True,
    ),
    Family(
        "bias_act_pixel_norm scaled",
        lambda x, b: gan_ops.bias_act_pixel_norm(x, b, 0.2, 0.1, SCALE),
        lambda x, b: gan_ops.reference.bias_act_pixel_norm(x, b, 0.2, 0.1, SCALE),
        sizes=((4, 19, 3, 5), (19,)),
        shapes=feature_maps().map(lambda shape: (shape, shape[1:2])),
        registered=_bias_act_pixel_norm_registered,
        kernels_in_graphs=True,
    ),
    Family(
        "bias_act_pixel_norm without bias",
        lambda x: gan_ops.bias_act_pixel_norm(x, None, 0.0, 0.1),
        lambda x: gan_ops.reference.bias_act_pixel_norm(x, None, 0.0, 0.1),
        sizes=((4, 19, 3, 5),),
        shapes=feature_maps().map(lambda shape: (shape,)),
        registered=_bias_act_pixel_norm_registered,
        kernels_in_graphs=True,
    ),
    *map(_scale_bias_act, EPILOGUES),
    _fade_in(0.3),
    _fade_in(torch.tensor(0.7)),
    _stddev(4, 1),
    _stddev(None, 1),
    _stddev(2, 3),
    _stddev(1, 1),
    _stddev(3, 2),
    _stddev(5, 1),
    _discrimination(include_self=True),
    _discrimination(include_self=False),
    _virtual_batch_norm(affine=True, reference_size=3),
    _virtual_batch_norm(affine=False, reference_size=0),
    _virtual_batch_norm(affine=True, reference_size=math.inf),
    _penalty(1.0, False),
    _penalty(17.0, True),  # norms of the usual inputs lie on both sides
    _penalty(0.0, False),
    *map(_pair_distances, ("l1", "l2", "squared")),
    *map(_filtered_lrelu, FILTERED_LRELU),
    Family(
        "interpolate",
        gan_ops.interpolate,
        gan_ops.reference.interpolate,
        sizes=((4, 19, 3, 5), (4, 19, 3, 5), (4,)),
        shapes=feature_maps().map(lambda shape: (shape, shape, shape[:1])),
        registered=_interpolate_registered,
        batched=3,
        sums_in_another_order=frozenset({"second to the cotangent", "second[2]"}),
    ),
    Family(
        "historical_distance",
        lambda *p: gan_ops.historical_distance(p, _averages_of(p), 3),
        lambda *p: gan_ops.reference.historical_distance(p, _averages_of(p), 3),
        sizes=((4, 19, 3, 5), (7,), (3, 2)),
        shapes=st.lists(feature_maps(), min_size=1, max_size=4).map(tuple),
        registered=_historical_registered,
        wide_output=True,
        kernels_in_graphs=True,
    ),
    *map(_attention, ATTENTION),
    *map(_conv2d, (1, 2)),
    *(_upfirdn2d(name, how) for name, how in UPFIRDN2D.items()),
    *map(_grid_sample, SAMPLINGS),
]
