"""Generators as files for other programs draw what the checkpoint draws."""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from models.parts.norms import G_NORMS
from train import export
from train.base.errors import CheckpointError
from train.export import FORMATS, inputs, load_safetensors
from train.run import checkpoint
from train.run.restoring import build_generator, find_checkpoint
from train.run.system import system

from .runs import error_of

PGGAN = {"resolution": 16, "latent_dim": 6, "fmap_base": 32, "fmap_max": 8}
DCGAN = {"resolution": 8, "latent_dim": 6, "width": 4}
DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"
CPU = torch.device("cpu")


@pytest.fixture
def save(tmp_path):
    """``save("pggan", PGGAN, grow=(16, 0.3))``: the folder of a run whose newest checkpoint has such a generator."""

    def make(name: str, options: dict, *, grow=None, spoil=False) -> Path:
        torch.manual_seed(0)
        network = system(name).networks["G"](**options)
        if grow:
            network.grow(*grow)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
            for seed in range(10):  # in training: batch norm's statistics and spectral norm's vectors settle
                network(*inputs(network, 16, seed))
            if spoil:
                parameter.fill_(float("nan"))
        trainer = {"averages": {"G": network.state_dict()}}
        state = {"system": name, "generator_options": options, "sampler": "G", "trainer": trainer}
        folder = tmp_path / "run"
        folder.mkdir()
        checkpoint.save(checkpoint.path_for(folder, 1), state)
        return folder

    return make


def export_to(tmp_path: Path, run: Path, name: str, *more: str) -> Path:
    out = tmp_path / "new" / ("generator" + FORMATS[name].suffix)
    assert export.main([str(run), "--format", name, "--out", str(out), *more]) == 0
    return out


def fails(capsys, *args: str) -> str:
    return error_of(export.main, args, capsys)


def assert_draws_the_same(out: Path, name: str, run: Path) -> None:
    generator = build_generator(*find_checkpoint(run), CPU)
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
        pytest.param(PGGAN, (8, 0.0), id="grown"),
        pytest.param(PGGAN | {"num_classes": 3}, (8, 0.3), id="labels, fading"),
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


def test_the_files_need_nothing_of_this_repository(save, tmp_path, run_python):
    run = save("dcgan", DCGAN | {"norm": "virtual"})
    onnx, program = (export_to(tmp_path, run, name) for name in ("onnx", "torch-export"))
    code = (
        "import sys, torch, onnxruntime\n"
        "z = torch.ones(5, 6)\n"
        f"torch.export.load('{program}').module()(z)\n"
        f"onnxruntime.InferenceSession('{onnx}').run(['images'], {{'z': z.numpy()}})\n"
        "print('gan_ops' in sys.modules)"
    )
    result = run_python("-c", code, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "False\n"), result.stderr


def test_a_reference_batch_is_not_drawn_again_at_every_call(save, tmp_path):
    """Its 64 images would cost more than those that are asked for."""
    out = export_to(tmp_path, save("dcgan", DCGAN | {"norm": "virtual"}), "torch-export")
    graph = torch.export.load(out).graph
    assert sum("conv_transpose" in str(node.target) for node in graph.nodes) == 2


def test_the_documented_ways_to_load_run(save, tmp_path, monkeypatch):
    run = save("pggan", PGGAN | {"num_classes": 3}, grow=(8, 0.3))
    monkeypatch.chdir(tmp_path)
    for name in FORMATS:
        assert export.main([str(run), "--format", name]) == 0
    (example,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    known = {"z": torch.randn(4, 6), "labels": torch.tensor([0, 1, 2, 0])}
    exec(compile(example, DOCUMENT, "exec"), known)
    images = [torch.as_tensor(known[result]) for result in ("from_onnx", "from_torch_export", "from_safetensors")]
    for image in images[:2]:
        torch.testing.assert_close(image, images[2], rtol=0, atol=1e-4)


def test_safetensors_say_how_to_rebuild_the_network(save, tmp_path):
    out = export_to(tmp_path, save("pggan", PGGAN, grow=(8, 0.3)), "safetensors")
    with safetensors.safe_open(out, "pt") as file:
        metadata = file.metadata()
    assert metadata["system"] == "pggan"
    assert json.loads(metadata["generator_options"]) == PGGAN
    assert json.loads(metadata["state"]) == {"_extra_state": {"resolution": 8, "fade": 0.3}}


def other_safetensors(**metadata: str) -> bytes:
    return safetensors.torch.save({"a": torch.ones(1)}, metadata)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"\xff" * 100,
        other_safetensors(),
        other_safetensors(generator_options="{}", state="{}"),
        other_safetensors(system="pggan", generator_options="{}", state="[]"),
    ],
)
def test_another_safetensors_file_is_refused_in_a_line(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.safetensors holds no generator"):
        load_safetensors(tmp_path / "a.safetensors")


def test_a_file_that_draws_something_else_is_not_left_behind(save, tmp_path, monkeypatch, capsys):
    run = save("dcgan", DCGAN)
    right = FORMATS["safetensors"]

    def wrong(generator, description):
        with torch.no_grad():
            generator.layers[1].weight.mul_(1.01)
        return right.encode(generator, description)

    monkeypatch.setitem(FORMATS, "safetensors", dataclasses.replace(right, encode=wrong))
    out = tmp_path / "out" / "g.safetensors"
    message = fails(capsys, str(run), "--format", "safetensors", "--out", str(out))
    assert "the safetensors file draws images that differ from those of" in message
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(("name", "packages"), [("onnx", "onnx onnxscript"), ("safetensors", "safetensors")])
def test_a_missing_package_is_named_with_what_mends_it(save, monkeypatch, capsys, name, packages):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = fails(capsys, str(save("dcgan", DCGAN)), "--format", name)
    assert message == f"error: --format {name} needs packages that are not installed: pip install {packages}"


def test_without_onnxruntime_it_says_that_nothing_was_checked(save, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    export_to(tmp_path, save("dcgan", DCGAN), "onnx")
    assert "not checked (pip install onnxruntime" in capsys.readouterr().out


def test_it_says_what_the_file_takes_and_that_it_was_checked(save, tmp_path, capsys):
    run = save("pggan", PGGAN | {"num_classes": 3}, grow=(8, 0.3))
    out = export_to(tmp_path, run, "safetensors")
    assert capsys.readouterr().out == (
        f"{out}: z [N, 6], labels [N] to images of 8x8, "
        "checked: draws the same images as the checkpoint, largest difference 0\n"
    )


def test_a_generator_that_has_diverged_is_refused(save, capsys):
    message = fails(capsys, str(save("dcgan", DCGAN, spoil=True)), "--format", "safetensors")
    assert "weights that are not finite" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "there is no checkpoint none"),
        (["."], "holds no checkpoint"),
        (["none", "--format", "png"], "png"),
        (["none", "--device", "tpu"], "device='tpu'"),
        (["none", "--out", "."], "--out . is a folder"),
    ],
)
def test_what_cannot_be_exported_is_a_line(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, *arguments)
