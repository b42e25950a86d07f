"""Pickles of networks that the authors' code of StyleGAN2-ADA, StyleGAN3 or R3GAN wrote, read without running code.

Such a file is a dict of networks. Read by pickle, it would import the classes that it names and execute the source text
that it carries, and pickles within its bytes besides. Here every name is looked up in a closed list; all that is on it
are the records of :mod:`train.run.inert`.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from train.base.errors import is_out_of_memory
from train.base.files import first_line
from train.run import inert
from train.run.inert import Refused

NUMPY = ("numpy.core", "numpy._core")
"""What numpy calls its own modules, before version 2 and since."""
RECORDS: Mapping[tuple[str, str], type] = {
    ("torch._utils", "_rebuild_tensor_v2"): inert.StoredTensor,
    ("torch._utils", "_rebuild_parameter"): inert.StoredParameter,
    ("torch.storage", "_load_from_bytes"): inert.Storage,
    ("collections", "OrderedDict"): inert.PlainDict,
    ("dnnlib.util", "EasyDict"): inert.PlainDict,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): inert.PersistentModule,
    ("builtins", "set"): set,  # as Python 3.7 writes one
    ("numpy", "dtype"): inert.NumpyType,
    ("numpy", "ndarray"): inert.NumpyClass,
    **{(f"{core}.multiarray", "_reconstruct"): inert.NumpyArray for core in NUMPY},
    **{(f"{core}.multiarray", "scalar"): inert.NumpyScalar for core in NUMPY},
    **{(f"{core}.numeric", "_frombuffer"): inert.NumpyBuffer for core in NUMPY},
}
"""All names that are read, and what they stand for."""
DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
MODULES = ("torch.nn.modules", "R3GAN")
"""Packages whose classes are taken for modules."""
TENSORFLOW = ("dnnlib.tflib", "tfutil")
"""Packages of the networks in older files."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name; nothing is imported."""
        if record := RECORDS.get((module, name)):
            return record
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if any(f"{module}.".startswith(f"{package}.") for package in MODULES) and name.isidentifier():
            return type(name, (inert.Module,), {"__slots__": ()})
        if any(f"{module}.".startswith(f"{package}.") for package in TENSORFLOW):
            raise Refused(
                f"is of TensorFlow ({module}.{name}): only networks of PyTorch are read, which the authors' legacy.py"
                " of StyleGAN2-ADA or StyleGAN3 makes of it"
            )
        raise Refused(f"holds {module}.{name}, which could run code and is not read")


def read_pickle(path: Path) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """All tensors by name, such as ``G_ema.mapping.w_avg``, and what each network and each of its parts was made with,
    by what stands before its tensors' names, such as ``G_ema.``.

    Raises:
        ValueError: in one line, if the file is truncated or damaged, or names what is not on the list.
        OSError, MemoryError: it cannot be read now.
    """
    with path.open("rb") as file:
        try:
            content = _Reader(file).load()
            return dict(inert.tensors(content)), dict(inert.arguments(content))
        except Refused:
            raise
        except Exception as error:
            # Hostile bytes make pickle, numpy and torch fail in whatever way their code does.
            if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise ValueError(f"is truncated or damaged ({first_line(error)})") from error
