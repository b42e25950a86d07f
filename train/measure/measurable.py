"""Which metrics can be measured on what there is, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from train.base.errors import NotMeasurable
from train.measure.features import Features
from train.measure.metric_names import AUTO, KID_SUBSET, METRICS, OF_FEATURES, OF_REALS, parse_metrics
from train.measure.real_side import RealSide

NEEDED = {"swd": 1, "msssim": 4, "is": 10, "fid": 2, "pr": 4, "birthday": 2}
"""Fewest images that a metric can be computed from; kid needs a subset."""
SMALLEST = {"swd": 16, "msssim": 16}
"""Least height and width of images, where there is one."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    names: tuple[str, ...]  # of metrics, in the order asked for
    features: Features | None  # of the network that some of them need
    left_out: Mapping[str, str]  # why the others are not measured, by name
    kid_subset: int = KID_SUBSET  # images in each of kid's subsets

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
) -> Plan:
    """The metrics in ``wanted``, or with ``auto`` all that can be measured.

    Args:
        generated: how many images are compared with the real ones.
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
    for name in names:
        if reason := _obstacle(name, real, generated, kid_subset):
            leave_out([name], reason)
    features = None
    if of_features := [name for name in names if name in OF_FEATURES and name not in left_out]:
        try:
            features = real.choose_features(inception_weights, device)
        except NotMeasurable as error:
            without = ",".join(name for name in METRICS if name not in OF_FEATURES)
            reason = f"no features for {', '.join(of_features)}: {error}"
            leave_out(of_features, reason, f"; or ask for --metrics {without}")
    measured = tuple(name for name in names if name not in left_out)
    if not measured:
        raise NotMeasurable(f"nothing can be measured: {'; '.join(dict.fromkeys(left_out.values()))}")
    return Plan(measured, features, {name: left_out[name] for name in METRICS if name in left_out}, kid_subset)


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
    if real.resolution < SMALLEST.get(name, 0):
        least, size = (f"{r}x{r}" for r in (SMALLEST[name], real.resolution))
        return f"{name} needs images of at least {least}, not {size}"
    return None
