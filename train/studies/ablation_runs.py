"""What the ablation measures: its trainings, and real images to compare with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from train.base.device import resolve_device
from train.data import ImageSet
from train.dcgan import DcganConfig
from train.measure.evaluator import Evaluator
from train.measure.measurable import plan
from train.measure.real_side import RealImages
from train.measure.samples import Samples, chosen, chosen_indices
from train.run.lists import real_images, training_images
from train.studies.trainings import METRICS, Scores, scores_of


class Task(NamedTuple):
    """One training, or the real images that those with a seed learn from."""

    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method}, seed {self.seed}"

    def folder(self, out: Path) -> Path:
        """Of the training, in the study's folder ``out``."""
        return out / f"{re.sub('[^a-z]+', '-', self.method.lower()).strip('-')}-{self.seed}"


def real_scores(config: DcganConfig) -> Scores:
    """What the images that a training learns from score, measured as its samples are."""
    reference, count = real_images(config), config.metrics_images
    samples, are_others = real_samples(config, reference)
    device, real = resolve_device(config.device), RealImages(reference, count)
    planned = plan(",".join(METRICS), real, samples.count, config.inception_weights, device)
    evaluation = Evaluator(planned, real).measure(samples)
    scores = scores_of(evaluation["metrics"], evaluation)
    return scores if are_others else scores._replace(distance=None)  # of images from themselves


def real_samples(config: DcganConfig, reference: ImageSet) -> tuple[Samples, bool]:
    """Real images to be measured as a training's samples are, and whether none is among those they are compared with.

    These are ``metrics_images`` of ``reference``, chosen with seed 0.
    """
    count, seed = config.metrics_images, config.seed
    if config.data != "glyphs":  # which are drawn anew for each seed
        others = chosen(reference, count, seed, besides=chosen_indices(reference, count, 0))
        if others.count == count:
            return others, True
    return chosen(training_images(config)["images"], count, seed), config.data == "glyphs"
