"""What is pair distances' own: values, ties, close samples, memory, its errors."""

from __future__ import annotations

import pytest
import torch
from comparing import assert_all_close, derivatives, seeded

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one

BOTH = pytest.mark.parametrize(
    "op", [gan_ops.pair_distances, gan_ops.reference.pair_distances], ids=["kernel", "reference"]
)
METRICS = pytest.mark.parametrize("metric", ["l1", "l2", "squared"])


@BOTH
@EVERYWHERE
def test_values_by_hand(op) -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, -1.0]])
    y = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3.0, -1.0]])
    squared = torch.tensor([[25.0, 0.0, 10.0], [25.0, 10.0, 0.0]])
    torch.testing.assert_close(op(x, y, "l1"), torch.tensor([[7.0, 0.0, 4.0], [5.0, 4.0, 0.0]]))
    torch.testing.assert_close(op(x, y, "squared"), squared)
    torch.testing.assert_close(op(x, y, "l2"), squared.sqrt())
    assert torch.equal(op(x, y), op(x, y, "l2"))


@BOTH
@EVERYWHERE
@pytest.mark.parametrize(
    ("metric", "gradient"),
    [("l1", [1.0, 1.0, 0.0]), ("l2", [3 / 5, 4 / 5, 0.0]), ("squared", [6.0, 8.0, 0.0])],
)
def test_the_gradient_by_hand_points_from_y_to_x(op, metric, gradient) -> None:
    x, y = torch.tensor([[3.0, 5.0, 2.0]], requires_grad=True), torch.tensor([[0.0, 1.0, 2.0]], requires_grad=True)
    d_x, d_y = torch.autograd.grad(op(x, y, metric).sum(), (x, y))
    torch.testing.assert_close(d_x, torch.tensor([gradient]))
    torch.testing.assert_close(d_y, -d_x)


@BOTH
@EVERYWHERE
@pytest.mark.parametrize(
    ("metric", "second"),
    # The Hessian of ‖z‖ is (1 − u uᵀ)/‖z‖ with u = z/‖z‖ = (0.6, 0.8), that of ‖z‖² is 2; times v = (1, 0).
    [("l1", [0.0, 0.0]), ("l2", [(1 - 0.36) / 5, -0.48 / 5]), ("squared", [2.0, 0.0])],
)
def test_the_second_derivative_by_hand(op, metric, second) -> None:
    x, y = torch.tensor([[3.0, 5.0]], requires_grad=True), torch.tensor([[0.0, 1.0]], requires_grad=True)
    (first,) = torch.autograd.grad(op(x, y, metric).sum(), x, create_graph=True)
    v = torch.tensor([[1.0, 0.0]])
    d_x, d_y = torch.autograd.grad((first * v).sum() + 0 * (x.sum() + y.sum()), (x, y))
    torch.testing.assert_close(d_x, torch.tensor([second]))
    torch.testing.assert_close(d_y, torch.tensor([second]).neg())


@METRICS
@EVERYWHERE
def test_equal_samples_have_no_distance_and_no_slope(metric) -> None:
    x = torch.full((9, 5), 0.3, requires_grad=True)
    d = gan_ops.pair_distances(x, x, metric)
    (first,) = torch.autograd.grad(d.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first * torch.randn_like(first)).sum() + 0 * x.sum(), x)
    assert not d.any() and not first.any() and second.isfinite().all()
    assert metric == "squared" or not second.any()


@METRICS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@EVERYWHERE
def test_ties_are_as_in_the_definition(metric, dtype: torch.dtype) -> None:
    generator = seeded(0)
    x, y = (
        torch.randint(-1, 2, (count, 3), generator=generator).to(dtype).requires_grad_() for count in (40, 37)
    )  # 27 places, so that many samples coincide
    both = (gan_ops.pair_distances, gan_ops.reference.pair_distances)
    results = (derivatives(lambda x, y, of=of: of(x, y, metric), (x, y)) for of in both)
    for actual, expected in zip(*results, strict=True):  # sums in another order, rounded to the type
        assert_all_close([actual], [expected], max(4 * torch.finfo(dtype).eps, 1e-6 if dtype == torch.float32 else 0))


@pytest.mark.parametrize("metric", ["l2", "squared"])
@EVERYWHERE
def test_close_samples_far_from_the_origin_keep_their_digits(metric) -> None:
    """‖x‖² + ‖y‖² − 2 x·y, of numbers near 10⁶, would have none of them left."""
    x = 1000 + torch.rand(20, 3, generator=seeded(0)) / 64
    y = 1000 + torch.rand(20, 3, generator=seeded(1)) / 64
    exact = gan_ops.reference.pair_distances(x.double(), y.double(), metric)
    torch.testing.assert_close(gan_ops.pair_distances(x, y, metric).double(), exact, rtol=1e-6, atol=0)


@METRICS
@EVERYWHERE
def test_many_features_are_added_up_as_well_as_few(metric) -> None:
    x, y = torch.rand(5, 70_001, generator=seeded(0)), torch.rand(3, 70_001, generator=seeded(1))
    exact = gan_ops.reference.pair_distances(x.double(), y.double(), metric)
    torch.testing.assert_close(gan_ops.pair_distances(x, y, metric).double(), exact, rtol=2e-6, atol=0)


