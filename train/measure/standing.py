"""Statistics of batch norms that are taken for drawing, and not in training."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from train.base.errors import UsageError
from train.base.seeds import stream_seed
from train.measure.pictures import latents


@torch.no_grad()
def stand(generator: nn.Module, batches: int, batch: int, seed: int, truncation: float = 0.0) -> None:
    """Gives a generator's batch norms standing statistics: means over so many batches, drawn as images are, of the
    means and variances of each (Brock et al. 2019, section 2; there 100 batches).

    Those of training are of the past, and of latents that are not truncated.

    Raises:
        UsageError: there is no batch norm.
    """
    norms = [module for module in generator.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        raise UsageError(f"standing={batches}: this generator has no batch norm, whose statistics it would take")
    device = next(generator.parameters()).device
    random = torch.Generator().manual_seed(stream_seed(seed, "standing labels"))
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # to torch: an average over all batches
        norm.train()
    for i in range(batches):
        z = latents(batch, generator.latent_dim, stream_seed(seed, f"standing {i}"), truncation)
        classes = generator.num_classes
        labels = [torch.randint(classes, (batch,), generator=random).to(device)] if classes else []
        generator(z.to(device), *labels)
    for norm, before in zip(norms, momentum, strict=True):
        norm.momentum = before
        norm.eval()
