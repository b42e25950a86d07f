"""What is attention's own: it is torch's, memory does not grow with the square of N, masks, and bad arguments."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_all_close, derivatives
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.profiler import ProfilerActivity, profile

import gan_ops
from benchmarks.memory import peak_of
from gan_ops import reference

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator(torch.get_default_device()).manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()


def heads(rows: int = 7, columns: int = 6, of_bias: tuple[int, ...] | None = None) -> tuple[Tensor, ...]:
    """query, key and value of 2 samples and 3 heads, and a bias."""
    shapes = [(2, 3, rows, 4), (2, 3, columns, 4), (2, 3, columns, 5)]
    return tuple(normal(*shape, seed=i) for i, shape in enumerate([*shapes, *([of_bias] if of_bias else [])]))


# Shared along none, each and several of the axes, adjacent or not, with fewer axes than the scores have.
BIASES = [
    (2, 3, 7, 6),
    (3, 7, 6),
    (1, 3, 7, 6),
    (2, 1, 7, 6),
    (7, 6),
    (2, 1, 1, 6),
    (3, 7, 1),
    (3, 1, 1),
    (6,),
    (1,),
    (),
]


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("scale", [None, 0.7])
@pytest.mark.parametrize("of_bias", [None, (3, 7, 6)])
@EVERYWHERE
def test_is_torch_s_attention_in_values_and_first_derivatives(of_bias, scale: float | None, is_causal: bool) -> None:
    inputs = heads(of_bias=of_bias)

    def torch_s(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        if is_causal:  # torch takes no other mask beside
            mask = torch.zeros(7, 6, dtype=query.dtype).masked_fill(torch.ones(7, 6).triu(1).bool(), -math.inf)
            bias = mask if bias is None else bias + mask
        return F.scaled_dot_product_attention(query, key, value, bias, scale=scale)

    outputs = [
        function(*inputs) for function in (lambda *t: gan_ops.attention(*t, scale=scale, is_causal=is_causal), torch_s)
    ]
    first = [torch.autograd.grad(out.square().sum(), inputs) for out in outputs]
    assert_all_close([outputs[0], *first[0]], [outputs[1], *first[1]], 1e-12)


@EVERYWHERE
def test_is_called_as_torch_s_is() -> None:
    query, key, value, bias = heads(of_bias=(7, 6))
    options = {"attn_mask": bias, "dropout_p": 0.0, "is_causal": False, "scale": 0.4, "enable_gqa": False}
    expected = F.scaled_dot_product_attention(query=query, key=key, value=value, **options)
    torch.testing.assert_close(gan_ops.attention(query=query, key=key, value=value, **options), expected)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("of_bias", [None, *BIASES], ids=str)
@EVERYWHERE
def test_derivatives_are_exact_whatever_the_bias_is_shared_along(of_bias, is_causal: bool) -> None:
    inputs = heads(of_bias=of_bias)
    op, definition = (
        lambda *t, of=of: of(*t, is_causal=is_causal) for of in (gan_ops.attention, gan_ops.reference.attention)
    )
    assert_all_close(derivatives(op, inputs), derivatives(definition, inputs), 1e-12)


@pytest.mark.parametrize("of_bias", [(5, 1, 3, 7, 6), (1, 4, 1, 7, 6), (5, 4, 3, 1, 1), (4, 1, 7, 6)], ids=str)
@EVERYWHERE
def test_a_bias_may_be_shared_along_axes_that_are_not_adjacent(of_bias) -> None:
    shapes = [(5, 4, 3, 7, 2), (5, 4, 3, 6, 2), (5, 4, 3, 6, 1), of_bias]
    inputs = tuple(normal(*shape, seed=i) for i, shape in enumerate(shapes))
    results, expected = (derivatives(of, inputs) for of in (gan_ops.attention, gan_ops.reference.attention))
    assert_all_close(results, expected, 1e-12)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("of_bias", [None, (3, 1, 6), (7, 6)])
def test_gradcheck_and_gradgradcheck(of_bias, is_causal: bool) -> None:
    inputs = tuple(t.detach()[:1].requires_grad_() if t.dim() == 4 else t for t in heads(of_bias=of_bias))
    function = lambda *t: gan_ops.attention(*t, scale=0.8, is_causal=is_causal)  # noqa: E731
    assert gradcheck(function, inputs) and gradgradcheck(function, inputs)


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


# Blocks of several heads, of one head's rows, and of rows that are longer than a block. Where there are more heads than
# threads, each has heads of its own, unless all add to one bias's gradient.
@pytest.mark.parametrize("shared", ["N", "heads", "batch, heads"])
@pytest.mark.parametrize(("count", "rows", "columns"), [(40, 200, 130), (3, 1200, 700), (1, 40, 20_000)])
def test_blocks_are_put_together_right(threads: int, shared: str, count: int, rows: int, columns: int) -> None:
    of_bias = {"N": (2, count, 1, columns), "heads": (2, 1, rows, 1), "batch, heads": (rows, columns)}[shared]
    shapes = [(2, count, rows, 3), (2, count, columns, 3), (2, count, columns, 60), of_bias]
    inputs = tuple(normal(*shape, seed=i) for i, shape in enumerate(shapes))
    causal = shared == "N"
    results, expected = (
        derivatives(lambda *t, of=of: of(*t, is_causal=causal), inputs)
        for of in (gan_ops.attention, gan_ops.reference.attention)
    )
    assert_all_close(results, expected, 1e-11)  # sums of thousands


def test_threads_work_in_inference_mode_and_under_autocast(threads: int) -> None:
    inputs = tuple(normal(2, 3, 300, 4, seed=i, dtype=torch.float32) for i in range(3))
    with torch.inference_mode():
        torch.testing.assert_close(gan_ops.attention(*inputs), gan_ops.reference.attention(*inputs))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = gan_ops.attention(*inputs)
        first = torch.autograd.grad(out.float().square().sum(), inputs, create_graph=True)
        sum(g.square().sum() for g in first).backward()
    assert out.dtype == torch.bfloat16 and all(t.grad.dtype == torch.float32 for t in inputs)


@EVERYWHERE
def test_heads_may_be_views_of_one_projection() -> None:
    """As networks make them: [batch, N, 3·heads·E] in parts, and feature maps [batch, E, N] transposed."""
    projected, maps = normal(2, 7, 3 * 3 * 4), normal(2, 3, 4, 7)

    def of_projection(attention: object, projected: Tensor) -> Tensor:
        return attention(*projected.unflatten(2, (3, 3, 4)).permute(2, 0, 3, 1, 4))

    def of_maps(attention: object, maps: Tensor) -> Tensor:
        return attention(maps.mT, maps.mT[:, :, 2:], maps.mT[:, :, 2:])

    for function, tensor in ((of_projection, projected), (of_maps, maps)):
        results, expected = (
            derivatives(lambda x, of=of, function=function: function(of, x), (tensor,))
            for of in (gan_ops.attention, gan_ops.reference.attention)
        )
        assert_all_close(results, expected, 1e-12)


@pytest.fixture
def new_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # which fills it so
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("rows", "features"), [(1, 1), (7, 4), (40, 40), (300, 64)])
@EVERYWHERE
def test_products_read_nothing_that_nobody_has_written(new_memory_is_nan, dtype, rows: int, features: int) -> None:
    """torch's products, of whatever size, into new memory."""
    assert torch.empty(1, dtype=dtype).isnan()
    inputs = tuple(normal(2, 3, rows, features, seed=i, dtype=dtype) for i in range(3))
    bias = normal(3, rows, 1, seed=3, dtype=dtype)
    assert all(result.isfinite().all() for result in derivatives(gan_ops.attention, (*inputs, bias)))


