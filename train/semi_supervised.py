"""Semi-supervised GAN: the discriminator classifies, from few labels (Salimans et al. 2016, arXiv 1606.03498).

The discriminator tells apart the K classes of the data and one more, "generated", whose logit is always 0. It learns
classes from a few images with labels, and what images look like from all of them.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import torch
from torch import Tensor, nn
from tqdm import trange

from gan_ops.objectives import NonSaturating, feature_matching
from gan_ops.objectives.semi_supervised import labelled_loss, unlabelled_loss
from models.semi_supervised import NETWORKS, Classifier
from train.base import processes
from train.base.capacity import check_fits
from train.base.device import resolve_device
from train.base.errors import TrainingError, UsageError, run_program
from train.base.processes import share_of
from train.base.seeds import stream_seed
from train.base.values import Range, Seed
from train.data import to_float
from train.data.few_labels import PoolLists, SemiData, balanced_labels, load_semi_data
from train.engine.game import Batch, Game, Move, Networks, Role, Stats
from train.engine.precision import Autocast
from train.engine.schedule import Phase, Position, Schedule
from train.engine.trainer import Trainer
from train.run.options import option_value, parse_options

PROG = "python -m train.semi_supervised"
BETAS = 0.5, 0.999
FITTED = 500  # images that weight normalisation's scales are chosen on, as in the authors' code


@dataclass(frozen=True)
class SemiOptions:
    """Trains a GAN that learns to classify from few labels, and prints its test error (Salimans et al. 2016, §5)."""

    preset: str = "digits"
    """Data, networks and the other options' defaults: digits, glyphs, mnist (§6.1), cifar10 (§6.2), svhn (§6.3)."""
    labels: int = 100
    """Number of images that keep their labels, equally many of each class (§6.1: 20 to 200)."""
    seed: Seed = 0
    """Seed of the choice of labels, initial weights and training."""
    generator_loss: Literal["feature-matching", "adversarial"] = "feature-matching"
    """G's loss: distance of mean features (§3.1), or non-saturating with minibatch discrimination (§3.2)."""
    epochs: Annotated[int, Range(1)] = 300
    """Passes over all images (authors' code: 300 for MNIST, 1200 for CIFAR-10, 900 for SVHN)."""
    batch: Annotated[int, Range(1)] = 100
    """Images of each kind in a step: labelled, unlabelled and generated (authors' code: 100)."""
    lr: float = 0.003
    """Learning rate of Adam with β₁ 0.5, for both networks (authors' code: 0.003 for MNIST, 0.0003 for the others)."""
    lr_decay: float = 0.0
    """Last fraction of the training, in which lr falls to 0 (authors' code: 0 for MNIST, 1/3 for the others)."""
    unlabelled_weight: float = 1.0
    """Weight of D's loss on unlabelled and generated images, half a cross-entropy (authors' code: 1; §5: 2)."""
    averaging: float = 0.0001
    """Rate of the moving average of D's weights, which is tested (authors' code: 0.0001)."""
    data_root: Path = Path("data")
    """Folder of torchvision's datasets, also for downloads."""
    download: bool = False
    """Download a torchvision dataset that is not in data-root."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N (auto: a GPU if there is one)."""
    json: bool = False
    """Print JSON."""


_PAPERS_IMAGES = {"lr": 0.0003, "lr_decay": 1 / 3}

PRESETS: Mapping[str, SemiOptions] = {
    # 2000 steps, some 12 seconds of one core.
    "digits": SemiOptions(epochs=100, batch=50, lr_decay=1 / 3, averaging=0.01),
    # Some four minutes of one core; docs/semi_supervised.md says how both were chosen.
    "glyphs": SemiOptions(preset="glyphs", labels=360, epochs=60, lr_decay=1 / 3, averaging=0.01),
    "mnist": SemiOptions(preset="mnist"),
    "svhn": SemiOptions(preset="svhn", labels=1000, epochs=900, **_PAPERS_IMAGES),
    "cifar10": SemiOptions(preset="cifar10", labels=4000, epochs=1200, **_PAPERS_IMAGES),
}

Options = TypeVar("Options", bound=SemiOptions)


