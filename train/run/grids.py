"""What a run shows in its grids: the same latents and images every time, and some of the real images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.parts.codes import Codes, OfCodes
from train.base.seeds import stream_seed
from train.data import ImageSet, to_float
from train.engine.trainer import Trainer
from train.measure.code_walks import code_walk
from train.measure.pictures import draw, grid, latents, row_labels, row_names, with_row_names
from train.run.cadence import Cadence
from train.run.system import View


def sample_grid(
    trainer: Trainer, lists: Mapping[str, ImageSet], views: Mapping[str, View], cadence: Cadence, seed: int
) -> Tensor:
    """What the averaged networks make, uint8 [C, H, W], at the size of the run's last images.

    Without views: samples of latents; where each row is of a class, its name stands on the left. For each view: blocks
    of a line of images, what is made of them, and these there and back, or samples of latents. As many blocks as there
    are rows for, at least one of each view.
    """
    averages, device, columns = trainer.averages, trainer.device, cadence.columns
    sampler = averages.get(trainer.game.sampler)
    size = next(iter(lists.values())).resolution
    if not views:
        picture = grid(_samples(sampler, cadence.rows, columns, seed, device), columns, size)
        names = row_names(cadence.rows, range(sampler.num_classes), next(iter(lists.values())).class_names)
        return with_row_names(picture, names) if names else picture
    blocks: list[Tensor] = []
    for number, view in enumerate(views.values()):
        count = max(1, cadence.rows // (3 * len(views)))
        network, images = view.network(averages), lists[view.takes]
        inputs = some(images, count * columns, network.resolution, stream_seed(seed, "inputs", number))
        lines = [inputs, _made(network, inputs, device)]
        if view.back:
            lines.append(_made(view.back(averages), inputs, device))
        elif sampler:
            lines.append(_samples(sampler, count, columns, seed, device))
        # Each [count · columns, C, h, w]: a block has a row of each.
        blocks.append(torch.stack([line.unflatten(0, (count, columns)) for line in lines], 1).flatten(0, 2))
    return grid(torch.cat(blocks), columns, size)


def real_grid(lists: Mapping[str, ImageSet], cadence: Cadence, seed: int) -> Tensor:
    """Some of the images of each list, uint8 [C, H, W]."""
    random = torch.Generator().manual_seed(stream_seed(seed, "reals"))
    count = max(1, cadence.rows // len(lists)) * cadence.columns
    blocks = [images.batch(_indices(images, count, random), images.resolution) for images in lists.values()]
    return grid(torch.cat(blocks), cadence.columns)


def some(images: ImageSet, count: int, resolution: int, seed: int) -> Tensor:
    """So many of the images, uint8 [N, C, r, r]; some of them twice if they are few."""
    return images.batch(_indices(images, count, torch.Generator().manual_seed(seed)), resolution)


def _indices(images: ImageSet, count: int, random: torch.Generator) -> Tensor:
    return torch.randint(len(images), (count,), generator=random)


def _samples(sampler: nn.Module, rows: int, columns: int, seed: int, device: torch.device) -> Tensor:
    """For the same latents every time, uint8 [rows · columns, C, h, w]; with classes, rows or cells go through them,
    and rows through the categories of a first code."""
    z = latents(rows * columns, sampler.latent_dim, stream_seed(seed, "grid")).to(device)
    codes = getattr(sampler, "codes", Codes())
    if codes.categorical:
        return torch.cat(list(draw(OfCodes(sampler), code_walk(codes, 1, z, columns))))
    classes = list(range(sampler.num_classes))
    labels = row_labels(rows, columns, classes).to(device) if classes else None
    return torch.cat(list(draw(sampler, z, labels)))


def _made(network: nn.Module, inputs: Tensor, device: torch.device) -> Tensor:
    return torch.cat(list(draw(network, to_float(inputs).to(device))))
