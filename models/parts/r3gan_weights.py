"""Networks of the R3GAN authors' code, as those of :mod:`models.r3gan`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

WHOLE = {
    "AggregationLayer.Layer.weight": "to_rgb",
    "ExtractionLayer.Layer.weight": "from_rgb",
    "EmbeddingLayer.weight": "embed",
}
BLOCK = {f"LinearLayer{i}.Layer.weight": name for i, name in enumerate(("enter", "mix", "leave"), 1)}
BLOCK |= {f"NonLinearity{i}.Bias": name for i, name in enumerate(("enter_bias", "mix_bias"), 1)}
"""Their names of tensors, in the network and in a block, and ours."""


def from_authors(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments and state of the generator or discriminator of :mod:`models.r3gan` that a network of theirs is.

    Args:
        state: its tensors by their names there, such as ``MainLayers.0.Layers.1.LinearLayer2.Layer.weight``; those of
            other names are not read.

    Raises:
        ValueError: if it is no such network, stages differ in what is one number here, or another filter resamples.
    """
    generates = "AggregationLayer.Layer.weight" in state
    own = {ours: state[theirs] for theirs, ours in _names(state, generates).items()}
    mixes = {int(name.split(".")[1]): [] for name in own if name.endswith(".mix")}
    for name, weight in own.items():
        if name.endswith(".mix"):
            mixes[int(name.split(".")[1])].append(weight)
    widths = [len(own.get(f"stages.{i}.0.leave", ())) for i in range(len(mixes))]
    needed = {"basis", "scale", "to_rgb"} if generates else {"basis", "out", "from_rgb"}
    if not mixes or not all(widths) or not needed <= own.keys():
        raise ValueError("these are not the tensors of an R3GAN's generator or discriminator")
    own["basis"] = own["basis"].reshape(1, -1, 4, 4)
    options: dict[str, Any] = {
        "widths": widths if generates else widths[::-1],
        "blocks": _one("blocks", [len(mixes[i]) for i in range(len(widths))]),
        "group_width": _one("group_width", [weight.shape[1] for some in mixes.values() for weight in some]),
        "expansion": _one("expansion", [len(mixes[i][0]) // width for i, width in enumerate(widths)]),
        "image_channels": len(own["to_rgb"]) if generates else own["from_rgb"].shape[1],
    }
    embedding = 0
    if "embed" in own:
        own["embed"] = own["embed"].t().contiguous()
        options["num_classes"], embedding = own["embed"].shape
        options |= {"embedding": embedding} | ({} if generates else {"condition": "projection"})
    return options | ({"latent_dim": own["scale"].shape[1] - embedding} if generates else {}), own


def _names(state: Mapping[str, Tensor], generates: bool) -> dict[str, str]:
    """Their names of the tensors that there are, and ours."""
    names = {theirs: ours for theirs, ours in WHOLE.items() if theirs in state}
    ends = {"Basis": "basis", "Basis.weight": "basis", "LinearLayer.weight": "scale" if generates else "out"}
    for name in state:
        if not (found := re.fullmatch(r"MainLayers\.(\d{1,3})\.Layers\.(\d{1,3})\.(.*)", name)):
            continue
        stage, layer, part = int(found[1]), int(found[2]), found[3]
        if part in BLOCK:
            names[name] = f"stages.{stage}.{layer - generates}.{BLOCK[part]}"  # theirs begin with what changes the size
        elif part == "LinearLayer.Layer.weight":
            names[name] = f"ups.{stage - 1}.weight" if generates else f"downs.{stage}.weight"
        elif part == "Resampler.Kernel":
            _check_filter(name, state[name])
        elif part in ends:
            names[name] = ends[part]
    return names


def _one(name: str, values: list[int]) -> int:
    if len(set(values)) > 1:
        raise ValueError(f"{name} is {', '.join(map(str, values))}, and must be the same everywhere")
    return values[0]


def _check_filter(name: str, kernel: Tensor) -> None:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    if kernel.shape != (4, 4) or not torch.allclose(kernel.float(), torch.outer(taps, taps), atol=1e-6):
        raise ValueError(f"{name} is not the filter [1, 3, 3, 1]")
