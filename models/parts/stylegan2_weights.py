"""Networks of the StyleGAN2-ADA authors' PyTorch code, as those of :mod:`models.stylegan2`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

ENDS = ("weight", "bias", "affine.weight", "affine.bias")
"""Of the names of a layer's tensors, there and here."""


def from_authors(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments and state of the generator or discriminator of :mod:`models.stylegan2` that a network of theirs is.

    What tensors do not say has its default: how many resolutions are in half precision, the bound of maps, the size of
    a group of the minibatch standard deviation.

    Args:
        state: its tensors by their names there, such as ``synthesis.b8.conv0.affine.weight``; those of other names are
            not read.

    Raises:
        ValueError: if it is no such network, or of another architecture, or another filter resamples.
    """
    generates = "synthesis.b4.const" in state
    pattern = r"synthesis\.b(\d{1,5})\." if generates else r"b(\d{1,5})\."
    heights = sorted({int(found[1]) for name in state if (found := re.match(pattern, name))})
    if not heights or heights != [4 << i for i in range(len(heights))]:
        raise ValueError("these are not the tensors of a StyleGAN2's generator or discriminator")
    try:
        return _generator(state, heights) if generates else _discriminator(state, heights)
    except KeyError as error:
        raise ValueError(f"there is no {error.args[0]}: this is no StyleGAN2 that is known here") from None


def _generator(state: Mapping[str, Tensor], heights: list[int]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    own = {"basis": state["synthesis.b4.const"][None], "mapping.average.mean": state["mapping.w_avg"]}
    layers = mapping_layers(state, own)
    for i, height in enumerate(heights):
        there = f"synthesis.b{height}"
        for conv, place in (("conv0", 2 * i - 1), ("conv1", 2 * i)) if i else (("conv1", 0),):
            own |= {f"convs.{place}.{end}": state[f"{there}.{conv}.{end}"] for end in ENDS}
            own[f"convs.{place}.noise.strength"] = state[f"{there}.{conv}.noise_strength"]
            own[f"convs.{place}.noise.constant"] = state[f"{there}.{conv}.noise_const"]
        own |= {f"to_rgb.{i}.{end}": state[f"{there}.torgb.{end}"] for end in ENDS}
        check_filter(state, f"{there}.resample_filter")
    if "synthesis.b8.skip.weight" in state:
        raise ValueError("synthesis.b8.skip.weight: a residual generator is not known here")
    classes = state["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in state else 0
    w_dim = len(own["mapping.average.mean"])
    options = {
        "widths": [state[f"synthesis.b{height}.conv1.weight"].shape[0] for height in heights],
        "image_channels": len(own["to_rgb.0.bias"]),
        "latent_dim": own["mapping.layers.0.weight"].shape[1] - (w_dim if classes else 0),
        "w_dim": w_dim,
        "mapping_layers": layers,
        "num_classes": classes,
    }
    return options, own


def _discriminator(state: Mapping[str, Tensor], heights: list[int]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    own: dict[str, Tensor] = {}
    large_to_small = heights[:0:-1]
    first = large_to_small[0] if large_to_small else 4
    residual = f"b{first}.skip.weight" in state
    own |= {f"from_rgb.{end}": state[f"b{first}.fromrgb.{end}"] for end in ("weight", "bias")}
    for i, height in enumerate(large_to_small):
        if i and f"b{height}.fromrgb.weight" in state:
            raise ValueError(f"b{height}.fromrgb.weight: a discriminator of images of all sizes is not known here")
        for conv in ("conv0", "conv1"):
            own |= {f"blocks.{i}.{conv}.{end}": state[f"b{height}.{conv}.{end}"] for end in ("weight", "bias")}
        if residual:
            own[f"blocks.{i}.skip.weight"] = state[f"b{height}.skip.weight"]
        check_filter(state, f"b{height}.resample_filter")
    for theirs, ours in (("conv", "conv"), ("fc", "dense"), ("out", "out")):
        own |= {f"{ours}.{end}": state[f"b4.{theirs}.{end}"] for end in ("weight", "bias")}
    options: dict[str, Any] = {
        "widths": [len(state["b4.out.weight"].t()), *(len(state[f"b{h}.conv0.weight"]) for h in heights[1:])],
        "image_channels": own["from_rgb.weight"].shape[1],
        "residual": residual,
    }
    if "mapping.embed.weight" in state:
        if mapping_layers(state, own) != 8:
            raise ValueError("mapping: a discriminator's has 8 layers here")
        options |= {"num_classes": state["mapping.embed.weight"].shape[1], "condition": "projection"}
    return options, own


def mapping_layers(state: Mapping[str, Tensor], own: dict[str, Tensor]) -> int:
    """Takes the mapping network's layers over into ``own``, and counts them; KeyError if there is none."""
    count = 0
    while f"mapping.fc{count}.weight" in state or not count:
        own |= {f"mapping.layers.{count}.{end}": state[f"mapping.fc{count}.{end}"] for end in ("weight", "bias")}
        count += 1
    if "mapping.embed.weight" in state:
        own |= {f"mapping.embed.{end}": state[f"mapping.embed.{end}"] for end in ("weight", "bias")}
    return count


def check_filter(state: Mapping[str, Tensor], name: str) -> None:
    """ValueError if it is another filter than the one that there is here."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    if state[name].shape != (4, 4) or not torch.allclose(state[name].float(), torch.outer(taps, taps), atol=1e-6):
        raise ValueError(f"{name} is not the filter [1, 3, 3, 1]")