def parse_command_line(presets: Mapping[str, Options], args: Sequence[str], prog: str) -> Options:
    """The options in force; UsageError for an unknown option or preset, or a bad value."""
    preset = option_value(args, "--preset") or "digits"
    if preset not in presets:
        raise UsageError(f"unknown preset {preset!r}: there are {', '.join(presets)}")
    options = parse_options(type(presets[preset]), args, prog=prog, default=presets[preset])
    for name, fits in (
        ("lr", options.lr > 0),
        ("lr_decay", 0 <= options.lr_decay <= 1),
        ("averaging", 0 < options.averaging <= 1),
        ("unlabelled_weight", options.unlabelled_weight > 0),  # without it there is no GAN
    ):
        if not fits:
            raise UsageError(f"{name}={getattr(options, name)} is out of range")
    if options.batch == 1:
        raise UsageError("batch=1: batch norm in the generator needs at least 2 images")
    if options.download and options.preset in ("digits", "glyphs"):
        raise UsageError(f"download: preset {options.preset!r} needs no download")
    return options


def check_data(options: SemiOptions, data: SemiData, *labels: int) -> None:
    """UsageError if a batch is too large, or one of these numbers of labels cannot be had."""
    images = 3 * options.batch * data.pool[0].numel()  # of a step, float32
    check_fits(4 * images, resolve_device(options.device), f"batch={options.batch}")
    for count in labels:
        balanced_labels(data.pool_labels, count, data.num_classes, options.seed)


def main(args: Sequence[str] | None = None) -> int:
    with processes.joined():
        with processes.agreeing():
            options = parse_command_line(PRESETS, sys.argv[1:] if args is None else args, PROG)
            if share_of(options.batch) == 1:
                raise UsageError(f"batch={options.batch}: batch norm needs at least 2 images in each process")
            resolve_device(options.device)
            data = load_semi_data(options.preset, options.data_root, options.download)
            check_data(options, data, options.labels)
        named = f"{options.labels} labels, seed {options.seed}"
        tested, _ = train_and_test(options, data, adversary=True, progress=named)
        _show(tested, options, data)
    return 0


def _show(tested: Tensor, options: SemiOptions, data: SemiData) -> None:
    wrong = int((tested.argmax(1) != data.test_labels).sum())
    result = {"labels": options.labels, "seed": options.seed, "wrong": wrong, "tested": len(tested)}
    line = f"{options.labels} labels: {wrong} of {len(tested)} test images wrong, {wrong / len(tested):.2%}"
    print(json.dumps({**result, "error": wrong / len(tested)}) if options.json else line)


