"""What a critic says: minibatches laid into one pass and taken apart again."""

from __future__ import annotations

import pytest
import torch

from gan_ops.objectives import Scores, interleave, score_of, scores_of


def batches(k: int = 3) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(4, 2, 5, 5, requires_grad=True) for _ in range(k)]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_parted_scores_are_those_of_each_minibatch(k):
    some = batches(k)
    together = interleave(*some)
    assert together.shape == (4 * k, 2, 5, 5) and together.is_contiguous(memory_format=torch.channels_last)

    def critic(x):
        return Scores(x.sum((1, 2, 3)), x.mean((2, 3)), (x, x.flatten(1)), x)

    parts = critic(together).parted(k)
    assert len(parts) == k
    for part, alone in zip(parts, some, strict=True):
        torch.testing.assert_close(part, critic(alone))


def test_what_is_missing_is_missing_in_every_part():
    assert [part[1:] for part in Scores(torch.zeros(4)).parted(2)] == 2 * [(None, (), None)]


def test_gradients_flow_to_each_minibatch():
    one, other = batches(2)
    (2 * interleave(one, other)[1::2]).sum().backward()
    assert not one.grad.any() and torch.equal(other.grad, torch.full_like(other, 2))


def test_minibatches_have_one_shape():
    with pytest.raises(ValueError, match=r"batches must have one shape, but are \[4, 2, 5, 5\], \[3, 2, 5, 5\]"):
        interleave(batches()[0], batches()[0][:3])


def test_plain_tensors_are_scores_too():
    score = torch.zeros(3)
    assert scores_of(score) == Scores(score) and score_of(score) is score
    assert scores_of(Scores(score)) == Scores(score) and score_of(Scores(score)) is score


def test_scores_without_a_graph_are_the_same_scores():
    x = torch.ones(2, 3, requires_grad=True)
    scores = Scores(x.sum(1), logits=2 * x, maps=(x, x + 1), x=x)
    detached = scores.detached()
    values = [*detached[:2], *detached.maps, detached.x]
    assert not any(value.requires_grad for value in values)
    torch.testing.assert_close(values, [x.sum(1), 2 * x, x, x + 1, x], check_device=False)
    assert Scores(x.sum(1)).detached()[1:] == (None, (), None)