@EVERYWHERE
def test_a_boolean_mask_takes_pairs_out_where_it_is_false() -> None:
    inputs = heads()
    mask = torch.rand(2, 1, 7, 6, generator=torch.Generator(torch.get_default_device()).manual_seed(0)) < 0.5
    mask[0, 0, 3] = False  # a query without keys
    for name in ("bias", "attn_mask"):
        results = derivatives(lambda *t, name=name: gan_ops.attention(*t, **{name: mask}), inputs)
        expected = derivatives(lambda *t: gan_ops.reference.attention(*t, mask), inputs)
        assert_all_close(results, expected, 1e-12)
    torch.testing.assert_close(results[0], F.scaled_dot_product_attention(*inputs, mask))
    assert not results[0][0, :, 3].any()


@EVERYWHERE
def test_a_query_without_keys_has_zeros_in_all_orders() -> None:
    query, key, value, bias = heads(of_bias=(7, 6))
    with torch.no_grad():
        bias[3] = -math.inf
    out, d_query, d_key, d_value, d_bias, *second = derivatives(gan_ops.attention, (query, key, value, bias))
    torch.testing.assert_close(out, F.scaled_dot_product_attention(query, key, value, bias))
    for tensor in (out, d_query, second[0], second[1]):
        assert not tensor[:, :, 3].any()
    assert not d_bias[3].any() and not second[-1][3].any()
    assert all(tensor.isfinite().all() for tensor in (d_key, d_value, *second))


