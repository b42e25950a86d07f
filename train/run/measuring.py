"""What a run is measured against, and how on its way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from train.data import ImageSet, load_images
from train.engine.parallel import make_alike
from train.measure.evaluator import Evaluator
from train.measure.measurable import plan
from train.measure.real_side import RealImages
from train.measure.samples import drawn
from train.run.options import TrainConfig


def real_images(config: TrainConfig, images: ImageSet | None = None) -> ImageSet:
    """What a run is measured against: its data with seed 0 and nothing left out, so that runs can be compared.

    ``images`` are those that the run was trained on, if they are at hand.
    """
    if images is not None and not config.data_size and (config.seed == 0 or config.data != "glyphs"):
        return images
    return load_images(
        config.data, config.resolution, data_root=config.data_root, download=config.download, resize=config.resize
    )


def follow(
    config: TrainConfig, images: ImageSet, device: torch.device
) -> tuple[Callable[[nn.Module], dict[str, Any]], list[str]]:
    """What a run is measured with on its way: a function of the averaged generator, as :meth:`Evaluator.measure`; and
    lines about what is left out.

    Seeds are 0 whatever the run's own is: all runs are measured alike, and as ``train.evaluate`` does.
    """
    count = config.metrics_images
    real = RealImages(real_images(config, images), count)
    planned = plan(config.metrics, real, count, config.inception_weights, device, config.kid_subset)
    if planned.features:
        make_alike(planned.features.parameters.values())  # another machine has trained another classifier
    evaluator = Evaluator(planned, real)

    def evaluate(generator: nn.Module) -> dict[str, Any]:
        return evaluator.measure(drawn(generator, "samples", count, config.resolution, 0, real, device))

    return evaluate, planned.notes()
