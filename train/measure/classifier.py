"""A small classifier of the labelled set in hand: features for its metrics where no Inception weights are at hand.

What it says about images is comparable only with what the same classifier says about others. So its name is part of
every result's, and it is trained once for each set and resolution, with a fixed recipe and seed, and kept.
"""

from __future__ import annotations

import hashlib
import math
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from train.base.errors import NotMeasurable
from train.data import ImageSet, to_float
from train.measure.cached import cached

VERSION = 1  # of the recipe below; part of the name
LARGEST = 32  # images beyond this are seen at this size: more would not train in two minutes on two cores
STEPS, BATCH = 600, 100
LR = 4e-3
FEATURES = 128
HELD_OUT = 2000  # images to measure its accuracy on, at most a tenth of them
LEAST = 0.1  # of what always naming the most frequent class gets wrong, this part at least it has to get right


class Classifier(nn.Module):
    """Convolutions with batch norm down to 4x4, or 3x3, then a hidden layer and class logits.

    Features are the means of the last convolution's maps: the hidden layer has gathered real images into so tight a
    cluster a class that no generated one is ever near, and precision and coverage would say nothing.
    """

    def __init__(self, resolution: int, image_channels: int, num_classes: int) -> None:
        super().__init__()
        self.resolution = resolution
        size, width = resolution, 32 if resolution > 4 else FEATURES
        layers = [_block(image_channels, width, 1)]
        while size > 4:
            size //= 2
            narrow, width = width, min(2 * width, FEATURES) if size > 4 else FEATURES
            layers.append(_block(narrow, width, 2))
            if size == 8:
                layers.append(_block(width, width, 1))
        self.body = nn.Sequential(*layers)
        self.dense = nn.Linear(FEATURES * size * size, 128)
        self.head = nn.Linear(128, num_classes)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images [N, C, R, R] in [-1, 1] → features [N, 128], of mean square 1 over real ones, and logits [N, K]."""
        maps = self.body(x)  # [N, 128, 4, 4]
        logits = self.head(F.relu(self.dense(maps.flatten(1))))
        return maps.mean((2, 3)) / self.scale, logits

    def maps(self, x: Tensor) -> list[Tensor]:
        """What each convolution makes of images, [N, C, H, W] each."""
        maps = []
        for layer in self.body:
            x = layer(x)
            maps.append(x)
        return maps


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def trained_classifier(images: ImageSet) -> tuple[Classifier, dict[str, Any]]:
    """The classifier of a labelled set, from the cache or trained now (under two minutes on two cores).

    Returns:
        The network in evaluation mode on the CPU, and its description: ``name`` (``glyphs-classifier-v1``, or
        ``glyphs-classifier-v1@16`` where it sees fewer than 32 pixels), ``accuracy`` on ``held_out`` images that it was
        not trained on, and ``weights``, a digest: classifiers trained on different machines are not equal to the last
        bit.

    Raises:
        NotMeasurable: it is hardly better than always naming the most frequent class of the held-out images.
    """
    resolution = max(size for size in images.levels if size <= LARGEST)
    pixels = images.level(resolution)
    digest = hashlib.sha256(repr((VERSION, resolution, images.num_classes, list(pixels.shape))).encode())
    for part in pixels.split(4096):
        digest.update(part.contiguous().numpy())
    digest.update(images.labels.numpy())
    name = f"{images.name}-classifier-v{VERSION}" + (f"@{resolution}" if resolution != LARGEST else "")
    held_out = images.labels[_split(len(images))[0]]
    frequency = held_out.bincount().max().item() / len(held_out)
    if frequency == 1:
        raise NotMeasurable(f"the {len(held_out)} images to test {name} on are all of one class: {_INSTEAD}")
    kept = cached("classifiers", digest.hexdigest()[:32], lambda: _train(name, images, resolution))
    # By chance, too, a guess can be right more often; two standard errors more are rare.
    chance = 2 * math.sqrt(frequency * (1 - frequency) / len(held_out))
    if kept["accuracy"] <= frequency + max(chance, LEAST * (1 - frequency)):
        raise NotMeasurable(
            f"{name} classifies {kept['accuracy']:.1%} of {len(held_out)} held-out images correctly, hardly more than"
            f" the {frequency:.1%} that are of the most frequent class: {_INSTEAD}"
        )
    classifier = _fresh(images, resolution)
    classifier.load_state_dict(kept["network"])
    classifier = classifier.eval().requires_grad_(False)
    tested = {"accuracy": kept["accuracy"], "held_out": kept["held_out"], "weights": weights_digest(classifier)}
    return classifier, {"name": name, "length": FEATURES, "input_size": resolution, **tested}


_INSTEAD = "name a file of Inception's weights with --inception-weights"


def _split(count: int) -> tuple[Tensor, Tensor, torch.Generator]:
    """Which of so many images are held out, which are trained on, and what to draw batches with."""
    random = torch.Generator().manual_seed(0)
    order = torch.randperm(count, generator=random)
    held_out = min(HELD_OUT, -(-count // 10))
    return order[:held_out], order[held_out:], random


def _train(name: str, images: ImageSet, resolution: int) -> dict[str, Any]:
    print(f"training {name} on {len(images)} images, once", file=sys.stderr, flush=True)
    held_out, rest, random = _split(len(images))
    network = _fresh(images, resolution)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=STEPS)
    queue = rest[:0]
    for _ in tqdm(range(STEPS), desc=name, unit="step", delay=3, leave=False, disable=None):
        while len(queue) < BATCH:
            queue = torch.cat([queue, rest[torch.randperm(len(rest), generator=random)]])
        batch, queue = queue[:BATCH], queue[BATCH:]
        _, logits = network(_input(images.batch(batch, resolution)))
        optimizer.zero_grad()
        F.cross_entropy(logits, images.labels[batch]).backward()
        optimizer.step()
        schedule.step()

    network.eval()
    right, squares = 0, 0.0
    with torch.no_grad():
        for batch in held_out.split(BATCH):
            features, logits = network(_input(images.batch(batch, resolution)))
            right += int((logits.argmax(1) == images.labels[batch]).sum())
            squares += float(features.double().square().mean(1).sum())
        network.scale.fill_(math.sqrt(squares / len(held_out)))
    accuracy = right / len(held_out)
    print(f"{name} classifies {accuracy:.2%} of {len(held_out)} held-out images correctly", file=sys.stderr, flush=True)
    return {"network": network.state_dict(), "accuracy": accuracy, "held_out": len(held_out)}


def _fresh(images: ImageSet, resolution: int) -> Classifier:
    with torch.random.fork_rng(devices=[]):  # a run that asks for a classifier draws on as if it had not
        torch.manual_seed(0)
        network = Classifier(resolution, images.channels, images.num_classes)
    return network.to(memory_format=torch.channels_last)


def _input(pixels: Tensor) -> Tensor:
    return to_float(pixels).contiguous(memory_format=torch.channels_last)


def weights_digest(network: nn.Module) -> str:
    """The first 12 hexadecimal digits of a SHA-256 over a network's parameters and buffers."""
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()[:12]