@METRICS
@EVERYWHERE
def test_only_the_gradients_that_are_wanted_are_made(metric) -> None:
    x, y = torch.randn(6, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    both = torch.autograd.grad(gan_ops.pair_distances(x, y, metric).sum(), (x, y))
    for i, tensors in enumerate(((x, y.detach()), (x.detach(), y))):
        d = gan_ops.pair_distances(*tensors, metric)
        (alone,) = torch.autograd.grad(d.sum(), tensors[i], create_graph=True)
        assert torch.equal(alone, both[i])
        if metric != "l1":  # whose slopes depend on nothing
            (second,) = torch.autograd.grad(alone.square().sum(), tensors[i])
            assert second.isfinite().all() and second.any()


@METRICS
def test_results_do_not_depend_on_the_number_of_threads(metric) -> None:
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        x, y = (torch.linspace(0, end, 70 * 300).sin().view(70, 300).requires_grad_() for end in (99, 77))
        results.append(derivatives(lambda x, y: gan_ops.pair_distances(x, y, metric), (x, y)))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, results[0], strict=True))


def test_a_compiled_backward_pass_may_hand_over_the_distance_with_its_gradient() -> None:
    """Compilers leave out what detaches it, and run without recording gradients."""
    x, y, g = torch.randn(4, 2, requires_grad=True), torch.randn(3, 2), torch.randn(4, 3)
    d = gan_ops.pair_distances(x, y)
    (expected,) = torch.autograd.grad(d, x, g)
    with torch.no_grad():
        actual, _ = torch.ops.gan_ops.pair_distances_backward(g, x, y, d, "l2", True, False)
    assert torch.equal(actual, expected)


MEMORY_CODE = """
import resource, sys
import torch, gan_ops
from gan_ops import pair_distances, reference

def all_orders(op, n, features, metric):
    x, y, v, w = (torch.randn(n, features) for _ in range(4))
    x, y = x.requires_grad_(), y.requires_grad_()
    out = op(x, y, metric)
    first = torch.autograd.grad(out, (x, y), torch.ones_like(out).requires_grad_(), create_graph=True)
    torch.autograd.grad(first, (x, y), (v, w), materialize_grads=True, allow_unused=True)

op = {"kernel": pair_distances, "reference": reference.pair_distances}[sys.argv[1]]
all_orders(op, 32, 64, sys.argv[2])  # threads and libraries take theirs
with open("/proc/self/statm") as statm:
    size = int(statm.read().split()[0]) * resource.getpagesize()
limit = size + 1024 * 1024 * 128  # an eighth of one buffer of N·M·D floats
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    all_orders(op, 1024, 256, sys.argv[2])
except RuntimeError as error:
    sys.exit(f"out of memory: {error}")
"""


@METRICS
@pytest.mark.parametrize("which", ["kernel", "reference"])
def test_no_order_of_derivative_holds_all_differences(which: str, metric: str, run_python) -> None:
    """The process may not map as much; that the definition fails shows that the limit holds."""
    result = run_python("-c", MEMORY_CODE, which, metric)
    if which == "kernel":
        assert result.returncode == 0, result.stderr
    else:
        assert "out of memory" in result.stderr


@BOTH
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": torch.ones(4)}, ValueError, r"x must be \[N, D\] with at least one feature.*its shape is \[4\]"),
        ({"x": torch.ones(4, 0), "y": torch.ones(3, 0)}, ValueError, r"at least one feature.*\[4, 0\]"),
        ({"y": torch.ones(3, 5)}, ValueError, r"y must be \[M, D\] with the 2 features of x.*\[3, 5\]"),
        ({"y": torch.ones(2)}, ValueError, r"y must be \[M, D\].*its shape is \[2\]"),
        ({"x": torch.ones(4, 2, dtype=torch.int64)}, TypeError, r"x must be float64.*but is .*(Long|int64)"),
        ({"y": torch.ones(3, 2, dtype=torch.float64)}, TypeError, r"y must be .*(Float|float32).*(Double|float64)"),
        ({"metric": "cosine"}, ValueError, r'metric must be "l1", "l2" or "squared", but is "cosine"'),
    ],
)
def test_bad_arguments_are_named(op, changed, error, message) -> None:
    arguments = {"x": torch.ones(4, 2), "y": torch.ones(3, 2), "metric": "l1"} | changed
    with pytest.raises(error, match=message):
        op(**arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"grad": torch.ones(4, 2)}, r"grad must have the shape \[4, 3\]"),
        ({"grad": torch.ones(4, 3, dtype=torch.float64)}, r"grad must be Float"),
        ({"v_x": torch.ones(4, 3)}, r"v_x must have the shape \[4, 2\]"),
        ({"v_y": torch.ones(3, 2, dtype=torch.float16)}, r"v_y must be Float"),
        ({"distance": None}, r"distance must be what pair_distances returned, but is None"),
        ({"distance": torch.ones(3, 4)}, r"distance must have the shape \[4, 3\]"),
        ({"distance": torch.ones(4, 3, requires_grad=True)}, r"distance must be the value .* detached"),
    ],
)
def test_the_double_backward_op_refuses_what_does_not_belong_together(changed, message) -> None:
    x, y = torch.ones(4, 2), torch.ones(3, 2)
    arguments = {"v_x": x, "v_y": y, "grad": torch.ones(4, 3), "x": x, "y": y, "distance": torch.ones(4, 3)}
    with pytest.raises((ValueError, TypeError), match=message):
        torch.ops.gan_ops.pair_distances_double_backward(*(arguments | changed).values(), "l2")
