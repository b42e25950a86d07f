"""What is minibatch discrimination's own: values, ties, extremes, memory, its errors."""

from __future__ import annotations

import math

import pytest
import torch
from comparing import assert_all_close, derivatives, seeded

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one

BOTH = pytest.mark.parametrize(
    "op", [gan_ops.minibatch_discrimination, gan_ops.reference.minibatch_discrimination], ids=["kernel", "reference"]
)


@BOTH
@EVERYWHERE
def test_value_by_hand(op) -> None:
    m = torch.tensor([[[0.0, 0.0]], [[1.0, -2.0]], [[1.0, 0.5]]])
    near, far, between = math.exp(-1.5), math.exp(-3.0), math.exp(-2.5)
    expected = torch.tensor([[far + near], [far + between], [near + between]])
    torch.testing.assert_close(op(m, include_self=False), expected)
    torch.testing.assert_close(op(m), 1 + expected)


@BOTH
@EVERYWHERE
def test_a_sample_alone_is_close_to_itself_only(op) -> None:
    m = torch.randn(1, 3, 4)
    assert torch.equal(op(m), torch.ones(1, 3)) and torch.equal(op(m, include_self=False), torch.zeros(1, 3))


@pytest.mark.parametrize("samples", [2, 16, 37])
@EVERYWHERE
def test_equal_samples_count_each_other_and_have_no_gradient(samples: int) -> None:
    m = torch.full((samples, 2, 3), 0.3, requires_grad=True)
    out = gan_ops.minibatch_discrimination(m)
    (gradient,) = torch.autograd.grad(out.sum(), m, create_graph=True)
    (second,) = torch.autograd.grad(gradient, m, torch.randn_like(gradient))
    assert torch.equal(out, torch.full_like(out, samples)) and not gradient.any() and not second.any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@EVERYWHERE
