"""``python -m train.semi_supervised``: a GAN that classifies, from few labels (Salimans et al. 2016, §5).

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
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from tqdm import trange

from gan_ops.objectives import NonSaturating, feature_matching
from gan_ops.objectives.semi_supervised import labelled_loss, real_score, unlabelled_loss
from models.semi_supervised import Classifier
from train.base.capacity import check_fits
from train.base.device import resolve_device
from train.base.errors import TrainingError, UsageError, run_program
from train.base.seeds import stream_seed
from train.base.values import Seed
from train.data import ShuffledOrder
from train.data.few_labels import SemiData, balanced_labels, load_semi_data
from train.engine.ema import averaged_copy
from train.engine.steps import frozen
from train.run.options import check_at_least, option_value, parse_options
from train.semi_supervised_networks import NETWORKS, probabilities

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
    """The options in force.

    Raises:
        UsageError: for an unknown option or preset, or a bad value.
    """
    preset = option_value(args, "--preset") or "digits"
    if preset not in presets:
        raise UsageError(f"unknown preset {preset!r}: there are {', '.join(presets)}")
    options = parse_options(type(presets[preset]), args, prog=prog, default=presets[preset])
    check_at_least(options, 1, "epochs", "batch")
    for name, fits in (
        ("lr", 0 < options.lr < math.inf),
        ("lr_decay", 0 <= options.lr_decay <= 1),
        ("averaging", 0 < options.averaging <= 1),
        ("unlabelled_weight", 0 < options.unlabelled_weight < math.inf),
    ):
        if not fits:
            alone = ": without it there is no GAN; train.studies.few_labels --baselines has the network on labels alone"
            reason = alone if name == "unlabelled_weight" else ""
            raise UsageError(f"{name}={getattr(options, name)} is out of range{reason}")
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
    options = parse_command_line(PRESETS, sys.argv[1:] if args is None else args, PROG)
    resolve_device(options.device)
    data = load_semi_data(options.preset, options.data_root, options.download)
    check_data(options, data, options.labels)
    tested, _ = train_and_test(options, data, adversary=True, progress=f"{options.labels} labels, seed {options.seed}")
    wrong = int((tested.argmax(1) != data.test_labels).sum())
    result = {"labels": options.labels, "seed": options.seed, "wrong": wrong, "tested": len(tested)}
    if options.json:
        print(json.dumps({**result, "error": wrong / len(tested)}))
    else:
        print(f"{options.labels} labels: {wrong} of {len(tested)} test images wrong, {wrong / len(tested):.2%}")
    return 0


def train_and_test(
    options: SemiOptions, data: SemiData, member: int = 0, *, adversary: bool, progress: str | None = None
) -> tuple[Tensor, Tensor]:
    """Probabilities of the test images' and of the pool's classes [N, K], by a network trained with these options.

    Args:
        member: of an ensemble, whose networks know the same labels and differ in all else.

    Raises:
        TrainingError: if they are not finite.
    """
    networks = NETWORKS[options.preset]
    labelled = balanced_labels(data.pool_labels, options.labels, data.num_classes, options.seed)
    # The same start with and without adversary, but for what is fitted on the images that the network sees (the pool,
    # or the labelled ones alone): hidden layers' scales, which stay, and biases. With the adversarial loss the GAN has
    # minibatch discrimination besides.
    seed = stream_seed(options.seed, "network", member)
    network = train_classifier(options, data, labelled, seed, adversary=adversary, progress=progress)
    tested, pool = (probabilities(network, networks.input_of(part), options.batch) for part in (data.test, data.pool))
    if not (tested.isfinite().all() and pool.isfinite().all()):
        raise TrainingError("the network diverged, its probabilities are not finite")
    return tested, pool


def train_classifier(
    options: SemiOptions,
    data: SemiData,
    labelled: Tensor,
    seed: int,
    *,
    adversary: bool,
    progress: str | None = None,
) -> nn.Module:
    """A network that knows the labels of the images ``labelled`` of the pool alone, its weights averaged, in
    evaluation mode.

    Args:
        labelled: indices into the pool, int64.
        seed: of the networks' start and of all that is drawn.
        adversary: whether it is also a GAN's discriminator on the whole pool. If not, the same network takes as many
            steps on as many labelled images, without minibatch discrimination.
        progress: name of a progress bar on stderr, or None for none.
    """
    torch.manual_seed(seed)
    device, networks = resolve_device(options.device), NETWORKS[options.preset]
    shape = tuple(data.pool.shape[1:])
    compare_batch = adversary and options.generator_loss == "adversarial"
    classifier, generator = networks.build(shape, data.num_classes, compare_batch)
    pool, classes = networks.input_of(data.pool).to(device), data.pool_labels.to(device)
    steps_per_epoch = max(1, len(pool) // options.batch)
    seen = pool if adversary else pool[labelled]
    classifier.to(device).fit_scale(seen[torch.randperm(len(seen))[:FITTED]])
    learner = Learner(classifier, options, steps_per_epoch * options.epochs)
    forger = Optimized(generator.to(device), options, steps_per_epoch * options.epochs) if adversary else None

    with_labels = _batches(labelled, options.batch, stream_seed(seed, "labelled"))
    for_critic, for_generator = (
        _batches(torch.arange(len(pool)), options.batch, stream_seed(seed, part)) for part in ("critic", "generator")
    )
    epochs = trange(
        options.epochs, desc=progress, unit="epoch", delay=3, leave=False, disable=None if progress else True
    )
    for _ in epochs:
        for _ in range(steps_per_epoch):
            batch = next(with_labels)
            images, labels = pool[batch], classes[batch]
            if forger is None:
                learner.step(labelled_loss(learner.network(images).logits, labels))
                continue
            unlabelled = pool[next(for_critic)]
            learner.step(discriminator_loss(learner.network, forger.network, images, labels, unlabelled, options))
            real = pool[next(for_generator)]
            with frozen(learner.parameters):
                forger.step(generator_loss(learner.network, forger.network, real, options))
    return learner.average


def discriminator_loss(
    classifier: Classifier,
    generator: nn.Module,
    images: Tensor,
    labels: Tensor,
    unlabelled: Tensor,
    options: SemiOptions,
) -> Tensor:
    """§5's loss of D: labelled images [N, C, H, W] by their classes, unlabelled and generated ones as such."""
    with torch.no_grad():
        fake = generator(_latents(generator, unlabelled))
    both = torch.stack([images, unlabelled, fake], 1).flatten(0, 1)  # [3N, C, H, W], three minibatches interleaved
    logits, real, generated = classifier(both, batches=3).logits.unflatten(0, (-1, 3)).unbind(1)  # 3 × [N, K]
    return labelled_loss(logits, labels) + options.unlabelled_weight * unlabelled_loss(real, generated)


