"""``python -m train.export``: writes a run's generator, or what makes images of images, as a file for other programs.

The files draw what :mod:`train.generate` draws. Those of ONNX and torch.export hold a graph of plain torch operations,
for batches of any size, and need nothing of this repository; safetensors holds the weights.
"""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import torch
import tyro
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.utils import parametrize

import gan_ops
from gan_ops.doctor import float32_proper
from gan_ops.nn import ReferenceSequential
from train.base.device import resolve_device
from train.base.errors import CheckpointError, UsageError, run_program
from train.base.files import write_atomically
from train.measure.pictures import latents
from train.run.options import parse_options
from train.run.restoring import build_view, find_checkpoint, restore_view, view_of

PROG = "python -m train.export"
BATCHES = (1, 3)
"""Sizes of the batches that a file is checked with: others than the one that the graph was recorded with."""
TOLERANCE = 1e-4
"""Largest difference, as a share of the largest value: 8-bit pixels are 80 times as far apart."""


@dataclass(frozen=True)
class Options:
    """Writes the averaged generator of a run to a file for other programs, and checks that it makes the same images."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT_OR_RUN")]
    """A checkpoint, or the folder of a run, whose newest checkpoint is used."""
    format: Literal["onnx", "torch-export", "safetensors"] = "onnx"
    """onnx and torch-export hold the whole network and do not need this repository; safetensors holds the weights."""
    view: str = ""
    """Export what makes images by this view (default: the generator, or the run's first view)."""
    out: Path | None = None
    """File to write (default: generator or the view's name, and .onnx, .pt2 or .safetensors)."""
    device: str = "cpu"
    """Device that a torch-export program will run on: auto, cpu, cuda or cuda:N."""


Draw = Callable[..., Tensor]
"""Makes images of z [N, latent_dim], and of labels int64 [N] where the generator takes them; or of x [N, C, R, R]."""


@dataclass(frozen=True)
class Format:
    """A kind of file: how it is written and read."""

    suffix: str  # of its files' names
    packages: tuple[str, ...]  # what writing needs besides torch
    reader: str  # the package that loading needs
    encode: Callable[[nn.Module, dict[str, Any]], bytes]  # of a generator, which it may change, and its checkpoint
    load: Callable[[Path, torch.device], Draw]


def inputs(generator: nn.Module, count: int, seed: int = 0) -> tuple[Tensor, ...]:
    """``count`` latents on the CPU, and as many labels where the generator takes them; images for one without latents.

    The latter are noise, uniform on [−1, 1).
    """
    if not hasattr(generator, "latent_dim"):
        shape = count, generator.image_channels, generator.resolution, generator.resolution
        return (2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1,)
    z = latents(count, generator.latent_dim, seed)
    return (z, torch.arange(count) % generator.num_classes) if generator.num_classes else (z,)


def _program(generator: nn.Module) -> ExportedProgram:
    """The generator's graph, of plain torch operations, for batches of any size.

    What each call would compute anew is constant there: normalised weights, statistics of a reference batch.
    """
    generator.to(memory_format=torch.contiguous_format)  # torch.export.save warns of other layouts
    for name, module in list(generator.named_modules()):
        if parametrize.is_parametrized(module):
            for tensor in list(module.parametrizations):
                parametrize.remove_parametrizations(module, tensor)
        if isinstance(module, ReferenceSequential):
            generator.set_submodule(name, module.frozen())
    device = next(generator.parameters()).device
    example = tuple(tensor.to(device) for tensor in inputs(generator, 2))
    batch = Dim("batch")
    with gan_ops.use_reference():
        return torch.export.export(generator, example, dynamic_shapes=tuple({0: batch} for _ in example))


def _encode_onnx(generator: nn.Module, description: dict[str, Any]) -> bytes:
    program = _program(generator)
    names = ["z", "labels"] if hasattr(generator, "latent_dim") else ["x"]
    names = names[: len(program.graph_signature.user_inputs)]
    onnx = torch.onnx.export(program, dynamo=True, verbose=False, input_names=names, output_names=["images"])
    return onnx.model_proto.SerializeToString()


def _load_onnx(path: Path, device: torch.device) -> Draw:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def draw(*tensors: Tensor) -> Tensor:
        fed = {name: tensor.cpu().numpy() for name, tensor in zip(names, tensors, strict=True)}
        return torch.from_numpy(session.run(None, fed)[0])

    return draw


def _encode_torch_export(generator: nn.Module, description: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    torch.export.save(_program(generator), content)
    return content.getvalue()


def _load_torch_export(path: Path, device: torch.device) -> Draw:
    with path.open("rb") as file:
        return torch.export.load(file).module()


def _encode_safetensors(generator: nn.Module, description: dict[str, Any]) -> bytes:
    import safetensors.torch

    state = generator.state_dict()
    tensors = {name: value.contiguous() for name, value in state.items() if isinstance(value, Tensor)}
    rest = {name: value for name, value in state.items() if name not in tensors}
    metadata = {
        "system": description["system"],
        "sampler": description["sampler"],
        "view": description["view"],
        "generator_options": json.dumps(description["generator_options"]),
        "state": json.dumps(rest),
    }
    return safetensors.torch.save(tensors, metadata)


def load_safetensors(path: Path | str, device: torch.device | str = "cpu") -> nn.Module:
    """The generator, or what makes images of images, in a file that ``train.export --format safetensors`` has
    written, in evaluation mode.

    Raises:
        CheckpointError: if the file is missing, damaged or none of these.
    """
    import safetensors

    try:
        with safetensors.safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        tensors = tensors | json.loads(about["state"])
        options = json.loads(about["generator_options"])
        # Older versions wrote generators alone, and named no sampler.
        description = {"system": about["system"], "sampler": about.get("sampler", "G"), "view": about.get("view", "")}
    except (OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} holds no generator that train.export has written: {error}") from error
    return restore_view(Path(path), {**description, "generator_options": options}, tensors, torch.device(device))


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxscript"), "onnxruntime", _encode_onnx, _load_onnx),
    "torch-export": Format(".pt2", (), "torch", _encode_torch_export, _load_torch_export),
    "safetensors": Format(".safetensors", ("safetensors",), "safetensors", _encode_safetensors, load_safetensors),
}


@torch.no_grad()
def largest_difference(draw: Draw, generator: nn.Module, device: torch.device) -> float:
    """Between the images of the two, as a share of the largest value, or of 1 where all are smaller."""
    worst = 0.0
    with float32_proper():
        for count in BATCHES:
            given = [tensor.to(device) for tensor in inputs(generator, count)]
            expected, actual = generator(*given).cpu(), draw(*given).cpu()
            difference = (actual - expected).abs().max() / expected.abs().max().clamp(min=1)
            worst = max(worst, float("inf") if difference.isnan() else difference.item())
    return worst


def main(args: Sequence[str] | None = None) -> int:
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    device = resolve_device(options.device)
    form = FORMATS[options.format]
    out = options.out or Path((options.view or "generator") + form.suffix)
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: name a file in it")
    if missing := [package for package in form.packages if not importlib.util.find_spec(package)]:
        raise UsageError(
            f"--format {options.format} needs packages that are not installed: pip install {' '.join(missing)}"
        )
    path, state = find_checkpoint(options.source)
    if options.format != "safetensors" and not view_of(path, state, options.view).is_graph:
        raise UsageError(
            f"--view {options.view} takes gradients, which --format {options.format} cannot hold: choose safetensors"
        )
    generator = build_view(path, state, device, options.view)
    if not all(tensor.isfinite().all() for tensor in generator.parameters()):
        raise CheckpointError(f"checkpoint {path} has weights that are not finite: use an earlier one")
    content = form.encode(build_view(path, state, device, options.view), {**state, "view": options.view})
    checked = ", not checked (pip install onnxruntime to have it checked)"

    def write_and_check(file: BinaryIO) -> None:
        nonlocal checked
        file.write(content)
        file.flush()
        if importlib.util.find_spec(form.reader):
            difference = largest_difference(form.load(Path(file.name), device), generator, device)
            if difference > TOLERANCE:
                raise UsageError(
                    f"the {options.format} file draws images that differ from those of {path} by {difference:.2g}"
                )
            checked = f", checked: draws the same images as the checkpoint, largest difference {difference:.1g}"

    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, write_and_check)
    names = ("z", "labels") if hasattr(generator, "latent_dim") else ("x",)
    shapes = (", ".join(["N", *map(str, given.shape[1:])]) for given in inputs(generator, 1))
    takes = ", ".join(f"{name} [{shape}]" for name, shape in zip(names, shapes, strict=False))
    print(f"{out}: {takes} to images of {generator.resolution}x{generator.resolution}{checked}")
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
