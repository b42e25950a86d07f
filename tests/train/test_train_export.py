"""Generators as files for other programs draw what the checkpoint draws."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from models.norms import G_NORMS
from train import checkpoint, export, generate
from train.errors import run_program
from train.portable import FORMATS, inputs, load_safetensors

PGGAN = {"resolution": 16, "latent_dim": 6, "fmap_base": 32, "fmap_max": 8}
DCGAN = {"resolution": 16, "latent_dim": 6, "width": 4}
CPU = torch.device("cpu")


@pytest.fixture
def save(tmp_path):
    """``save("pggan", PGGAN, grow=(16, 0.3))``: the folder of a run whose newest checkpoint has such a generator."""

    def make(family: str, options: dict, *, grow=None, spoil=False) -> Path:
        torch.manual_seed(0)
        network = generate.FAMILIES[family](**options)
        if grow:
            network.grow(*grow)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
            if spoil:
                parameter.fill_(float("nan"))
        state = {"family": family, "generator_options": options, "trainer": {"ema": network.state_dict()}}
        folder = tmp_path / "run"
        folder.mkdir()
        checkpoint.save(checkpoint.path_for(folder, 1), state)
        return folder

    return make


def export_to(tmp_path: Path, run: Path, name: str, *more: str) -> Path:
    out = tmp_path / "new" / ("generator" + FORMATS[name].suffix)
    assert export.main([str(run), "--format", name, "--out", str(out), *more]) == 0
    return out


def assert_draws_the_same(out: Path, name: str, run: Path) -> None:
    generator = generate.build_generator(*generate.find_checkpoint(run), CPU)
    draw = FORMATS[name].load(out, CPU)
    with torch.no_grad():
        for count in (1, 3, 16):
            given = inputs(generator, count, seed=count)
            expected = generator(*given)
            # Images of an untrained PGGAN reach 5, not 1: the tolerance is a share of the largest value.
            torch.testing.assert_close(draw(*given), expected, rtol=0, atol=1e-5 * max(1, expected.abs().max().item()))


ALL_FORMATS = pytest.mark.parametrize("name", FORMATS)


@ALL_FORMATS
@pytest.mark.parametrize(
    ("options", "grow"),
    [
        pytest.param(PGGAN, (16, 0.0), id="grown"),
        pytest.param(PGGAN, (16, 0.3), id="mid-fade"),
        pytest.param(PGGAN, (8, 0.0), id="not yet grown"),
        pytest.param(PGGAN | {"num_classes": 3}, (16, 0.3), id="labels"),
    ],
)
def test_a_pggan_draws_the_same_in_batches_of_any_size(save, tmp_path, name, options, grow):
    run = save("pggan", options, grow=grow)
    assert_draws_the_same(export_to(tmp_path, run, name), name, run)


@ALL_FORMATS
@pytest.mark.parametrize("norm", G_NORMS)
def test_a_dcgan_with_any_norm_draws_the_same_in_batches_of_any_size(save, tmp_path, name, norm):
    run = save("dcgan", DCGAN | {"norm": norm})
    assert_draws_the_same(export_to(tmp_path, run, name), name, run)


@ALL_FORMATS
def test_a_dcgan_with_weight_norm_and_the_papers_kernel_does(save, tmp_path, name):
    run = save("dcgan", DCGAN | {"weight_norm": True, "kernel_size": 5})
    assert_draws_the_same(export_to(tmp_path, run, name), name, run)
