"""What is historical averaging's own: values over a history, mixed types and layouts, the step, its errors."""

from __future__ import annotations

import pytest
import torch
from comparing import seeded
from torch import Tensor, nn

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one

MODULES = [gan_ops, gan_ops.reference]
SIDES = pytest.mark.parametrize("module", MODULES, ids=["kernel", "reference"])


def history(steps: int, shapes: list[list[int]], dtype: torch.dtype = torch.float64) -> list[list[Tensor]]:
    """θ[1..steps], each a list of parameters."""
    generator = seeded(0)
    return [[torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes] for _ in range(steps)]


@SIDES
@EVERYWHERE
def test_averages_are_the_means_and_the_distance_is_to_the_mean_with_the_present_counted(module) -> None:
    past = history(5, [[3, 4], [5000], []])
    averages = [torch.full_like(p, float("nan")) for p in past[0]]  # before the first step their values do not matter
    for t, parameters in enumerate(past, 1):
        means = [torch.stack(so_far[:t]).mean(0) for so_far in zip(*past, strict=True)]
        expected = sum((p - m).square().sum() for p, m in zip(parameters, means, strict=True))
        distance = module.historical_distance(parameters, averages, t)
        torch.testing.assert_close(distance, expected)
        module.historical_update_(parameters, averages, t)
        for average, mean in zip(averages, means, strict=True):
            torch.testing.assert_close(average, mean)


@SIDES
@EVERYWHERE
def test_at_the_first_step_the_distance_and_its_derivatives_are_zero(module) -> None:
    parameters = [torch.randn(3, 4, requires_grad=True)]
    distance = module.historical_distance(parameters, [torch.full((3, 4), float("nan"))], 1)
    (gradient,) = torch.autograd.grad(distance, parameters, create_graph=True)
    assert distance.item() == 0 and not gradient.any()
    assert not torch.autograd.grad(gradient.sum(), parameters)[0].any()


@SIDES
@EVERYWHERE
def test_the_first_update_copies_the_parameters_to_the_bit(module) -> None:
    parameters, averages = [torch.randn(1000)], [torch.randn(1000)]
    module.historical_update_(parameters, averages, 1)
    assert torch.equal(averages[0], parameters[0])


@EVERYWHERE
def test_the_gradient_counts_the_parameters_in_the_mean() -> None:
    parameter, average = torch.tensor([3.0], requires_grad=True), torch.tensor([1.0])
    gan_ops.historical_distance([parameter], [average], 4).backward()
    assert parameter.grad.item() == pytest.approx(2 * (3 / 4) ** 2 * 2)


@SIDES
@EVERYWHERE
def test_parameters_of_several_types_each_get_a_gradient_of_theirs(module) -> None:
    types = [torch.float32, torch.bfloat16, torch.float16, torch.bfloat16, torch.float64]
    parameters = [torch.randn(7, 3).to(dtype).requires_grad_() for dtype in types]
    averages = [torch.zeros(7, 3, dtype=dtype) for dtype in [*types[:3], torch.float32, types[4]]]
    distance = module.historical_distance(parameters, averages, 2)
    assert distance.dtype == torch.float64
    torch.testing.assert_close(distance, sum(p.detach().double().square().sum() for p in parameters) / 4)
    distance.backward()
    for p in parameters:
        assert p.grad.dtype == p.dtype
        torch.testing.assert_close(p.grad, p.detach() / 2)
    module.historical_update_(parameters, averages, 2)
    for p, average in zip(parameters, averages, strict=True):
        torch.testing.assert_close(average.double(), p.detach().double() / 2)


@EVERYWHERE
def test_only_parameters_that_need_one_get_a_gradient() -> None:
    parameters = [torch.ones(3, dtype=torch.float64), torch.ones(4, requires_grad=True), torch.ones(5)]
    gan_ops.historical_distance(parameters, [torch.zeros_like(p) for p in parameters], 2).backward()
    assert [p.grad is not None for p in parameters] == [False, True, False]
    torch.testing.assert_close(parameters[1].grad, torch.full([4], 0.5))


@EVERYWHERE
def test_second_derivatives_of_some_parameters_alone_are_exact() -> None:
    parameters = [torch.randn(3, requires_grad=True), torch.randn(4, requires_grad=True)]
    distance = gan_ops.historical_distance(parameters, [torch.zeros_like(p) for p in parameters], 2)
    first = torch.autograd.grad(distance, parameters, create_graph=True)
    (second,) = torch.autograd.grad(first[1].square().sum(), parameters[1])  # 0.25 p², 0.5 p, 0.5 p
    torch.testing.assert_close(second, 0.5 * parameters[1].detach())


