"""Training of one classifier from few labels: beside a generator (Salimans et al. 2016, §5), or on the labels alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from tqdm import trange

from gan_ops.objectives import NonSaturating, feature_matching
from gan_ops.objectives.semi_supervised import labelled_loss, real_score, unlabelled_loss
from models.semi_supervised import Classifier
from train.base.seeds import stream_seed
from train.data import ShuffledOrder, to_float
from train.data.few_labels import SemiData
from train.engine.ema import averaged_copy
from train.engine.steps import frozen
from train.studies.few_labels_options import Convolutional, Dense, SemiOptions

BETAS = 0.5, 0.999
FITTED = 500  # images that weight normalisation's scales are chosen on, as in the authors' code


def train_classifier(
    options: SemiOptions,
    networks: Dense | Convolutional,
    data: SemiData,
    labelled: Tensor,
    seed: int,
    *,
    adversary: bool,
    device: torch.device,
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
    shape = tuple(data.pool.shape[1:])
    compare_batch = adversary and options.generator_loss == "adversarial"
    classifier, generator = networks.build(shape, data.num_classes, compare_batch)
    pool, classes = as_input(data.pool, networks).to(device), data.pool_labels.to(device)
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


def as_input(pixels: Tensor, networks: Dense | Convolutional) -> Tensor:
    """uint8 [N, C, H, W] → float32 in the networks' range: [0, 1] for dense ones, [−1, 1] for convolutional ones."""
    images = to_float(pixels)
    return (images + 1) / 2 if isinstance(networks, Dense) else images


def _batches(items: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of the items, each epoch over them in an order of its own."""
    order = ShuffledOrder(len(items), seed)
    while True:
        yield items[order.next(size)]


def _latents(generator: nn.Module, like: Tensor) -> Tensor:
    """Uniform on [0, 1), as in the authors' code: [N, latent_dim] for images [N, …]."""
    return torch.rand(len(like), generator.latent_dim, device=like.device)
