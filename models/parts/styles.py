"""The styles of a synthesis network's layers: w for each, truncated, and mixed from two latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.parts.mapping import Mapping


def style_count(generator: nn.Module) -> int:
    """How many styles a generator's images are made of; 0 if it makes them of latents alone.

    A generator of styles has ``mapping``, ``layers``, their number, and ``synthesis``, which takes [N, layers, w_dim].
    """
    return generator.layers if isinstance(getattr(generator, "mapping", None), Mapping) else 0


def styles_of(
    mapping: Mapping,
    z: Tensor,
    labels: Tensor | None,
    layers: int,
    *,
    psi: float = 1.0,
    cutoff: int | None = None,
) -> Tensor:
    """w of latents z [N, L] for each of so many layers: [N, layers, w_dim].

    Args:
        psi: truncation; 1 for none.
        cutoff: the first so many layers alone are truncated; None for all.
    """
    w = mapping(z, labels)
    if psi == 1:
        return w[:, None].expand(-1, layers, -1)
    if cutoff is not None and not 0 <= cutoff <= layers:
        raise ValueError(f"cutoff={cutoff} is not between 0 and the {layers} layers")
    truncated = layers if cutoff is None else cutoff
    some = mapping.truncated(w, psi)[:, None].expand(-1, truncated, -1)
    return torch.cat((some, w[:, None].expand(-1, layers - truncated, -1)), 1)


def mixed(styles: Tensor, others: Tensor, cutoffs: Tensor) -> Tensor:
    """Styles [N, layers, W] up to each sample's cutoff, and ``others`` from there on (style mixing, Karras et al. 2019,
    section 3.1).

    Args:
        cutoffs: int64 [N]; the number of layers or more leaves a sample as it is.
    """
    first = torch.arange(styles.shape[1], device=styles.device) < cutoffs[:, None]  # [N, layers]
    return torch.where(first[:, :, None], styles, others)
