"""How a run is measured on its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from train.base import processes
from train.data import ImageSet
from train.engine.parallel import make_alike
from train.measure.evaluator import Evaluator
from train.measure.measurable import plan
from train.measure.real_side import RealImages
from train.measure.samples import drawn, drawn_labels, made
from train.run.lists import real_images
from train.run.options import TrainConfig
from train.run.system import Networks, View


def follow(
    config: TrainConfig, lists: Mapping[str, ImageSet], view: View, device: torch.device, num_classes: int = 0
) -> tuple[Callable[[Networks], dict[str, Any]], list[str]]:
    """What a run is measured with on its way: a function of the averaged networks, as :meth:`Evaluator.measure`; and
    lines about what is left out.

    Seeds are 0 whatever the run's own is: all runs are measured alike, and as ``train.evaluate`` does.

    Args:
        view: what is measured.
        num_classes: of what draws from latents.
    """
    count, resolution = config.metrics_images, config.resolution
    images = {name: real_images(config, name, lists[name]) for name in dict.fromkeys((view.like, view.takes)) if name}
    real = RealImages(images[view.like], count)
    labels = drawn_labels(real, count, 0) if num_classes and real.num_classes else None
    weights, subset = config.inception_weights, config.kid_subset
    planned = plan(config.metrics, real, count, weights, device, subset, labels=labels)
    network = planned.features and planned.features.label
    processes.check_same({"what can be measured": planned.names, "network of features": network})
    for network in {id(network): network for network in (planned.features, planned.classifier) if network}.values():
        make_alike(network.parameters.values())  # another machine has trained another classifier
    evaluator = Evaluator(planned, real)

    def evaluate(networks: Networks) -> dict[str, Any]:
        network = view.network(networks)
        if view.takes:
            samples = made(network, "samples", images[view.takes], count, resolution, 0, device)
        else:
            samples = drawn(network, "samples", count, resolution, 0, real, device)
        return evaluator.measure(samples)

    return evaluate, planned.notes()