@SIDES
@pytest.mark.parametrize("step", [3, 3.0, torch.tensor(3), torch.tensor(3.0), torch.tensor(3.0, dtype=torch.bfloat16)])
@EVERYWHERE
def test_the_step_may_be_a_number_or_a_tensor_of_any_type(module, step) -> None:
    parameters, averages = [torch.full((4,), 3.0)], [torch.zeros(4)]
    assert module.historical_distance(parameters, averages, step).item() == pytest.approx(16.0)
    module.historical_update_(parameters, averages, step)
    torch.testing.assert_close(averages[0], torch.ones(4))


@SIDES
@EVERYWHERE
def test_any_layouts_go_together(module) -> None:
    values, mean = torch.randn(2, 6, 5, 3, 3, dtype=torch.float64)
    layouts = [
        lambda t: t.clone(),
        lambda t: t.contiguous(memory_format=torch.channels_last),
        lambda t: t.transpose(0, 3).contiguous().transpose(0, 3),
        lambda t: torch.stack([t, t + 1], -1)[..., 0],
    ]
    for of_parameter in layouts:
        for of_average in layouts:
            parameter, average = of_parameter(values).requires_grad_(), of_average(mean)
            distance = module.historical_distance([parameter], [average], 2)
            (gradient,) = torch.autograd.grad(distance, parameter)
            module.historical_update_([parameter], [average], 2)
            torch.testing.assert_close(distance, (values - mean).square().sum() / 4)
            torch.testing.assert_close(gradient, (values - mean) / 2)
            torch.testing.assert_close(average, (values + mean) / 2)


@EVERYWHERE
def test_a_model_s_parameters_can_be_passed_as_they_come() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(2, 200))
    averages = [torch.empty_like(p) for p in model.parameters()]
    gan_ops.historical_update_(model.parameters(), averages, 1)
    with torch.no_grad():
        for p in model.parameters():
            p += 1
    distance = gan_ops.historical_distance(model.parameters(), iter(averages), 2)
    assert distance.item() == pytest.approx(sum(p.numel() for p in model.parameters()) / 4)


@EVERYWHERE
def test_a_graph_notices_that_its_averages_have_moved() -> None:
    parameters, averages = [torch.ones(3, requires_grad=True)], [torch.zeros(3)]
    distance = gan_ops.historical_distance(parameters, averages, 2)
    gan_ops.historical_update_(parameters, averages, 2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        distance.backward()


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    parameters = [torch.randn(n, generator=seeded(n)) for n in (5, 100_000, 0, 17, 50_000)]
    averages = [torch.zeros_like(p) for p in parameters]
    before = torch.get_num_threads()
    distances = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        distances.append(gan_ops.historical_distance(parameters, averages, 2))
    torch.set_num_threads(before)
    assert torch.equal(*distances)


@EVERYWHERE
def test_a_compiled_step_moves_the_averages() -> None:
    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(parameters: list[Tensor], averages: list[Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
        distance = gan_ops.historical_distance(parameters, averages, t)
        gan_ops.historical_update_(parameters, averages, t)
        return distance

    past = history(3, [[3, 4], [5]])
    averages, expected = ([torch.zeros_like(p) for p in past[0]] for _ in range(2))
    for t, parameters in enumerate(past, 1):
        actual = step(parameters, averages, torch.tensor(float(t)))
        torch.testing.assert_close(actual, gan_ops.reference.historical_distance(parameters, expected, t))
        gan_ops.reference.historical_update_(parameters, expected, t)
        torch.testing.assert_close(averages, expected)


@SIDES
@pytest.mark.parametrize("name", ["historical_distance", "historical_update_"])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"step": 0}, ValueError, "step must be at least 1, but is 0"),
        ({"step": float("nan")}, ValueError, "step must be at least 1, but is nan"),
        ({"step": torch.ones(2)}, ValueError, r"step must be a number or a 0-d tensor, but its shape is \[2\]"),
        ({"step": torch.ones((), requires_grad=True)}, ValueError, "step must not require a gradient"),
        ({"parameters": []}, ValueError, "parameters must not be empty"),
        ({"averages": [torch.ones(2)]}, ValueError, "averages must be as many as the 2 parameters, but are 1"),
        (
            {"averages": [torch.ones(2), torch.ones(3, requires_grad=True)]},
            ValueError,
            "averages must not require gradients",
        ),
        (
            {"averages": [torch.ones(2), torch.ones(4)]},
            ValueError,
            r"averages\[1\] must have the shape \[3\], but has \[4\]",
        ),
        ({"averages": [torch.ones(2), torch.ones(3).half()]}, TypeError, r"averages\[1\] must be .* but is "),
        ({"parameters": [torch.ones(2), torch.ones(3).int()]}, TypeError, r"parameters\[1\] must be float64"),
    ],
)
def test_bad_arguments_are_named(module, name: str, options, error, message) -> None:
    arguments = {
        "parameters": [torch.ones(2), torch.ones(3)],
        "averages": [torch.ones(2), torch.ones(3)],
        "step": 2,
    }
    with pytest.raises(error, match=message):
        getattr(module, name)(**(arguments | options))
