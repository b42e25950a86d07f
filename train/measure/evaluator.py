"""Measures how far sets of images are from real ones, by the metrics of :mod:`gan_ops.metrics`."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy
import torch
from torch import Tensor

import gan_ops
from gan_ops import metrics
from train.base import processes
from train.base.errors import UsageError
from train.measure.measurable import Plan
from train.measure.metric_names import qualified
from train.measure.real_side import RealSide
from train.measure.samples import BATCH, Samples, batches_of

Outputs = dict[str, Tensor]
"""What networks say of images, as far as metrics need it: "features", "logits" and "guesses", the likeliest classes."""
SUBSETS = 100  # that kid draws
PAIRS = 8  # of generated images, the closest, that birthday shows
SWD = {"patches_per_image": 128, "directions": 512}


@dataclass(frozen=True)
class Evaluator:
    """Compares sets of images with the real side."""

    plan: Plan
    real: RealSide
    seed: int = 0  # of patches, directions, splits and subsets

    def measure(self, samples: Samples) -> dict[str, Any]:
        """The metrics of a set of images, and what they were measured with.

        Several processes each draw some of the images and compute their features; the first compares, and all are
        given what it found.

        Returns:
            Plain types. ``metrics``: numbers by name; ``deviations`` of those that are means over splits or subsets;
            ``left_out``: why other metrics were not measured; ``real`` and ``generated``: how many images, ``labels``:
            the real ones', or ``stats``: the file of their statistics; ``resolution``, and ``enlarged_from`` where the
            images were smaller; ``swd_images``: how many of either set swd took; ``msssim_pairs``, ``msssim_scales``
            and ``msssim_error``, the standard error; ``kid_subset`` and ``kid_subsets``: images in each and how many;
            ``birthday``: all that :class:`gan_ops.metrics.BirthdayResult` says, and ``closest``, the places of the
            closest pairs; ``least_of_a_class``: how many images of either set the smallest class of intra-fid has;
            ``classifier``, of accuracy; ``features``, ``seed`` and ``versions``.
        """
        parts = self._parts(samples) if self.plan.names else iter(())
        if not processes.is_first():
            for _ in parts:
                pass
        return processes.from_first(lambda: self._compare(samples, parts))

    def _compare(self, samples: Samples, parts: Iterator[tuple[Tensor | None, Outputs]]) -> dict[str, Any]:
        """What :meth:`measure` gives, of all images and their features."""
        distance, similarity = metrics.SlicedWasserstein(seed=self.seed, **SWD), metrics.MsSsim()
        features = self.plan.features
        in_both = min(samples.count, self.real.count or samples.count)  # swd compares sets of the same size
        outputs: list[Outputs] = []
        for batch, output in parts:
            if "swd" in self.plan.names:
                _add(distance, batch, in_both, real=False)
            if "msssim" in self.plan.names:
                similarity.update(batch)
            outputs.append(output)
        said = {name: torch.cat([output[name] for output in outputs]) for name in (outputs[0] if outputs else ())}
        fake = said.get("features")
        if "swd" in self.plan.names:
            for batch in batches_of(self.real.samples):
                _add(distance, batch, in_both, real=True)

        values: dict[str, float] = {}
        deviations: dict[str, float] = {}
        resolution = self.real.resolution
        about: dict[str, Any] = {"generated": samples.count, **self.real.describe(), "resolution": resolution}
        if samples.size < resolution:
            about["enlarged_from"] = samples.size
        for name in self.plan.names:
            key = qualified(name, features and features.label)
            if name == "swd":
                levels = distance.compute()
                values["swd"] = levels.pop("average")
                values.update({f"swd_{size}": value for size, value in levels.items()})
                about["swd_images"] = in_both
            elif name == "msssim":
                values["msssim"], *others = similarity.compute()
                about["msssim_error"], about["msssim_pairs"], about["msssim_scales"] = others
            elif name == "is":
                values[key], deviations[key] = metrics.inception_score(said["logits"], seed=self.seed)
            elif name == "fid":
                frechet = metrics.FrechetDistance()
                frechet.load_real(self.real.statistics(features))
                frechet.update(fake, real=False)
                values[key] = frechet.compute()
            elif name == "kid":
                sets, size = (fake, self.real.features(features)), self.plan.kid_subset
                kid = metrics.kernel_distance(*sets, subsets=SUBSETS, subset_size=size, seed=self.seed)
                values[key] = kid.mean
                if size < max(map(len, sets)):  # else every subset is the whole set
                    deviations[key] = kid.deviation
                about["kid_subset"], about["kid_subsets"] = size, SUBSETS
            elif name == "pr":
                parts = metrics.precision_recall(self.real.features(features), fake)._asdict()
                values.update({qualified(part, features.label): value for part, value in parts.items()})
            elif name == "birthday":
                found = metrics.birthday(self.real.features(features), fake)
                values[key] = found.support
                closest = metrics.closest_pairs(fake, PAIRS).tolist()
                about["birthday"] = {**found._asdict(), "likely_batch": found.likely_batch, "closest": closest}
            elif name == "intra-fid":
                sets = (fake, samples.labels), (self.real.features(features), self.real.classes)
                parted = [_by_class(some, labels, self.real.num_classes) for some, labels in sets]
                values[key] = fmean(itertools.starmap(metrics.frechet_distance, zip(*parted, strict=True)))
                least = [min(map(len, some)) for some in parted]
                about["least_of_a_class"] = dict(zip(("generated", "real"), least, strict=True))
            elif name == "accuracy":
                classifier = self.plan.classifier
                right = (said["guesses"].cpu() == samples.labels).double().mean()
                values[qualified(name, classifier.label)] = right.item()
                about["classifier"] = classifier.description
        about |= {"features": features and features.description, "seed": self.seed, "versions": versions()}
        return {"metrics": values, "deviations": deviations, "left_out": dict(self.plan.left_out), **about}

    def _parts(self, samples: Samples) -> Iterator[tuple[Tensor | None, Outputs]]:
        """All batches of images in their order (None from other processes where features are enough), and what the
        features' network says of them."""
        every = processes.size()
        network = self.plan.features or self.plan.classifier
        seen = "swd" in self.plan.names or "msssim" in self.plan.names
        mine = self._batches(samples, processes.rank(), every)
        for _ in range(-(-samples.count // (BATCH * every))):
            batch = next(mine, None)
            output = {} if batch is None else self._said_of(batch)
            if every == 1:
                yield batch, output
                continue
            output = {name: part.cpu() for name, part in output.items()}
            for one, its in processes.exchange((batch if seen else None, output)):
                if one is not None or its:
                    yield one, its and {name: part.to(network.device) for name, part in its.items()}

    def _said_of(self, batch: Tensor) -> Outputs:
        features, classifier, said = self.plan.features, self.plan.classifier, {}
        if features:
            said["features"], said["logits"] = features.compute(batch)
        if classifier:
            logits = said["logits"] if classifier is features else classifier.compute(batch)[1]
            said["guesses"] = logits.argmax(1)
        return said

    def _batches(self, samples: Samples, first: int, every: int) -> Iterator[Tensor]:
        """Every ``every``-th batch, with as many channels as the real images have."""
        for batch in batches_of(samples, first, every):
            if batch.shape[1] > self.real.channels:
                raise UsageError(f"{samples.name} is in colour, and {self.real.name} is grey")
            yield batch.expand(-1, self.real.channels, -1, -1)


def _add(distance: metrics.SlicedWasserstein, batch: Tensor, most: int, *, real: bool) -> None:
    """Adds to one of the two sets until it holds ``most`` images."""
    batch = batch[: most - (distance.count_real if real else distance.count_fake)]
    if len(batch):
        distance.update(batch, real=real)


def _by_class(features: Tensor, labels: Tensor, num_classes: int) -> list[Tensor]:
    """Those of each class, [n, L] each."""
    return [features[(labels == number).to(features.device)] for number in range(num_classes)]


def versions() -> dict[str, str]:
    """Of what computes."""
    modules = {module.__name__: module.__version__ for module in (gan_ops, torch, numpy)}
    return {**modules, "python": platform.python_version()}