def test_ties_of_single_features_have_slope_zero_as_in_the_definition(dtype: torch.dtype) -> None:
    generator = seeded(0)
    m = torch.randint(-2, 3, (40, 3, 4), generator=generator).to(dtype).requires_grad_()
    rows = zip(
        derivatives(gan_ops.minibatch_discrimination, (m,)),
        derivatives(gan_ops.reference.minibatch_discrimination, (m,)),
        strict=True,
    )
    for actual, expected in rows:  # sums in another order, rounded to the type
        assert_all_close([actual], [expected], max(4 * torch.finfo(dtype).eps, 1e-6 if dtype == torch.float32 else 0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@EVERYWHERE
def test_exponentials_are_within_two_ulp_from_no_distance_to_the_farthest(dtype: torch.dtype) -> None:
    """Pairs of samples a distance apart that one feature holds exactly; out is then the exponential alone."""
    tiny = torch.finfo(dtype).tiny
    distances = torch.cat(
        [torch.logspace(-8, 0, 500, dtype=dtype), torch.linspace(0, -math.log(tiny) - 0.4, 4000, dtype=dtype)]
    )
    m = torch.stack([torch.zeros_like(distances), distances])[..., None]  # [2, B, 1]
    out = gan_ops.minibatch_discrimination(m, include_self=False)
    exact = torch.exp(-distances.double())
    ulp = torch.finfo(dtype).eps * torch.exp2(torch.floor(torch.log2(exact)))
    # In float64 the exact value is rounded too.
    assert ((out[0].double() - exact).abs() <= 2 * ulp).all() and torch.equal(out[0], out[1])


@EVERYWHERE
def test_distances_beyond_the_normal_numbers_give_zero() -> None:
    m = torch.tensor([0.0, 200.0, 1e6, 3e38]).view(4, 1, 1)
    assert not gan_ops.minibatch_discrimination(m, include_self=False).any()


@pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("sample", [0, 20, 36])
@EVERYWHERE
def test_what_is_not_finite_spreads_as_in_the_definition_wherever_it_is(poison, include_self, sample) -> None:
    m = torch.randn(37, 3, 2)
    m[sample, 1, 1] = poison
    actual = gan_ops.minibatch_discrimination(m, include_self)
    torch.testing.assert_close(actual, gan_ops.reference.minibatch_discrimination(m, include_self), equal_nan=True)


@EVERYWHERE
def test_nan_in_the_cotangent_reaches_every_gradient_of_its_kernel() -> None:
    g = torch.ones(20, 2)
    g[3, 1] = math.nan
    gradients = []
    for op in (gan_ops.minibatch_discrimination, gan_ops.reference.minibatch_discrimination):
        m = torch.linspace(0, 1, 20 * 2 * 3).sin().view(20, 2, 3).requires_grad_()
        gradients += torch.autograd.grad(op(m), m, g)
    torch.testing.assert_close(*gradients, equal_nan=True)
    assert gradients[0][:, 1].isnan().all() and gradients[0][:, 0].isfinite().all()


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        m = torch.linspace(0, 99, 70 * 40 * 5).sin().view(70, 40, 5).requires_grad_()
        results.append(derivatives(gan_ops.minibatch_discrimination, (m,)))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


MEMORY_CODE = """
import resource, sys
import torch, gan_ops
from gan_ops import minibatch_discrimination, reference

def all_orders(op, n, b, c):
    m, v = torch.randn(n, b, c).requires_grad_(), torch.randn(n, b, c)
    out = op(m)
    (first,) = torch.autograd.grad(out, m, torch.ones_like(out).requires_grad_(), create_graph=True)
    torch.autograd.grad(first, m, v)

op = {"kernel": minibatch_discrimination, "reference": reference.minibatch_discrimination}[sys.argv[1]]
all_orders(op, 32, 64, 2)  # threads and libraries take theirs
with open("/proc/self/statm") as statm:
    size = int(statm.read().split()[0]) * resource.getpagesize()
limit = size + 1024 * 1024 * 64  # a quarter of one buffer of N·N·B floats, 64 times m
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    all_orders(op, 1024, 64, 2)
except RuntimeError as error:
    sys.exit(f"out of memory: {error}")
"""


@pytest.mark.parametrize("which", ["kernel", "reference"])
def test_no_order_of_derivative_holds_all_pairs(which: str, run_python) -> None:
    """The process may not map as much; that the definition fails shows that the limit holds."""
    result = run_python("-c", MEMORY_CODE, which)
    if which == "kernel":
        assert result.returncode == 0, result.stderr
    else:
        assert "out of memory" in result.stderr


@BOTH
@pytest.mark.parametrize(
    ("m", "error", "message"),
    [
        (torch.ones(4, 3), ValueError, r"m must be \[N, B, C\].*its shape is \[4, 3\]"),
        (torch.ones(4, 3, 2, 1), ValueError, r"its shape is \[4, 3, 2, 1\]"),
        (torch.ones(4, 0, 2), ValueError, r"at least one kernel and one dimension.*\[4, 0, 2\]"),
        (torch.ones(4, 3, 0), ValueError, r"at least one kernel and one dimension.*\[4, 3, 0\]"),
        (torch.ones(4, 3, 2, dtype=torch.int64), TypeError, r"m must be float64.*but is .*(Long|int64)"),
    ],
)
def test_bad_arguments_are_named(op, m, error, message) -> None:
    with pytest.raises(error, match=message):
        op(m)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"grad": torch.ones(4, 2)}, r"grad must have the shape \[4, 3\]"),
        ({"grad": torch.ones(4, 3, dtype=torch.float64)}, r"grad must be Float"),
        ({"v": torch.ones(4, 3)}, r"v must have the shape \[4, 3, 2\]"),
        ({"v": torch.ones(4, 3, 2, dtype=torch.float16)}, r"v must be Float"),
    ],
)
def test_the_double_backward_op_refuses_what_does_not_belong_together(changed, message) -> None:
    arguments = {"v": torch.ones(4, 3, 2), "grad": torch.ones(4, 3), "m": torch.ones(4, 3, 2)} | changed
    with pytest.raises((ValueError, TypeError), match=message):
        torch.ops.gan_ops.minibatch_discrimination_double_backward(*arguments.values())
