"""docs/second_derivatives.md: torch's examples raise the errors that are named, and ours have the right derivatives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gan_ops

PAGE = (Path(__file__).parents[1] / "docs" / "second_derivatives.md").read_text()
SECTIONS = {
    title: re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
}
WITH_BOTH = [title for title, examples in SECTIONS.items() if len(examples) == 2]
WITH_OURS = [title for title, examples in SECTIONS.items() if examples and not title.startswith("torch.compile")]


@pytest.fixture(autouse=True)
def compiled_quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """By the part of torch.compile that takes gradients; code is not generated."""
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *args, **options: compile(*args, backend="aot_eager", **options))
    yield
    torch._dynamo.reset()


def run(examples: list[str]) -> dict[str, Any]:
    """The names that the examples define, one after another."""
    torch.manual_seed(0)
    names = {"torch": torch, "gan_ops": gan_ops}
    for example in examples:
        exec(example, names)
    return names


def penalty_gradients(names: dict[str, Any]) -> list[Tensor]:
    """Of the squared norm of the gradients of a nonlinear function of y, by all tensors that have gradients."""
    leaves = [t for t in names.values() if isinstance(t, Tensor) and t.is_leaf and t.requires_grad]
    y = names["distances"] if "distances" in names else names["y"]
    first = torch.autograd.grad(y.tanh().sum(), leaves, create_graph=True)
    return list(torch.autograd.grad(sum(g.square().sum() for g in first), leaves))


def test_the_page_has_every_op() -> None:
    assert all(f"gan_ops.{op}(" in PAGE for op in ("grid_sample", "attention", "pair_distances", "conv2d"))
    assert len(WITH_BOTH) == 2


@pytest.mark.parametrize("title", WITH_BOTH)
def test_torch_raises_the_error(title: str) -> None:
    names = run(SECTIONS[title][:1])
    with pytest.raises(RuntimeError, match=re.escape(title)):
        penalty_gradients(names)


@pytest.mark.parametrize("title", WITH_OURS)
def test_ours_has_the_definition_s_derivatives(title: str) -> None:
    found = penalty_gradients(run(SECTIONS[title]))
    with gan_ops.use_reference():
        expected = penalty_gradients(run(SECTIONS[title]))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())  # float32


def test_a_compiled_penalty_is_that_of_the_definition() -> None:
    (title,) = (title for title in SECTIONS if title.startswith("torch.compile"))
    names = run(SECTIONS[title])
    with gan_ops.use_reference():
        (expected,) = names["penalty"](names["images"], names["weight"])
    torch.testing.assert_close(names["of_weight"], expected, rtol=1e-4, atol=1e-4)
