"""The real side of a comparison: images, or statistics of them that were stored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from gan_ops.metrics import FrechetDistance
from train.data import ImageSet
from train.measure.cached import cached
from train.measure.features import Features, choose_features, own_classifier
from train.measure.samples import Samples, batches_of, chosen, digest


class RealSide(Protocol):
    """What generated images are compared with."""

    name: str
    count: int | None  # images; None if it is not known
    resolution: int  # height and width to compare at
    channels: int
    labels: Tensor | None  # int64 [M]: classes as frequent as in the data, of all of it
    num_classes: int
    class_names: Sequence[str] = ()
    classes: Tensor | None = None  # int64 [count]: of each image that is compared with
    samples: Samples | None = None  # the images, where they are at hand

    def lacks(self, metric: str) -> str | None:
        """Why a metric cannot be measured with this, if it cannot be however many images there are."""
        return None

    def choose_features(self, inception_weights: str, device: torch.device) -> Features:
        """The network to compare with; NotMeasurable if there is none, UsageError if it cannot be used."""

    def choose_classifier(self, device: torch.device) -> Features:
        """The network that tells classes apart; NotMeasurable if there is none."""

    def features(self, network: Features) -> Tensor:
        """[count, L] of the images."""

    def statistics(self, network: Features) -> dict[str, Tensor]:
        """Mean and covariance of the features, as `FrechetDistance.load_real` takes them."""

    def describe(self) -> dict[str, Any]:
        """What a result says of it, plain types."""


class RealImages(RealSide):
    """At most ``count`` images of a set, chosen by ``seed``. Features are computed once and kept on disk."""

    def __init__(self, images: ImageSet, count: int, seed: int = 0) -> None:
        self.images = images
        self.samples = chosen(images, count, seed)
        self.name, self.count = images.name, self.samples.count
        self.resolution, self.channels = images.resolution, images.channels
        self.labels, self.num_classes = images.labels, images.num_classes
        self.class_names, self.classes = images.class_names, self.samples.labels
        self._features: Tensor | None = None
        self._statistics: dict[str, Tensor] | None = None

    def choose_features(self, inception_weights: str, device: torch.device) -> Features:
        return choose_features(self.images, inception_weights, device)

    def choose_classifier(self, device: torch.device) -> Features:
        return own_classifier(self.images, device)

    def features(self, network: Features) -> Tensor:
        if self._features is None:
            weights = network.description["weights"]
            of = f"{digest(self.samples)} {weights} {network.device.type}"

            def compute() -> dict[str, Any]:
                parts = [network.compute(batch)[0].cpu() for batch in batches_of(self.samples)]
                return {"features": torch.cat(parts)}

            self._features = cached("features", hashlib.sha256(of.encode()).hexdigest()[:32], compute)["features"]
        return self._features

    def statistics(self, network: Features) -> dict[str, Tensor]:
        if self._statistics is None:
            distance = FrechetDistance()
            distance.update(self.features(network), real=True)
            self._statistics = distance.real_statistics()
        return self._statistics

    def describe(self) -> dict[str, Any]:
        return {"real": self.count, "labels": self.images.describe_labels()}
