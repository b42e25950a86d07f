"""Heads: scores and logits by the formulas of the papers, in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.parametrizations import spectral_norm

from models.parts.heads import CONDITIONS, Head
from models.parts.labels import one_hot, with_planes

K = 3
H = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 2, 1, 0])


def head(condition: str, **options) -> Head:
    torch.manual_seed(1)
    return Head(4, condition=condition, num_classes=0 if condition == "none" else K, **options).double()


def test_without_a_condition_the_score_is_a_dense_layer():
    made = head("none")
    score, logits = made(H)
    torch.testing.assert_close(score, H @ made.score.weight[0] + made.score.bias)
    assert logits is None


def test_vectors_stay_vectors():
    assert head("none", outputs=2)(H)[0].shape == (6, 2)


def test_projection_adds_the_product_of_features_and_the_labels_vector():
    made = head("projection")
    (w,), (b,), v = made.score.weight, made.score.bias, made.embed.weight
    expected = [w @ h + b + v[y] @ h for h, y in zip(H, LABELS, strict=True)]
    torch.testing.assert_close(made(H, LABELS)[0], torch.stack(expected))


def test_projection_has_gradients_of_its_labels_vectors_alone():
    made = head("projection")
    made(H[:2], torch.tensor([2, 2]))[0].sum().backward()
    assert made.embed.weight.grad[2].abs().min() > 0 and made.embed.weight.grad[:2].abs().max() == 0


def test_an_auxiliary_classifier_gives_scores_and_logits_by_layers_of_their_own():
    made = head("acgan")
    score, logits = made(H)
    torch.testing.assert_close(score, made.score(H)[:, 0])
    torch.testing.assert_close(logits, made.classes(H))


def test_the_score_of_k_plus_1_classes_is_that_of_the_others_together():
    score, logits = head("k+1")(H)
    probability = logits.exp().sum(1) / (1 + logits.exp().sum(1))
    torch.testing.assert_close(torch.sigmoid(score), probability)


def test_q_sees_each_minibatch_alone():
    made = head("infogan")
    apart = [made(H[i::2])[1] for i in range(2)]
    torch.testing.assert_close(made(H, batches=2)[1], torch.stack(apart, 1).flatten(0, 1))


def test_each_layer_of_the_score_is_finished_and_q_is_not():
    normal = head("projection", finish=spectral_norm)
    for layer in (normal.score, normal.embed):
        for _ in range(50):
            weight = layer.weight  # a step of the power iteration each
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=1e-3)
    assert all("parametrizations" not in name for name, _ in head("infogan", finish=spectral_norm).q.named_parameters())


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_parameter_bears_on_what_a_head_says(condition):
    made = head(condition)
    score, logits = made(H, LABELS if condition == "projection" else None)
    (score.square().sum() + (0 if logits is None else logits.square().sum())).backward()
    assert all(p.grad is not None for p in made.parameters())


def test_half_precision_is_widened():
    made = head("acgan").bfloat16()
    assert all(part.dtype == torch.float32 for part in made(H.bfloat16()))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"condition": "labels"}, "condition='labels' is not one of none, cgan"),
        ({"condition": "acgan"}, "num_classes=0 does not go with condition='acgan'"),
        ({"num_classes": 3}, "num_classes=3 does not go with condition='none'"),
        ({"condition": "projection", "num_classes": 3, "outputs": 2}, "outputs=2 does not go with"),
        ({"condition": "k+1", "num_classes": 3, "outputs": 2}, "outputs=2 does not go with"),
    ],
)
def test_what_does_not_go_together(options, reason):
    with pytest.raises(ValueError, match=reason.replace("+", r"\+")):
        Head(4, **options)


def test_a_projection_without_labels_is_an_error():
    with pytest.raises(ValueError, match="labels are needed by a network with num_classes=3"):
        head("projection")(H)


def test_labels_as_vectors_and_as_planes():
    assert one_hot(LABELS, K, H).tolist() == torch.eye(K)[LABELS].tolist()
    maps = torch.zeros(6, 2, 5, 4)
    joined = with_planes(maps, LABELS, K)
    assert joined.shape == (6, 5, 5, 4)
    assert torch.equal(joined[:, 2:], torch.eye(K)[LABELS][:, :, None, None].expand(-1, -1, 5, 4))


@pytest.mark.parametrize(
    ("labels", "error", "reason"),
    [
        (LABELS.float(), TypeError, "labels are torch.float32, not torch.int64"),
        (LABELS[:2], ValueError, r"labels are \[2\], not \[6\]"),
        (LABELS + 1, ValueError, "labels reach from 1 to 3, outside 0 to 2"),
    ],
)
def test_wrong_labels_are_named(labels, error, reason):
    with pytest.raises(error, match=reason):
        one_hot(labels, K, H)