def generator_loss(classifier: Classifier, generator: nn.Module, real: Tensor, options: SemiOptions) -> Tensor:
    """G's loss; real images [N, C, H, W] are what its features are to match."""
    fake = classifier(generator(_latents(generator, real)))
    if options.generator_loss == "adversarial":
        return NonSaturating().generator_loss(real_score(fake.logits))
    with torch.no_grad():
        features = classifier(real).features
    return feature_matching(features, fake.features)


class Optimized:
    """A network and its optimizer; ``steps`` is the length of the whole training, for the learning rate."""

    def __init__(self, network: nn.Module, options: SemiOptions, steps: int) -> None:
        self.network = network.train()
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self._optimizer = torch.optim.Adam(self.parameters, options.lr, BETAS, fused=True)
        decay = options.lr_decay * steps
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: min(1.0, (steps - step) / decay) if decay else 1.0
        )

    def step(self, loss: Tensor) -> None:
        """Down the gradient of a loss."""
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._schedule.step()


class Learner(Optimized):
    """A network whose weights are averaged.

    Attributes:
        average: the network with averaged weights, in evaluation mode. Until the average is 1/rate steps long it is
            over all steps so far, so that nothing of the random start stays in it.
    """

    def __init__(self, network: nn.Module, options: SemiOptions, steps: int) -> None:
        super().__init__(network, options, steps)
        self.average = averaged_copy(network)
        self._rate = options.averaging
        self._steps = 0

    def step(self, loss: Tensor) -> None:
        super().step(loss)
        self._steps += 1
        with torch.no_grad():
            rate = max(self._rate, 1 / self._steps)
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), rate)


def _batches(items: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of the items, each epoch over them in an order of its own."""
    order = ShuffledOrder(len(items), seed)
    while True:
        yield items[order.next(size)]


def _latents(generator: nn.Module, like: Tensor) -> Tensor:
    """Uniform on [0, 1), as in the authors' code: [N, latent_dim] for images [N, …]."""
    return torch.rand(len(like), generator.latent_dim, device=like.device)


if __name__ == "__main__":
    sys.exit(run_program(main))
