"""What networks of the StyleGAN authors' code were made with, as arguments of ours: what no tensor says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIXED: Mapping[str, Any] = {
    "activation": "lrelu",
    "lr_multiplier": 0.01,
    "normalize_latents": True,
    "mbstd_num_channels": 1,
    "output_scale": 0.25,
    "skip_layers": (),
    "embed_features": None,
    "layer_features": None,
}
"""Their arguments that have one value here."""
INNER = ("mapping_kwargs", "synthesis_kwargs", "block_kwargs", "epilogue_kwargs")


def from_arguments(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the networks of :mod:`models.stylegan2` and :mod:`models.stylegan3`.

    Args:
        theirs: arguments by keyword of a generator or a discriminator there, such as a pickle holds them.

    Returns:
        "half", "clamp", "group_size" and "magnitude_beta", of which a network of ours takes some. Shapes are the
        tensors' to say. Where nothing is said, they are those of StyleGAN3's code; that of StyleGAN2-ADA says them.

    Raises:
        ValueError: naming an argument that has another value than is known here.
    """
    flat = dict(theirs)
    for name in INNER:
        flat |= theirs.get(name) or {}
    for name, value in FIXED.items():
        said = flat.get(name, value)
        if (tuple(said) if isinstance(said, list) else said) != value:
            raise ValueError(f"{name}={said!r} is not known here: it is {value!r}")
    return {
        "half": flat.get("num_fp16_res", 4),
        "clamp": flat.get("conv_clamp", 256),
        "group_size": flat.get("mbstd_group_size", 4),
        "magnitude_beta": flat.get("magnitude_ema_beta", 0.999),
    }
