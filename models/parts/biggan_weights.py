"""Networks of the BigGAN authors' PyTorch code, as those of :mod:`models.biggan`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NAMES = (
    (r"^linear\b", "dense"),
    (r"^shared\b", "embed"),
    (r"^output_layer\.0\b", "norm"),
    (r"^output_layer\.2\b", "to_image"),
    (r"^input_conv\b", "from_image"),
    (r"\bbn(\d)\b", r"norm\1"),
    (r"\btheta\b", "query"),
    (r"\bphi\b", "key"),
    (r"\.g$", ".value"),
    (r"\.o$", ".output"),
)
"""Modules of theirs by regular expressions, and what they are called here."""


def from_authors(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments and state of the generator or discriminator of :mod:`models.biggan` that a network of theirs is.

    Args:
        state: its tensors by their names there, such as ``blocks.0.0.conv1.weight``. What they keep for training alone
            is not read.

    Where they divide a weight by σ they take, in evaluation too, one step of the power iteration from the vector that
    they keep. torch's spectral norm takes none there, so the vectors here are those behind that step.

    Raises:
        ValueError: if it is no such network.
    """
    try:
        generates = "output_layer.2.weight" in state
        options = _generator(state) if generates else _discriminator(state)
        return options, _renamed(state, generates, options["deep"])
    except (AttributeError, LookupError) as error:
        raise ValueError(f"these are not the tensors of a BigGAN's generator or discriminator: {error}") from None


def _generator(state: Mapping[str, Tensor]) -> dict[str, Any]:
    stages, deep = _stages(state)
    resolution = 4 << stages
    gain = state["blocks.0.0.bn1.gain.weight"]
    shared = state.get("shared.weight")
    classes, embedding = (gain.shape[0], 0) if shared is None else shared.shape
    inputs = state["linear.weight"].shape[1]
    hierarchical = not deep and shared is not None and gain.shape[1] > embedding
    return {
        "resolution": resolution,
        "image_channels": len(state["output_layer.2.weight"]),
        "latent_dim": inputs - embedding if deep else inputs * (stages + 1 if hierarchical else 1),
        "width": _width(state["linear.weight"].shape[0] // 16, 4 if resolution <= 32 else 16),
        "num_classes": classes,
        "embedding": embedding,
        "hierarchical": hierarchical,
        "deep": deep,
        "attention": tuple(8 << i for i in _attending(state, stages)),
    }


def _discriminator(state: Mapping[str, Tensor]) -> dict[str, Any]:
    stages, deep = _stages(state)
    # Four blocks at 32 px, of which two halve; above, all but the last. BigGAN-deep begins with a convolution instead.
    resolution = {4: 32, 5: 64, 6: 128, 7: 256}[stages + deep]
    halvings = 2 if resolution == 32 else stages + deep - 1
    first = state["input_conv.weight" if deep else "blocks.0.0.conv1.weight"]
    embed = state.get("embed.weight")
    return {
        "resolution": resolution,
        "image_channels": first.shape[1],
        "width": _width(len(first), 4 if resolution == 32 else 1),
        "condition": "none" if embed is None else "projection",
        "num_classes": 0 if embed is None else len(embed),
        "deep": deep,
        "attention": tuple(sorted({resolution >> min(i + 1, halvings) for i in _attending(state, stages)})),
    }


def _stages(state: Mapping[str, Tensor]) -> tuple[int, bool]:
    """How many stages of blocks there are, and whether they are BigGAN-deep's."""
    stages = 1 + max((int(name.split(".")[1]) for name in state if name.startswith("blocks.")), default=-1)
    if not stages:
        raise KeyError("blocks.0")
    return stages, "blocks.0.0.conv4.weight" in state


def _attending(state: Mapping[str, Tensor], stages: int) -> list[int]:
    """Those with attention."""
    return [i for i in range(stages) if any(re.match(rf"blocks\.{i}\.\d+\.gamma$", name) for name in state)]


def _width(channels: int, times: int) -> int:
    if channels % times:
        raise LookupError(f"{channels} channels are no multiple of {times}")
    return channels // times


def _renamed(state: Mapping[str, Tensor], generates: bool, deep: bool) -> dict[str, Tensor]:
    """The tensors by their names here."""
    ours: dict[str, Tensor] = {}
    for name in state:
        module, _, leaf = name.rpartition(".")
        if re.fullmatch(r"u\d+|sv\d+|accumulation_counter", leaf):
            continue
        tensor = state[name]
        to = _module(module, generates, deep)
        if leaf == "weight" and f"{module}.u0" in state:
            (u,) = state[f"{module}.u0"]
            matrix = tensor.flatten(1)
            v = F.normalize(u @ matrix, dim=0)
            spectral = {"original": tensor, "0._u": F.normalize(matrix @ v, dim=0), "0._v": v}
            ours |= {f"{to}.parametrizations.weight.{part}": value for part, value in spectral.items()}
        elif leaf == "weight" and to.rpartition(".")[2] in ("embed", "gain", "bias"):
            ours[f"{to}.weight"] = tensor.T  # a table, of a row for each class
        elif leaf in ("stored_mean", "stored_var"):
            statistics = to if to == "norm" else f"{to}.normal"
            ours[f"{statistics}.running_{leaf.removeprefix('stored_')}"] = tensor
            ours[f"{statistics}.num_batches_tracked"] = torch.tensor(0)
        elif to == "norm":
            ours[f"norm.{'weight' if leaf == 'gain' else 'bias'}"] = tensor
        else:
            ours[f"{to}.{leaf}"] = tensor
    return ours


def _module(theirs: str, generates: bool, deep: bool) -> str:
    """What a module of theirs is called here."""
    ours = theirs
    if not generates and theirs in ("linear", "embed"):
        return f"head.{'score' if theirs == 'linear' else 'embed'}"
    for pattern, name in NAMES:
        ours = re.sub(pattern, name, ours)
    ours = re.sub(r"\bconv_sc\b", "more" if deep else "shortcut", ours)
    behind = 2 if deep else 1  # blocks of a stage, behind which its attention is
    return re.sub(rf"^blocks\.(\d+)\.{behind}\b", r"attention.\1", ours)
