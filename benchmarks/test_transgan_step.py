"""TransGAN's step with the gradient penalty: our attention, and torch's in the same networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.machine import DEVICE
from benchmarks.memory import peak_of
from benchmarks.race import race
from models.parts import transformer
from train.data import ImageSet
from train.engine.trainer import Trainer
from train.transgan import PRESETS, TransganConfig, build_trainer

ON_GPU = DEVICE.type == "cuda"
RESOLUTION = 64
SMALL = {"batch": "4", "latent": 64, "g_width": 256, "g_blocks": "1,1,1,1", "d_width": 128, "d_blocks": 2}
"""Sizes for a CPU."""
CHANGES = {"d_steps": 1, "augment": "none", "ema_kimg": "1", "cuda_graphs": "off", **({} if ON_GPU else SMALL)}
CONFIG = replace(PRESETS["celeba-64"], **CHANGES)


def math_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """torch's only attention that has a second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        return scaled_dot_product_attention(query, key, value, bias)


@contextmanager
def torchs_attention() -> Iterator[None]:
    """Within, networks attend by torch's math backend."""
    with patch.object(transformer, "attention", math_attention):
        yield


def trainer(config: TransganConfig = CONFIG) -> Trainer:
    """Of pictures of noise."""
    size, count = config.resolution, 2 * int(config.batch)
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=random).to(torch.uint8)
    return build_trainer(config, {"images": ImageSet.from_images(pixels)}, DEVICE)[0]


def ours(config: TransganConfig = CONFIG) -> Callable[[], None]:
    made = trainer(config)
    return lambda: (made.step(), None)[1]


def theirs(config: TransganConfig = CONFIG) -> Callable[[], None]:
    made = trainer(config)

    def step() -> None:
        with torchs_attention():
            made.step()

    return step


@pytest.mark.parametrize("precision", ["float32", "bf16"] if ON_GPU else ["float32"])
def test_transformers_step(benchmark: BenchmarkFixture, precision: str) -> None:
    config = replace(CONFIG, precision=precision)
    alternatives = {"ours": ours(config), "math attention": theirs(config)}
    race(
        benchmark,
        "ours",
        alternatives,
        params={
            "resolution": RESOLUTION,
            "batch": int(config.batch),
            "precision": precision,
            "g_width": config.g_width,
            "d_width": config.d_width,
        },
        units={"images": int(config.batch)},
        memory={name: peak_of(call, DEVICE) for name, call in alternatives.items()},
    )
