"""Measures how far sets of images are from real ones, by the metrics of :mod:`gan_ops.metrics`."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from tqdm import tqdm

import gan_ops
from gan_ops import metrics
from train.cached import cached
from train.config import TrainConfig
from train.data import ImageSet, load_images
from train.errors import UsageError
from train.features import Features, choose_features
from train.metric_names import OF_FEATURES, parse_metrics, qualified
from train.samples import Samples, chosen, digest, drawn

NEEDED = {"swd": 1, "msssim": 4, "is": 10, "fid": 2, "kid": 1000, "pr": 4}
"""Fewest images that a metric can be computed from in its standard protocol."""
SUBSETS = 100  # that kid draws
SWD = {"patches_per_image": 128, "directions": 512}
SMALLEST = {"swd": 16, "msssim": 16}
"""Least height and width of images, where there is one."""


class Evaluator:
    """Compares sets of images with one real set.

    Args:
        names: of metrics, see :mod:`train.metric_names`.
        images: the real set.
        count: how many of them to take, at most.
        features: needed for some of the metrics.
        seed: of the choice of real images, and of patches, directions, splits and subsets.

    Raises:
        UsageError: if the images are too few or too small for a metric.
    """

    def __init__(
        self, names: Sequence[str], images: ImageSet, count: int, features: Features | None, *, seed: int = 0
    ) -> None:
        self._names, self._features, self._seed = names, features, seed
        self._channels, self._resolution = images.channels, images.resolution
        self._real = chosen(images, count, seed)
        check_real(names, images, count)
        self._real_features: Tensor | None = None

    def measure(self, samples: Samples) -> dict[str, Any]:
        """The metrics of a set of images, and what they were measured with.

        Returns:
            Plain types. ``metrics``: numbers by name; ``deviations`` of those that are means over splits or subsets;
            ``real`` and ``generated``: how many images; ``resolution``, and ``enlarged_from`` where the images were
            smaller; ``swd_images``: how many of either set swd took; ``msssim_pairs``, ``msssim_scales`` and
            ``msssim_error``, the standard error; ``features``, ``seed`` and ``versions``.

        Raises:
            UsageError: if there are fewer images than a metric needs.
        """
        check_counts(self._names, generated=samples.count)
        distance, similarity = metrics.SlicedWasserstein(seed=self._seed, **SWD), metrics.MsSsim()
        in_both = min(samples.count, self._real.count)  # swd compares sets of the same size
        outputs: list[tuple[Tensor, Tensor]] = []
        for batch in self._batches(samples):
            if "swd" in self._names:
                _add(distance, batch, in_both, real=False)
            if "msssim" in self._names:
                similarity.update(batch)
            if self._features:
                outputs.append(self._features.compute(batch))
        fake, logits = map(torch.cat, zip(*outputs, strict=True)) if outputs else (None, None)
        if "swd" in self._names:
            for batch in self._batches(self._real):
                _add(distance, batch, in_both, real=True)

        values: dict[str, float] = {}
        deviations: dict[str, float] = {}
        about: dict[str, Any] = {"generated": samples.count, "real": self._real.count, "resolution": self._resolution}
        if samples.size < self._resolution:
            about["enlarged_from"] = samples.size
        for name in self._names:
            key = qualified(name, self._features and self._features.label)
            if name == "swd":
                levels = distance.compute()
                values["swd"] = levels.pop("average")
                values.update({f"swd_{size}": value for size, value in levels.items()})
                about["swd_images"] = in_both
            elif name == "msssim":
                values["msssim"], about["msssim_error"], about["msssim_pairs"], about["msssim_scales"] = (
                    similarity.compute()
                )
            elif name == "is":
                values[key], deviations[key] = metrics.inception_score(logits, seed=self._seed)
            elif name == "fid":
                values[key] = metrics.frechet_distance(self._reference(), fake)
            elif name == "kid":
                values[key], deviations[key] = metrics.kernel_distance(
                    fake, self._reference(), subsets=SUBSETS, seed=self._seed
                )
            elif name == "pr":
                parts = metrics.precision_recall(self._reference(), fake)._asdict()
                values.update({qualified(part, self._features.label): value for part, value in parts.items()})
        about["features"] = self._features and self._features.description
        return {"metrics": values, "deviations": deviations, **about, "seed": self._seed, "versions": versions()}

    def _reference(self) -> Tensor:
        """Features of the real images [N, L], kept on disk under what they were computed from."""
        if self._real_features is None:
            weights = self._features.description["weights"]
            key = hashlib.sha256(f"{digest(self._real)} {weights} {self._features.device.type}".encode()).hexdigest()[
                :32
            ]

            def compute() -> dict[str, Any]:
                return {"features": torch.cat([self._features.compute(b)[0].cpu() for b in self._batches(self._real)])}

            self._real_features = cached("features", key, compute)["features"]
        return self._real_features

    def _batches(self, samples: Samples) -> Iterator[Tensor]:
        """The images with as many channels as the real ones have; progress on stderr."""
        with tqdm(total=samples.count, desc=samples.name, unit="img", delay=3, leave=False, disable=None) as progress:
            for batch in samples.batches():
                if batch.shape[1] > self._channels:
                    raise UsageError(f"{samples.name} is in colour, and {self._real.name} is grey")
                yield batch.expand(-1, self._channels, -1, -1)
                progress.update(len(batch))


def _add(distance: metrics.SlicedWasserstein, batch: Tensor, most: int, *, real: bool) -> None:
    """Adds to one of the two sets until it holds ``most`` images."""
    batch = batch[: most - (distance.count_real if real else distance.count_fake)]
    if len(batch):
        distance.update(batch, real=real)


def check_counts(names: Sequence[str], **counts: int) -> None:
    """UsageError if there are fewer images, such as ``real=500``, than one of the metrics needs."""
    for name in names:
        for kind, count in counts.items():
            if count < NEEDED[name]:
                raise UsageError(f"{name} needs at least {NEEDED[name]} {kind} images, but there are {count}")


def check_real(names: Sequence[str], images: ImageSet, count: int) -> None:
    """UsageError if ``count`` of the real images at most are too few or too small for one of the metrics."""
    check_counts(names, real=min(count, len(images)))
    for name in names:
        if images.resolution < SMALLEST.get(name, 0):
            size = f"{SMALLEST[name]}x{SMALLEST[name]}"
            raise UsageError(f"{name} needs images of at least {size}, not {images.resolution}x{images.resolution}")


def versions() -> dict[str, str]:
    """Of what computes."""
    return {
        "gan_ops": gan_ops.__version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
    }


def real_images(config: TrainConfig, images: ImageSet | None = None) -> ImageSet:
    """What a run is measured against: its data with seed 0 and nothing left out, so that runs can be compared.

    ``images`` are those that the run was trained on, if they are at hand.
    """
    if images is not None and not config.data_size and (config.seed == 0 or config.data != "glyphs"):
        return images
    return load_images(
        config.data, config.resolution, data_root=config.data_root, download=config.download, resize=config.resize
    )


def features_for(
    names: Sequence[str], images: ImageSet, inception_weights: str, device: torch.device
) -> Features | None:
    """The features that the metrics need, if any of them needs features; UsageError as :func:`choose_features` says."""
    return choose_features(images, inception_weights, device) if set(names) & set(OF_FEATURES) else None


def follow(config: TrainConfig, images: ImageSet, device: torch.device) -> Callable[[nn.Module], dict[str, Any]]:
    """What a run is measured with on its way: a function of the averaged generator, as :meth:`Evaluator.measure`.

    Seeds are 0 whatever the run's own is: all runs are measured alike, and as ``train.evaluate`` does.
    """
    names, count = parse_metrics(config.metrics), config.metrics_images
    check_counts(names, generated=count)
    real = real_images(config, images)
    check_real(names, real, count)  # before a classifier is trained for them
    evaluator = Evaluator(names, real, count, features_for(names, real, config.inception_weights, device))

    def evaluate(generator: nn.Module) -> dict[str, Any]:
        return evaluator.measure(drawn(generator, "samples", count, config.resolution, 0, real, device))

    return evaluate
