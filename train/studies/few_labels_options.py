"""Options and presets of ``python -m train.studies.few_labels``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from torch import nn

from models.semi_supervised import Classifier, ConvClassifier, ConvGenerator, DenseClassifier, DenseGenerator
from train.base.errors import UsageError
from train.base.values import Range, Runs, Seed
from train.run.options import check_at_least, option_value, parse_options


@dataclass(frozen=True)
class SemiOptions:
    """Test errors of a GAN that learns to classify from few labels (Salimans et al. 2016, §5, §6.1 to §6.3)."""

    preset: str = "digits"
    """Data, networks and the other options' defaults: digits, glyphs, mnist (§6.1), cifar10 (§6.2), svhn (§6.3)."""
    labels: tuple[int, ...] = (20, 50, 100, 200)
    """Total numbers of labelled images to compare, equally many of each class (§6.1: 20 50 100 200)."""
    repeats: Runs = 10
    """Number of random choices of the labelled images; each trains new networks (§6: 10)."""
    seed: Seed = 0
    """Seed of the first repeat: of its choice of labels, initial weights and training."""
    ensemble: Annotated[int, Range(0, 1000)] = 0
    """Adds a row: averaged probabilities of this number of networks with the same labels (§6.1: 10; 0: none)."""
    baselines: bool = False
    """Also test the network on the labels alone, LabelSpreading and LogisticRegression, on the same splits."""
    generator_loss: Literal["feature-matching", "adversarial"] = "feature-matching"
    """G's loss: distance of mean features (§3.1), or non-saturating with minibatch discrimination (§3.2)."""
    epochs: int = 300
    """Passes over all images (authors' code: 300 for MNIST, 1200 for CIFAR-10, 900 for SVHN)."""
    batch: int = 100
    """Images of each kind in a step: labelled, unlabelled and generated (authors' code: 100)."""
    lr: float = 0.003
    """Learning rate of Adam with β₁ 0.5, for both networks (authors' code: 0.003 for MNIST, 0.0003 for the others)."""
    lr_decay: float = 0.0
    """Last fraction of the training, in which lr falls to 0 (authors' code: 0 for MNIST, 1/3 for the others)."""
    unlabelled_weight: float = 1.0
    """Weight of D's loss on unlabelled and generated images, half a cross-entropy (authors' code: 1; §5: 2)."""
    averaging: float = 0.0001
    """Rate of the moving average of D's weights, which is tested (authors' code: 0.0001)."""
    out: Path | None = None
    """Folder for the results; those that are there already are reused (default: runs/semi_supervised-<preset>)."""
    jobs: Runs = 1
    """Networks to train at the same time, in processes that share the CPU threads."""
    data_root: Path = Path("data")
    """Folder of torchvision's datasets, also for downloads."""
    download: bool = False
    """Download a torchvision dataset that is not in data-root."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N (auto: a GPU if there is one)."""
    json: bool = False
    """Print JSON with the test error of every network instead of a table."""

    def what_results_depend_on(self) -> dict[str, Any]:
        """What one result depends on beside its method, labels, seed and member, as JSON has it."""
        names = ("preset", "epochs", "batch", "lr", "lr_decay", "unlabelled_weight", "averaging", "generator_loss")
        networks = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(NETWORKS[self.preset]).items()}
        return {**{name: getattr(self, name) for name in names}, "networks": networks}


@dataclass(frozen=True)
class Dense:
    """Networks of §6.1, for images in [0, 1]."""

    hidden: tuple[int, ...] = (1000, 500, 250, 250, 250)
    generator_hidden: tuple[int, ...] = (500, 500)
    input_noise: float = 0.3
    noise: float = 0.5

    def build(self, shape: tuple[int, int, int], num_classes: int, compare_batch: bool) -> tuple[Classifier, nn.Module]:
        """Discriminator and generator for images [C, H, W]."""
        channels, height, width = shape
        classifier = DenseClassifier(
            channels * height * width,
            num_classes,
            hidden=self.hidden,
            input_noise=self.input_noise,
            noise=self.noise,
            compare_batch=compare_batch,
        )
        return classifier, DenseGenerator(shape, hidden=self.generator_hidden)


