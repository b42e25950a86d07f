"""The network whose features FID, KID, IS, precision and recall compare."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from train.classifier import trained_classifier
from train.data import ImageSet, to_float
from train.errors import UsageError

VARIABLE = "GAN_OPS_INCEPTION"
PUBLISHED = "inception-2015-12-05"


@dataclass(frozen=True)
class Features:
    """From images to features.

    Attributes:
        label: what results from these features carry in their names; None for the field's own network.
        description: plain types: the network's name, a digest of its weights, the length of its features.
        compute: images uint8 [N, C, R, R] → features [N, L] and class logits [N, K], on the device.
        device: where it computes, in whose rounding.
    """

    label: str | None
    description: dict[str, Any]
    compute: Callable[[Tensor], tuple[Tensor, Tensor]]
    device: torch.device


def choose_features(images: ImageSet, inception_weights: str, device: torch.device) -> Features:
    """Inception where its weights are named, by the argument or GAN_OPS_INCEPTION, else the set's own classifier.

    Raises:
        UsageError: if there are neither weights nor labels, or the weights cannot be used.
    """
    path = inception_weights or os.environ.get(VARIABLE, "")
    if path:
        return inception_features(Path(path), device)
    if images.labels is None:
        raise UsageError(
            f"is, fid, kid and pr need features: name the file of Inception's weights with --inception-weights or"
            f" {VARIABLE}, or use labelled data (one folder a class) for a classifier of its own; {images.name} has no"
            f" labels. swd and msssim need neither"
        )
    return classifier_features(images, device)


def inception_features(path: Path, device: torch.device) -> Features:
    """The Inception network of 2015 with the weights in a file; a UsageError says why it cannot be had."""
    from gan_ops.metrics.inception import Inception, InceptionUnavailable

    try:
        network = Inception(path, device)
    except (InceptionUnavailable, OSError) as error:
        raise UsageError(f"Inception's weights {path} cannot be used: {error}") from error
    published = network.name == PUBLISHED
    description = {"name": network.name, "length": 2048, "weights": network.digest}
    return Features(None if published else network.name, description, network, device)


def classifier_features(images: ImageSet, device: torch.device) -> Features:
    """The classifier of a labelled set, which is trained if that has not been done yet."""
    classifier, description = trained_classifier(images)
    classifier = classifier.to(device)

    @torch.no_grad()
    def compute(pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = to_float(pixels.to(device))
        if x.shape[-1] > classifier.resolution:
            x = F.avg_pool2d(x, x.shape[-1] // classifier.resolution)
        return classifier(x.contiguous(memory_format=torch.channels_last))

    return Features(description["name"], description, compute, device)
