"""By what images look alike: features whose squared distances are compared, and which gradients flow through."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gan_ops.metrics import unit_features
from gan_ops.metrics.vgg16 import SMALLEST, Vgg16
from train.base.errors import NotMeasurable, UsageError
from train.base.files import read_torch
from train.measure.classifier import Classifier
from train.measure.features import Features

OPTION = "--vgg16-weights"


@dataclass(frozen=True)
class Perceptual:
    """From images to features.

    Attributes:
        label: what results carry in their names.
        description: plain types: the network's name, and a digest of its weights.
        embed: float32 [N, C, R, R] in [−1, 1] → [N, D].
    """

    label: str
    description: dict[str, Any]
    embed: Callable[[Tensor], Tensor]

    def distance(self, images: Tensor, others: Tensor) -> Tensor:
        """Squared distances of pairs [N, C, R, R] → [N]."""
        return (self.embed(images) - self.embed(others)).square().sum(1)  # [N, D] → [N]


def choose_perceptual(
    vgg16_weights: str, resolution: int, classifier: Callable[[], Features], device: torch.device
) -> Perceptual:
    """VGG-16 where its weights are named, else the maps of the data's own classifier.

    Args:
        vgg16_weights: a file; "" for none.
        resolution: of the images.
        classifier: makes or finds that classifier; NotMeasurable where it cannot be had.

    Raises:
        NotMeasurable: there is neither.
        UsageError: the weights cannot be used.
    """
    if vgg16_weights:
        return vgg16_perceptual(Path(vgg16_weights).expanduser(), resolution, device)
    try:
        found = classifier()
    except NotMeasurable as error:
        raise NotMeasurable(f"{error}; or name torchvision's weights of VGG-16 with {OPTION}") from None
    return classifier_perceptual(found)


def vgg16_perceptual(path: Path, resolution: int, device: torch.device) -> Perceptual:
    """VGG-16 with the weights in a file of ``torch.save``; a UsageError says why it cannot be had."""
    if resolution < SMALLEST:
        raise UsageError(f"{OPTION} {path}: VGG-16 sees images of at least {SMALLEST}x{SMALLEST}, not {resolution}")
    if not path.is_file():
        raise UsageError(f"{OPTION} {path} is no file")
    if _is_torchscript(path):
        raise UsageError(f"{OPTION} {path} is TorchScript, which is code: give the state dict of torchvision's vgg16")
    try:
        state = read_torch(path)
        if not isinstance(state, dict):
            raise ValueError("holds no tensors by name")
        network = Vgg16(state).to(device)
    except ValueError as error:
        raise UsageError(f"{OPTION} {path}: {error}") from None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]  # torchvision's files are named by it
    name = f"vgg16-{digest}"
    return Perceptual(name, {"name": name, "weights": digest}, network)


def classifier_perceptual(features: Features) -> Perceptual:
    """All maps of a trained classifier; its own features are means of the last ones alone."""
    network = features.network
    if not isinstance(network, Classifier):
        raise UsageError(f"{features.description['name']} has no maps to compare")

    def embed(images: Tensor) -> Tensor:
        if images.shape[-1] > network.resolution:
            images = F.avg_pool2d(images, images.shape[-1] // network.resolution)
        channels = network.body[0][0].in_channels
        return unit_features(network.maps(images.expand(-1, channels, -1, -1)))

    name = f"{features.description['name']}-maps"
    return Perceptual(name, {**features.description, "name": name}, embed)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
