"""Generators of the StyleGAN3 authors' code, as those of :mod:`models.stylegan3`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from models.parts.bands import Band, bands, passage
from models.parts.stylegan2_weights import mapping_layers

LAYER = re.compile(r"synthesis\.(L(\d{1,3})_(\d{1,5})_(\d{1,5}))\.weight")
INPUT = {"freqs": "frequencies", "phases": "phases", "weight": "weight"}
AFFINE = {"affine.weight": "affine.weight", "affine.bias": "affine.bias"}
INNER = {"weight": "weight", "bias": "bias", **AFFINE}
"""Their names in a part of the network, and ours."""


def from_authors(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments and state of the generator of :mod:`models.stylegan3` that a network of theirs is.

    What its tensors do not tell, the learning-rate multiplier of the mapping network, the clamp and the scale of the
    output, is taken to be their default.

    Args:
        state: its tensors by their names there, such as ``synthesis.L3_52_512.weight``; those of other names are not
            read.

    Raises:
        ValueError: if it is no such network, or its layers have other bands, filters or widths than any of ours.
    """
    found = sorted((match for name in state if (match := LAYER.fullmatch(name))), key=lambda match: int(match[2]))
    if len(found) < 3 or [int(match[2]) for match in found] != list(range(len(found))):
        raise ValueError("these are not the tensors of a StyleGAN3's generator")
    try:
        return _generator(state, [match[1] for match in found], *([int(m[i]) for m in found] for i in (3, 4)))
    except KeyError as error:
        raise ValueError(f"there is no {error.args[0]}: this is no StyleGAN3 that is known here") from None


def _generator(
    state: Mapping[str, Tensor], names: list[str], sizes: list[int], widths: list[int]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Of layers with these names, sizes and channels."""
    own = {"mapping.average.mean": state["mapping.w_avg"]}
    of_mapping = mapping_layers(state, own)
    for theirs, ours in {**INPUT, **AFFINE}.items():
        own[f"input.{ours}"] = state[f"synthesis.input.{theirs}"]
    for i, name in enumerate(names):
        part = f"convs.{i}" if i < len(names) - 1 else "to_rgb"
        own |= {f"{part}.{ours}": state[f"synthesis.{name}.{theirs}"] for theirs, ours in INNER.items()}
    own["squares.mean"] = torch.stack([state[f"synthesis.{name}.magnitude_ema"] for name in names])
    if not torch.equal(state["synthesis.input.transform"].float(), torch.eye(3)):
        raise ValueError("synthesis.input.transform is not the identity: images would be moved or turned")

    resolution, layers, w_dim = sizes[-1], len(names) - 1, own["input.affine.weight"].shape[1]
    radial = [f"synthesis.{name}.down_filter" for name in names[:-1]]
    radial = any(name in state and state[name].dim() == 2 for name in radial)
    critical, margin = _plan(state, names, sizes, resolution, layers, radial)
    base, most = widths[-2] * resolution, widths[0]
    planned = [round(min(base / band.channels_at, most)) for band in bands(resolution, layers, critical, margin)]
    if planned[:-1] != widths[:-1]:
        there, here = (", ".join(map(str, some[:-1])) for some in (widths, planned))
        raise ValueError(f"the layers' channels are {there}, and by their cutoffs {here}")
    classes = own["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in own else 0
    return {
        "resolution": resolution,
        "image_channels": widths[-1],
        "latent_dim": own["mapping.layers.0.weight"].shape[1] - (w_dim if classes else 0),
        "w_dim": w_dim,
        "num_classes": classes,
        "mapping_layers": of_mapping,
        "channel_base": base,
        "channel_max": most,
        "layers": layers,
        "critical": critical,
        "margin": margin,
        "kernel_size": own["convs.0.weight"].shape[2],
        "radial": radial,
    }, own


def _plan(
    state: Mapping[str, Tensor], names: list[str], sizes: list[int], resolution: int, layers: int, radial: bool
) -> tuple[int, int]:
    """The numbers of critical layers and of samples in the margin with which sizes and filters come out."""
    margin = (sizes[0] - bands(resolution, layers, 1, 0)[0].rate) // 2
    for critical in range(1, layers):
        plan = bands(resolution, layers, critical, max(margin, 0))
        if [band.size for band in plan] != sizes:
            continue
        pairs = enumerate(pairwise([plan[0], *plan[:-1]]))
        if all(_filters_fit(state, names[i], before, after, radial) for i, (before, after) in pairs):
            return critical, margin
    there = ", ".join(map(str, sizes))
    raise ValueError(f"no bands known here give layers of the sizes {there} and their filters")


def _filters_fit(state: Mapping[str, Tensor], name: str, before: Band, after: Band, radial: bool) -> bool:
    _, filters = passage(before, after, radial=radial and not after.critical)
    for kind, filter in zip(("up_filter", "down_filter"), filters, strict=True):
        theirs = state[f"synthesis.{name}.{kind}"]
        if theirs.shape != filter.shape or not torch.allclose(theirs.float(), filter, rtol=0, atol=1e-5):
            return False
    return True