def train_and_test(
    options: SemiOptions, data: SemiData, member: int = 0, *, adversary: bool, progress: str | None = None
) -> tuple[Tensor, Tensor]:
    """Probabilities of the test images' and of the pool's classes [N, K], by a network trained with these options.

    Args:
        member: of an ensemble, whose networks know the same labels and differ in all else.
        adversary: whether the network is also a GAN's discriminator on the whole pool. If not, the same network takes
            as many steps on as many labelled images, without minibatch discrimination.
        progress: name of a progress bar on stderr, or None for none.

    Raises:
        TrainingError: if a gradient or a probability is not finite.
    """
    labelled = balanced_labels(data.pool_labels, options.labels, data.num_classes, options.seed)
    # The same start with and without adversary, but for what is fitted on the images that the network sees (the pool,
    # or the labelled ones alone): hidden layers' scales, which stay, and biases. With the adversarial loss the GAN has
    # minibatch discrimination besides.
    trainer = new_trainer(options, data, labelled, stream_seed(options.seed, "network", member), adversary=adversary)
    for _ in trange(options.epochs, desc=progress, unit="epoch", delay=3, leave=False, disable=not progress or None):
        for _ in range(trainer.schedule.total // options.batch // options.epochs):
            trainer.step()
    trainer.average_statistics()
    network, networks = trainer.averages["D"], NETWORKS[options.preset]
    parts = (networks.input_of(to_float(part)) for part in (data.test, data.pool))
    tested, pool = (probabilities(network, part, options.batch) for part in parts)
    with processes.agreeing():
        if trainer.skipped()[0] or not (tested.isfinite().all() and pool.isfinite().all()):
            raise TrainingError("the network diverged")
    return tested, pool


@torch.no_grad()
def probabilities(network: nn.Module, images: Tensor, batch: int) -> Tensor:
    """Softmax over the K classes for images [N, C, H, W] → [N, K], on the CPU.

    Batches are all of one size where there are enough images (the last goes back over some of those before it): with
    minibatch discrimination a sample's classes depend on the size.
    """
    device = next(network.parameters()).device
    result: list[Tensor] = []
    for start in range(0, len(images), batch):
        first = max(0, min(start, len(images) - batch))
        logits = network(images[first : first + batch].to(device)).logits[start - first :]
        result.append(logits.softmax(1).cpu())
    return torch.cat(result)


def new_trainer(options: SemiOptions, data: SemiData, labelled: Tensor, seed: int, *, adversary: bool) -> Trainer:
    """What trains a classifier "D", whose weights are averaged.

    Args:
        labelled: indices of the images of the pool whose labels it is given, int64.
        seed: of the networks' start and of all that is drawn.
    """
    torch.manual_seed(seed)
    device, networks = resolve_device(options.device), NETWORKS[options.preset]
    compare_batch = adversary and options.generator_loss == "adversarial"
    classifier, generator = networks.build(tuple(data.pool.shape[1:]), data.num_classes, compare_batch)
    pool = networks.input_of(to_float(data.pool)).to(device)
    seen = pool if adversary else pool[labelled]
    classifier.to(device).fit_scale(seen[torch.randperm(len(seen))[:FITTED]])
    game = SemiSupervised(classifier, generator.to(device), options) if adversary else Supervised(classifier)
    shown = options.batch * max(1, len(pool) // options.batch) * options.epochs
    # Of an average that moves by the rate in each step.
    half_life = options.batch * math.log(0.5) / math.log1p(-options.averaging) if options.averaging < 1 else 0.0
    phase = Phase(1, False, 0, shown, shown, options.batch, options.batch, options.lr)
    return Trainer(
        game,
        Schedule((phase,), lr_decay=options.lr_decay),
        PoolLists(pool, data.pool_labels.to(device), labelled, seed),
        device=device,
        autocast=Autocast(device),
        ema_kimg={1: half_life / 1000},
        ema_ramp=True,
        seed=seed,
    )


class Supervised(Game):
    """A classifier that learns from images with labels alone."""

    averaged = ("D",)
    sampler = ""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__({"D": classifier})
        self.roles = {"D": Role(("D",), betas=BETAS)}

    def takes(self, count: int, at: Position) -> dict[str, int]:
        return {"labelled": count}

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        return {"D/images": seen["labelled"], "D/labels": seen["classes"]}

    def moves(self, at: Position) -> list[Move]:
        return [Move("D", self.d)]

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        yield labelled_loss(nets.D(b["D/images"]).logits, b["D/labels"])


class SemiSupervised(Supervised):
    """The classifier is a GAN's discriminator too (Salimans et al. 2016, §5)."""

    updates = ("alternating",)

    def __init__(self, classifier: Classifier, generator: nn.Module, options: SemiOptions) -> None:
        super().__init__(classifier)
        self.networks["G"] = generator
        self.roles["G"] = Role(("G",), betas=BETAS)
        self._weight, self._loss = options.unlabelled_weight, options.generator_loss

    def takes(self, count: int, at: Position) -> dict[str, int]:
        return {"labelled": count, "critic": count, "generator": count}

    def draw(self, seen: Batch, count: int, at: Position, random: torch.Generator) -> Batch:
        # Uniform on [0, 1), as in the authors' code.
        z = [torch.rand(count, self.networks["G"].latent_dim, generator=random, device=random.device) for _ in "DG"]
        unlabelled = {"D/unlabelled": seen["critic"], "G/real": seen["generator"]}
        return {**super().draw(seen, count, at, random), **unlabelled, "D/z": z[0], "G/z": z[1]}

    def moves(self, at: Position) -> list[Move]:
        return [Move("D", self.d), Move("G", self.g)]

    def d(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        """§5's loss: labelled images by their classes, unlabelled and generated ones as such."""
        with torch.no_grad():
            fake = nets.G(b["D/z"])
        three = torch.stack([b["D/images"], b["D/unlabelled"], fake], 1).flatten(0, 1)  # [3N, C, H, W], interleaved
        logits, real, generated = nets.D(three, batches=3).logits.unflatten(0, (-1, 3)).unbind(1)  # 3 × [N, K]
        yield labelled_loss(logits, b["D/labels"]) + self._weight * unlabelled_loss(real, generated)

    def g(self, nets: Networks, b: Batch, stats: Stats) -> Iterator[Tensor]:
        """Distance of mean features (§3.1), or the non-saturating loss."""
        fake = nets.D(nets.G(b["G/z"]))
        if self._loss == "adversarial":
            yield NonSaturating().g(fake)
            return
        with torch.no_grad():
            (features,) = nets.D(b["G/real"]).maps
        yield feature_matching(features, fake.maps[0])


if __name__ == "__main__":
    sys.exit(run_program(main))
