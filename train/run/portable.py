"""Generators as files for other programs: ONNX, torch.export and safetensors.

The files draw what :mod:`train.generate` draws. The first two hold a graph of plain torch operations, for batches of
any size, and need nothing of this repository.
"""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.utils import parametrize

import gan_ops
from gan_ops.nn import ReferenceSequential
from train.base.errors import CheckpointError
from train.measure.pictures import latents
from train.run.generators import build_generator

__all__ = ["FORMATS", "Draw", "Format", "inputs", "load_safetensors"]

Draw = Callable[..., Tensor]
"""Makes images of z [N, latent_dim], and of labels int64 [N] where the generator takes them."""


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        suffix: of its files' names.
        packages: what writing needs besides torch.
        reader: the package that loading needs.
        encode: a generator, which it may change, and what its checkpoint says of it → the file's content.
        load: the file and the device to draw on → what draws.
    """

    suffix: str
    packages: tuple[str, ...]
    reader: str
    encode: Callable[[nn.Module, dict[str, Any]], bytes]
    load: Callable[[Path, torch.device], Draw]

    def missing(self) -> list[str]:
        """The packages that writing needs and that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]

    def loads_here(self) -> bool:
        """Whether the package that loading needs is installed."""
        return importlib.util.find_spec(self.reader) is not None


def inputs(generator: nn.Module, count: int, seed: int = 0) -> tuple[Tensor, ...]:
    """``count`` latents on the CPU, and as many labels where the generator takes them."""
    z = latents(count, generator.latent_dim, seed)
    return (z, torch.arange(count) % generator.num_classes) if generator.num_classes else (z,)


def _program(generator: nn.Module) -> ExportedProgram:
    """The generator's graph, of plain torch operations, for batches of any size."""
    _make_constant(generator)
    device = next(generator.parameters()).device
    example = tuple(tensor.to(device) for tensor in inputs(generator, 2))
    batch = Dim("batch")
    with gan_ops.use_reference():
        return torch.export.export(generator, example, dynamic_shapes=tuple({0: batch} for _ in example))


def _make_constant(generator: nn.Module) -> None:
    """Computes now what each call would compute anew: normalised weights, statistics of a reference batch."""
    generator.to(memory_format=torch.contiguous_format)  # torch.export.save warns of other layouts
    for name, module in list(generator.named_modules()):
        if parametrize.is_parametrized(module):
            for tensor in list(module.parametrizations):
                parametrize.remove_parametrizations(module, tensor)
        if isinstance(module, ReferenceSequential):
            generator.set_submodule(name, module.frozen())


def _encode_onnx(generator: nn.Module, description: dict[str, Any]) -> bytes:
    program = _program(generator)
    names = ["z", "labels"][: len(program.graph_signature.user_inputs)]
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
        "generator_options": json.dumps(description["generator_options"]),
        "state": json.dumps(rest),
    }
    return safetensors.torch.save(tensors, metadata)


def load_safetensors(path: Path | str, device: torch.device | str = "cpu") -> nn.Module:
    """The generator in a file that ``train.export --format safetensors`` has written, in evaluation mode.

    Raises:
        CheckpointError: if the file is missing, damaged or none of these.
    """
    import safetensors

    try:
        with safetensors.safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        options, rest = json.loads(about["generator_options"]), json.loads(about["state"])
        state = {
            "system": about["system"],
            "generator_options": options,
            "sampler": "G",
            "trainer": {"averages": {"G": tensors | rest}},
        }
    except (OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} holds no generator that train.export has written: {error}") from error
    return build_generator(Path(path), state, torch.device(device))


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxscript"), "onnxruntime", _encode_onnx, _load_onnx),
    "torch-export": Format(".pt2", (), "torch", _encode_torch_export, _load_torch_export),
    "safetensors": Format(".safetensors", ("safetensors",), "safetensors", _encode_safetensors, load_safetensors),
}
