"""Which metrics can be measured on what there is, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from train.base.errors import NotMeasurable
from train.base.values import is_power_of_two
from train.measure.features import Features
from train.measure.metric_names import AUTO, KID_SUBSET, METRICS, OF_CLASSES, OF_FEATURES, OF_REALS, parse_metrics
from train.measure.real_side import RealSide

NEEDED = {"swd": 1, "msssim": 4, "is": 10, "fid": 2, "pr": 4, "birthday": 2, "intra-fid": 2, "accuracy": 1}
"""Fewest images that a metric can be computed from; kid needs a subset, and intra-fid as many of each class."""
SMALLEST = {"swd": 16, "msssim": 16}
"""Least height and width of images, where there is one."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    names: tuple[str, ...]  # of metrics, in the order asked for
    features: Features | None  # of the network that some of them need
    left_out: Mapping[str, str]  # why the others are not measured, by name
    kid_subset: int = KID_SUBSET  # images in each of kid's subsets
    classifier: Features | None = None  # that names the classes of images, where a metric needs it

    def notes(self) -> list[str]:
        """What is left out and why, a line for each reason."""
        return [f"left out: {reason}" for reason in dict.fromkeys(self.left_out.values())]


def plan(
    wanted: str,
    real: RealSide,
    generated: int,
    inception_weights: str,
    device: torch.device,
    kid_subset: int = KID_SUBSET,
    *,
    labels: Tensor | None = None,
) -> Plan:
    """The metrics in ``wanted``, or with ``auto`` all that can be measured.

    Args:
        generated: how many images are compared with the real ones.
        labels: the classes of these, int64; None for images of no class.
        inception_weights: file of the features' network, see :func:`train.measure.features.choose_features`.

    Raises:
        NotMeasurable: a metric asked for by name cannot be measured, or none can.
        UsageError: a network that is named cannot be used.
    """
    left_out: dict[str, str] = {}

    def leave_out(names: list[str], reason: str, instead: str = "") -> None:
        if wanted.strip() != AUTO:
            raise NotMeasurable(reason + instead)
        left_out.update(dict.fromkeys(names, reason))

    names = parse_metrics(wanted)
    if wanted.strip() == AUTO and (labels is None or not real.num_classes):
        names = tuple(name for name in names if name not in OF_CLASSES)
    for name in names:
        if reason := _obstacle(name, real, generated, kid_subset) or _obstacle_of_classes(name, real, labels):
            leave_out([name], reason)
    features = classifier = None
    if of_features := [name for name in names if name in OF_FEATURES and name not in left_out]:
        try:
            features = real.choose_features(inception_weights, device)
        except NotMeasurable as error:
            without = ",".join(name for name in METRICS if name not in OF_FEATURES)
            reason = f"no features for {', '.join(of_features)}: {error}"
            leave_out(of_features, reason, f"; or ask for --metrics {without}")
    if "accuracy" in names and "accuracy" not in left_out:
        try:
            classifier = real.choose_classifier(device)
        except NotMeasurable as error:
            leave_out(["accuracy"], f"no classifier for accuracy: {error}")
    measured = tuple(name for name in names if name not in left_out)
    if not measured:
        raise NotMeasurable(f"nothing can be measured: {'; '.join(dict.fromkeys(left_out.values()))}")
    if classifier and features and features.description["weights"] == classifier.description["weights"]:
        classifier = features
    why_not = {name: left_out[name] for name in METRICS if name in left_out}
    return Plan(measured, features, why_not, kid_subset, classifier)


def _obstacle(name: str, real: RealSide, generated: int, kid_subset: int) -> str | None:
    """What keeps a metric from being measured, apart from features."""
    if reason := real.lacks(name):
        return reason
    needed = kid_subset if name == "kid" else NEEDED[name]
    counts = {"generated": generated} | ({"real": real.count} if name in OF_REALS else {})
    for kind, count in counts.items():
        if count is not None and count < needed:
            smaller = f": a smaller --kid-subset, such as {max(2, count // 2)}, needs fewer" if name == "kid" else ""
            return f"{name} needs at least {needed} {kind} images, but there are {count}{smaller}"
    if name == "swd" and not is_power_of_two(real.resolution):
        return f"swd needs images of a power of two, not {real.resolution}x{real.resolution}"
    if real.resolution < SMALLEST.get(name, 0):
        least, size = (f"{r}x{r}" for r in (SMALLEST[name], real.resolution))
        return f"{name} needs images of at least {least}, not {size}"
    return None


def _obstacle_of_classes(name: str, real: RealSide, labels: Tensor | None) -> str | None:
    """What keeps a metric of classes from being measured."""
    if name not in OF_CLASSES:
        return None
    if labels is None:
        return f"{name} is of images of classes, and the generated ones have none"
    if not real.num_classes:
        return f"{name} needs labels of the real images, and {real.name} has none"
    if int(labels.max()) >= real.num_classes:
        return f"{name}: a generated image is of class {int(labels.max())}, but {real.name} has {real.num_classes}"
    if name == "intra-fid":
        for kind, some in (("generated", labels), ("real", real.classes)):
            count, number = some.bincount(minlength=real.num_classes).min(0)
            if count < NEEDED[name]:
                which = real.class_names[number] if len(real.class_names) > number else int(number)
                needed = f"{name} needs at least {NEEDED[name]} {kind} images of each class"
                return f"{needed}, and of class {which} there are {count}"
    return None
