"""The network whose features FID, KID, IS, precision and recall compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.base.errors import NotMeasurable, UsageError
from train.data import ImageSet, to_float
from train.measure.classifier import Classifier, trained_classifier

VARIABLE = "GAN_OPS_INCEPTION"
PUBLISHED = "inception-2015-12-05"
LENGTH = 2048  # of Inception's features


@dataclass(frozen=True)
class Features:
    """From images to features."""

    label: str | None  # what results carry in their names; None for the field's own network
    description: dict[str, Any]  # plain types: the network's name, a digest of its weights, the length of its features
    compute: Callable[[Tensor], tuple[Tensor, Tensor]]  # uint8 [N, C, R, R] → features [N, L] and class logits [N, K]
    device: torch.device  # where it computes, in whose rounding
    parameters: Mapping[str, Tensor] = field(default_factory=dict)  # of a network that is in no file of its own
    network: nn.Module | None = None  # a classifier, whose maps can be compared too


def choose_features(images: ImageSet, inception_weights: str, device: torch.device) -> Features:
    """Inception where its weights are named, by the argument or GAN_OPS_INCEPTION, else the set's own classifier.

    Raises:
        NotMeasurable: if there are neither weights nor labels that a classifier learns from.
        UsageError: if the weights cannot be used.
    """
    if features := named_weights(inception_weights, device):
        return features
    instead = f"name the file of Inception's weights with --inception-weights or {VARIABLE}, or "
    return own_classifier(images, device, instead)


def own_classifier(images: ImageSet, device: torch.device, instead: str = "") -> Features:
    """The classifier of a labelled set; NotMeasurable, which says what can be done ``instead``, if it has no labels."""
    if images.labels is None:
        why = f" ({images.labels_from})" if images.labels_from else ""
        raise NotMeasurable(
            f"{images.name} has no labels{why} to train a classifier on: {instead}use labelled data (one folder per"
            " class, or a dataset.json)"
        )
    return classifier_features(*trained_classifier(images), device)


def named_weights(inception_weights: str, device: torch.device) -> Features | None:
    """Inception with the weights that the argument or GAN_OPS_INCEPTION names; None if neither names any."""
    path = inception_weights or os.environ.get(VARIABLE, "")
    return inception_features(Path(path), device) if path else None


def inception_features(path: Path, device: torch.device) -> Features:
    """The Inception network of 2015 with the weights in a file; a UsageError says why it cannot be had."""
    from gan_ops.metrics.inception import Inception, InceptionUnavailable

    try:
        network = Inception(path, device)
    except (InceptionUnavailable, OSError) as error:
        raise UsageError(f"Inception's weights {path} cannot be used: {error}") from error
    published = network.name == PUBLISHED
    description = {"name": network.name, "length": LENGTH, "weights": network.digest}
    return Features(None if published else network.name, description, network, device)


def classifier_features(classifier: Classifier, description: dict[str, Any], device: torch.device) -> Features:
    """A trained classifier with its description, as :func:`train.measure.classifier.trained_classifier` gives them."""
    classifier = classifier.to(device, memory_format=torch.channels_last)

    @torch.no_grad()
    def compute(pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = to_float(pixels.to(device))
        if x.shape[-1] > classifier.resolution:
            x = F.avg_pool2d(x, x.shape[-1] // classifier.resolution)
        return classifier(x.contiguous(memory_format=torch.channels_last))

    return Features(description["name"], description, compute, device, classifier.state_dict(), classifier)
