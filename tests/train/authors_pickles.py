"""Writes pickles as the authors' code of StyleGAN2-ADA, StyleGAN3 and R3GAN writes them, without that code."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

SOURCE = "import os\nos.mkdir('source-was-run')\nraise RuntimeError('source was run')\n"
"""Of the module that a persistent class is of; whoever executes it leaves a trace."""


class EasyDict(dict):
    """A dict with attributes."""

    __module__, __qualname__ = "dnnlib.util", "EasyDict"

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def reconstruct(meta: Mapping[str, Any]) -> Any:
    raise AssertionError("this is only named")


reconstruct.__module__, reconstruct.__qualname__ = "torch_utils.persistence", "_reconstruct_persistent_obj"


class Persistent(nn.Module):
    """A module of a class that is kept as its source text."""

    def __init__(self, class_name: str, **arguments: Any) -> None:
        super().__init__()
        self._class_name, self._init_args, self._init_kwargs = class_name, (), arguments

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self._class_name}
        return reconstruct, (EasyDict(meta, state=self.__dict__),), None


class Generator(nn.Module):
    """R3GAN's own class, which is kept by its name."""

    __module__, __qualname__ = "R3GAN.Networks", "Generator"


class Part(nn.Module):
    __module__, __qualname__ = "R3GAN.Networks", "Part"


PUBLIC = {
    "dnnlib.util": {"EasyDict": EasyDict},
    "torch_utils.persistence": {"_reconstruct_persistent_obj": reconstruct},
    "R3GAN.Networks": {"Generator": Generator, "Part": Part},
}


@contextmanager
def authors_modules(more: Mapping[str, Mapping[str, Any]] | None = None) -> Iterator[None]:
    """For a while pickle finds what it is to name, as in the authors' checkouts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, content in {**PUBLIC, **(more or {})}.items():
            module = ModuleType(name)
            vars(module).update(content)
            patch.setitem(sys.modules, name, module)
            if "." in name:
                patch.setitem(sys.modules, name.split(".")[0], ModuleType(name.split(".")[0]))
        yield


def pickled(content: Any, protocol: int = 4, more: Mapping[str, Mapping[str, Any]] | None = None) -> bytes:
    with authors_modules(more):
        return pickle.dumps(content, protocol)


def filled(module: nn.Module, tensors: Mapping[str, Tensor], part: type[nn.Module] | None = None) -> nn.Module:
    """The module with these parameters, and with parts below for names with dots: of class ``part``, or persistent."""
    below: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        first, dot, rest = name.partition(".")
        if dot:
            below.setdefault(first, {})[rest] = tensor
        elif name.endswith(("filter", "const", "avg", "ema", "freqs", "phases", "Kernel", "transform")):
            module.register_buffer(name, tensor)
        else:
            module.register_parameter(name, nn.Parameter(tensor))
    for name, some in below.items():
        numbered = all(key.split(".")[0].isdecimal() for key in some)
        inner = nn.ModuleList() if numbered else Persistent("Layer") if part is None else part()
        module.add_module(name, filled(inner, some, part))
    return module


def r3gan(tensors: Mapping[str, Tensor], arguments: Mapping[str, Any]) -> nn.Module:
    """As ``training.networks`` keeps one: a persistent module around R3GAN's own."""
    own = Generator()
    own.DataType = torch.bfloat16
    whole = Persistent("Generator", **arguments)
    whole.Model = filled(own, tensors, Part)
    return whole


def snapshot(path: Path, networks: Mapping[str, nn.Module], protocol: int = 4) -> Path:
    """A file of these, with what their training leaves beside them."""
    pipe = filled(Persistent("AugmentPipe", xflip=1), {"Hz_filter": torch.ones(12), "p_ema": torch.tensor(0.25)})
    data = EasyDict(class_name="training.dataset.ImageFolderDataset", use_labels=False, max_size=70000)
    content = {"training_set_kwargs": data, **networks, "augment_pipe": pipe}
    path.write_bytes(pickled(content, protocol))
    return path