@dataclass(frozen=True)
class Convolutional:
    """Networks of §6.2, for images in [−1, 1]."""

    width: int
    generator_width: int = 512

    def build(self, shape: tuple[int, int, int], num_classes: int, compare_batch: bool) -> tuple[Classifier, nn.Module]:
        """Discriminator and generator for images [C, H, W]."""
        channels, resolution, _ = shape
        classifier = ConvClassifier(channels, num_classes, width=self.width, compare_batch=compare_batch)
        return classifier, ConvGenerator(resolution, channels, width=self.generator_width)


NETWORKS: Mapping[str, Dense | Convolutional] = {
    "digits": Dense(hidden=(300, 150, 100), generator_hidden=(200, 200), input_noise=0.2, noise=0.15),
    "glyphs": Convolutional(width=16, generator_width=64),
    "mnist": Dense(),
    "svhn": Convolutional(width=64),
    "cifar10": Convolutional(width=96),
}

_PAPERS_IMAGES = {"lr": 0.0003, "lr_decay": 1 / 3}

PRESETS: Mapping[str, SemiOptions] = {
    # 2000 steps, some 12 seconds of one core.
    "digits": SemiOptions(epochs=100, batch=50, lr_decay=1 / 3, averaging=0.01),
    # Some four minutes of one core; docs/semi_supervised.md says how both were chosen.
    "glyphs": SemiOptions(
        preset="glyphs", labels=(180, 360, 720), repeats=3, epochs=60, lr_decay=1 / 3, averaging=0.01
    ),
    "mnist": SemiOptions(preset="mnist"),
    "svhn": SemiOptions(preset="svhn", labels=(500, 1000, 2000), epochs=900, **_PAPERS_IMAGES),
    "cifar10": SemiOptions(preset="cifar10", labels=(1000, 2000, 4000, 8000), epochs=1200, **_PAPERS_IMAGES),
}


def parse_command_line(args: list[str], prog: str) -> SemiOptions:
    """The options in force.

    Raises:
        UsageError: for an unknown option or preset, a bad value, or options that contradict each other.
    """
    preset = option_value(args, "--preset") or "digits"
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}: there are {', '.join(PRESETS)}")
    options = parse_options(SemiOptions, args, prog=prog, default=PRESETS[preset])
    _check(options)
    return options


def _check(options: SemiOptions) -> None:
    if not options.labels:
        raise UsageError("labels: name at least one number of labelled images")
    check_at_least(options, 1, "epochs", "batch")
    if options.ensemble < 0 or options.ensemble == 1:
        raise UsageError(f"ensemble={options.ensemble}: an ensemble has at least 2 members (0: no such row)")
    for name, fits in (
        ("lr", 0 < options.lr < math.inf),
        ("lr_decay", 0 <= options.lr_decay <= 1),
        ("averaging", 0 < options.averaging <= 1),
        ("unlabelled_weight", 0 < options.unlabelled_weight < math.inf),
    ):
        if not fits:
            reason = ": without it there is no GAN; --baselines has the network on the labels alone"
            reason = reason if name == "unlabelled_weight" and options.unlabelled_weight <= 0 else ""
            raise UsageError(f"{name}={getattr(options, name)} is out of range{reason}")
    if options.batch == 1:
        raise UsageError("batch=1: batch norm in the generator needs at least 2 images")
    if len(set(options.labels)) < len(options.labels):
        raise UsageError(f"labels: {' '.join(map(str, options.labels))} contains a number twice")
    torchvision = options.preset in ("mnist", "svhn", "cifar10")
    if options.download and not torchvision:
        raise UsageError(f"download: preset {options.preset!r} needs no download")