@pytest.mark.parametrize(("rows", "columns"), [(0, 6), (7, 0), (0, 0)])
@EVERYWHERE
def test_no_queries_and_no_keys(rows: int, columns: int) -> None:
    inputs = heads(rows, columns, of_bias=(3, rows, columns))
    results, expected = (derivatives(of, inputs) for of in (gan_ops.attention, gan_ops.reference.attention))
    assert_all_close(results, expected, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@EVERYWHERE
def test_large_scores_overflow_nowhere(dtype: torch.dtype) -> None:
    inputs = tuple((30 * t.detach()).to(dtype).requires_grad_() for t in heads())
    for result in derivatives(lambda *t: gan_ops.attention(*t, scale=1.0), inputs):
        assert result.isfinite().all()


@EVERYWHERE
def test_a_bias_of_another_type_is_added_in_the_wider_one() -> None:
    query, key, value = (t.detach().bfloat16().requires_grad_() for t in heads())
    bias = normal(3, 7, 6, dtype=torch.float32)
    out = gan_ops.attention(query, key, value, bias)
    expected = gan_ops.reference.attention(query, key, value, bias)
    assert out.dtype == torch.bfloat16
    # The definition's product of weights and values is rounded once, as ours is: they differ by a rounding.
    torch.testing.assert_close(out, expected, rtol=2**-7, atol=1e-6)
    assert torch.autograd.grad(out.sum(), bias)[0].dtype == torch.float32


@pytest.mark.parametrize("of_bias", [None, (3, 1, 1)], ids=["no bias", "bias"])
def test_memory_grows_with_n_and_not_with_its_square(of_bias) -> None:
    """A double backward at N = 4096 of 3 heads takes less than one matrix of their scores."""
    n = 4096
    shapes = [(1, 3, n, 8)] * 3 + ([of_bias] if of_bias else [])
    inputs = tuple(normal(*shape, seed=i, dtype=torch.float32) for i, shape in enumerate(shapes))

    def second_order() -> object:
        first = torch.autograd.grad(gan_ops.attention(*inputs).square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    cpu = torch.device("cpu")
    of_buffers = 4 * 128 * n * 4 * torch.get_num_threads()  # four matrices of 128 rows: csrc/attention_blocks.h
    of_tensors = 40 * inputs[0].nbytes
    assert peak_of(second_order, cpu) < of_buffers + of_tensors
    assert of_buffers / torch.get_num_threads() + of_tensors < 3 * n * n * 4


@pytest.mark.parametrize("wanted", range(4))
def test_only_the_gradients_that_are_wanted_are_made(wanted: int) -> None:
    inputs = [t.detach().requires_grad_(i == wanted) for i, t in enumerate(heads(of_bias=(7, 6)))]
    (gradient,) = torch.autograd.grad(gan_ops.attention(*inputs).square().sum(), inputs[wanted], create_graph=True)
    every = [t.detach().requires_grad_() for t in inputs]
    (expected,) = torch.autograd.grad(gan_ops.attention(*every).square().sum(), every[wanted], create_graph=True)
    torch.testing.assert_close(gradient, expected)
    (second,) = torch.autograd.grad(gradient.square().sum(), inputs[wanted])
    torch.testing.assert_close(second, torch.autograd.grad(expected.square().sum(), every[wanted])[0])
    out, log_sum = torch.ops.gan_ops.attention(*every, None, False)
    gradients = torch.ops.gan_ops.attention_backward(out, *every, log_sum, None, False, [i == wanted for i in range(4)])
    assert [g.numel() > 0 for g in gradients] == [i == wanted for i in range(4)]


def test_double_backward_runs_its_kernel_and_the_third_derivative_does_not() -> None:
    inputs = heads()
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        first = torch.autograd.grad(gan_ops.attention(*inputs).square().sum(), inputs, create_graph=True)
        sum(g.square().sum() for g in first).backward()
    names = [event.name for event in trace.events()]
    assert "gan_ops::attention_double_backward" in names and "aten::softmax" not in names


def test_the_log_sum_is_a_constant() -> None:
    query, key, value = heads()
    _, log_sum = torch.ops.gan_ops.attention(query, key, value, None, None, False)
    assert not log_sum.requires_grad
    with pytest.raises(ValueError, match="log_sum must be the value that attention returned"):
        log_sum = log_sum.clone().requires_grad_()
        torch.ops.gan_ops.attention_backward(value[..., :0], query, key, value, None, log_sum, None, False, [True] * 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_runs_it_in_the_narrow_type_and_adds_the_bias_as_it_is(dtype: torch.dtype) -> None:
    *inputs, bias = (t.detach().float().requires_grad_() for t in heads(of_bias=(3, 7, 6)))
    with torch.autocast("cpu", dtype=dtype):
        out = gan_ops.attention(*inputs, bias)
    expected = gan_ops.attention(*[t.to(dtype) for t in inputs], bias)
    assert out.dtype == dtype and torch.equal(out, expected)
    gradients = torch.autograd.grad(out.float().square().sum(), (*inputs, bias))
    assert {g.dtype for g in gradients} == {torch.float32}


@pytest.mark.parametrize("function", [gan_ops.attention, gan_ops.reference.attention], ids=["op", "definition"])
@pytest.mark.parametrize(
    ("query", "key", "value", "bias", "message"),
    [
        ((5,), (3, 5), (3, 2), None, r"query must be \[..., N, E\].*\[5\]"),
        ((4, 0), (3, 0), (3, 2), None, r"query must be .*at least one feature.*\[4, 0\]"),
        ((4, 5), (5,), (3, 2), None, r"key must be \[..., M, E\].*\[5\]"),
        ((4, 5), (3, 6), (3, 2), None, r"key must have the shape \[3, 5\], but has \[3, 6\]"),
        ((2, 4, 5), (1, 3, 5), (2, 3, 2), None, r"key must have the shape \[2, 3, 5\], but has \[1, 3, 5\]"),
        ((4, 5), (3, 5), (2, 2), None, r"value must have the shape \[3, 2\], but has \[2, 2\]"),
        ((4, 5), (3, 5), (3, 2), (2, 3), r"bias must broadcast .*\[4, 3\], but its shape is \[2, 3\]"),
        ((4, 5), (3, 5), (3, 2), (1, 4, 3), r"bias must broadcast .*\[4, 3\], but its shape is \[1, 4, 3\]"),
    ],
)
def test_bad_shapes_are_named(function, query, key, value, bias, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(*map(torch.ones, (query, key, value)), None if bias is None else torch.ones(bias))


@pytest.mark.parametrize("function", [gan_ops.attention, gan_ops.reference.attention], ids=["op", "definition"])
def test_bad_types_and_options_are_named(function) -> None:
    query, key, value = (t.detach() for t in heads())
    with pytest.raises(TypeError, match=r"key must be .*[Ff]loat.*, but is .*[Dd]ouble|key must be torch.float32"):
        function(query.float(), key, value)
    with pytest.raises(TypeError, match="query must be float64, float32, float16 or bfloat16"):
        function(query.int(), key.int(), value.int())
    with pytest.raises(TypeError, match="bias must be float64, float32, float16 or bfloat16"):
        function(query, key, value, torch.ones(7, 6, dtype=torch.int32))
    with pytest.raises(ValueError, match="attn_mask is bias by another name"):
        function(query, key, value, torch.ones(7, 6), attn_mask=torch.ones(7, 6))
    with pytest.raises(NotImplementedError, match=r"dropout_p must be 0.* but is 0.1"):
        function(query, key, value, dropout_p=0.1)
    with pytest.raises(NotImplementedError, match="enable_gqa must be False"):
        function(query, key, value, enable_gqa=True)


def test_gradients_of_sharp_attention_are_as_exact_as_the_definition_s() -> None:
    """Scores of some 1e5, which float32 has to 4e-3: rows of weights must have the sum 1 nevertheless."""
    torch.manual_seed(0)
    tensors = [100 * torch.randn(1, 400, 33), 100 * torch.randn(1, 300, 33), torch.randn(1, 300, 16)]

    def gradients(op, dtype: torch.dtype) -> list[torch.Tensor]:
        inputs = [t.to(dtype).requires_grad_() for t in tensors]
        return [g.double() for g in torch.autograd.grad(op(*inputs, scale=1.0).square().sum(), inputs)]

    exact = gradients(reference.attention, torch.float64)

    def error(op) -> float:
        found = gradients(op, torch.float32)
        return max(((g - e).norm() / e.norm()).item() for g, e in zip(found, exact, strict=True))

    assert error(gan_ops.attention) <= 3 * error(reference.attention)


def test_a_second_derivative_under_autocast_does_not_depend_on_create_graph() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 5, 4, requires_grad=True) for _ in range(3)]
    y = gan_ops.attention(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
        loss = sum(g.square().sum() for g in first)
        kernels = torch.autograd.grad(loss, inputs, retain_graph=True)
        formula = torch.autograd.grad(loss, inputs, create_graph=True)
    for ours, theirs in zip(kernels, formula, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)  # float32, not bfloat16
