"""A whole tiny run on a GPU, where there is one."""

from __future__ import annotations

import pytest
import torch

from train.pggan import build_trainer

from .runs import to_the_end

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_a_run_ends_at_the_last_resolution_with_finite_weights(tiny_config, tiny_images, precision: str) -> None:
    device = torch.device("cuda")
    trainer, _ = build_trainer(tiny_config(device="cuda", precision=precision), {"images": tiny_images}, device)
    for network in to_the_end(trainer).game.networks.values():
        assert network.resolution == 8
        for parameter in network.parameters():
            assert parameter.device.type == "cuda" and parameter.isfinite().all()
