"""Pickles of the authors' code: what is read of them, and that nothing in them is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from train import import_weights
from train.base.errors import UsageError
from train.run import checkpoint
from train.run.foreign import read_weights
from train.run.restoring import build_generator

from .authors_pickles import EasyDict, Persistent, filled, pickled, r3gan, reconstruct, snapshot
from .runs import error_of

AUTHORS = Path(__file__).parents[1] / "models" / "authors"
MARK = "code-was-run"


class Hostile:
    """Unpickled, it makes a folder."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (MARK,)


@pytest.fixture(autouse=True)
def _nothing_is_run(tmp_path, monkeypatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / MARK).exists() and not (tmp_path / "source-was-run").exists()
    assert not {"dnnlib", "torch_utils", "R3GAN"} & sys.modules.keys()


def network(name: str, role: str) -> dict[str, Tensor]:
    """Tensors of the authors' network of a fixture, by their names there."""
    with np.load(AUTHORS / f"{name}.npz") as file:
        return {n[6:]: torch.from_numpy(file[n]) for n in file.files if n.startswith(f"net.{role}.")}


def array(name: str, key: str) -> Any:
    with np.load(AUTHORS / f"{name}.npz") as file:
        return json.loads(str(file[key])) if key == "options" else torch.from_numpy(file[key])


@pytest.fixture
def written(tmp_path) -> Callable[..., Path]:
    """written(content) → a file in which it is pickled."""

    def write(content: Any, name: str = "network.pkl", protocol: int = 4, **more: Any) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else pickled(content, protocol, **more))
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_weights(path)
    return str(caught.value)


@pytest.mark.parametrize(("name", "protocol"), [("r3gan-16", 3), ("r3gan-16", 5), ("r3gan-16-labels", 4)])
def test_r3gans_pickle_draws_what_the_authors_code_drew(name, protocol, tmp_path, capsys):
    options = array(name, "options")
    networks = {"G": r3gan(network(name, "G"), options), "D": r3gan(network(name, "D"), options)}
    networks["G_ema"] = r3gan({n: t if "Kernel" in n else 2 * t for n, t in network(name, "G").items()}, options)
    file = snapshot(tmp_path / "network-snapshot-000200.pkl", networks, protocol)
    assert import_weights.main([str(file), "--out", str(tmp_path / "out")]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not used: ")]
    assert said == ["not used: augment_pipe.Hz_filter [12]", "not used: augment_pipe.p_ema []"]
    path, state, _ = checkpoint.find(tmp_path / "out")
    assert sorted(state["trainer"]["networks"]) == ["D", "G"]
    generator = build_generator(path, state, torch.device("cpu"), ema=False)
    labels = [array(name, "c").argmax(1)] if options.get("ConditionDimension") else []
    torch.testing.assert_close(generator(array(name, "z"), *labels), array(name, "image"), rtol=0, atol=1e-4)
    trainer = state["trainer"]
    torch.testing.assert_close(trainer["averages"]["G"]["scale"], 2 * trainer["networks"]["G"]["scale"])


def stylegan(name: str, role: str, **more: Any) -> nn.Module:
    """As the code of StyleGAN2-ADA or StyleGAN3 keeps one: a persistent module of such."""
    made_with = {**array(name, "options"), **more} if role == "G" else {"c_dim": 0, **more}
    return filled(Persistent("Generator" if role == "G" else "Discriminator", **made_with), network(name, role))


@pytest.mark.parametrize("name", ["stylegan2-32", "stylegan2-16-labels", "stylegan3t-32", "stylegan3r-32"])
def test_stylegans_pickle_draws_what_the_authors_code_drew(name, tmp_path, capsys):
    of_d = name if name.startswith("stylegan2") else "stylegan2-32"  # StyleGAN3's is StyleGAN2's
    said = {"epilogue_kwargs": EasyDict(mbstd_group_size=2), "num_fp16_res": 1, "conv_clamp": 128}
    networks = {"G": stylegan(name, "G"), "D": stylegan(of_d, "D", **said)}
    networks["G_ema"] = stylegan(name, "G", num_fp16_res=2)
    file = snapshot(tmp_path / "network-snapshot-025000.pkl", networks)
    assert import_weights.main([str(file), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out.splitlines()
    unused = {line.split()[2] for line in out if line.startswith("not used: ")}
    learnt = (".weight", ".bias", "const", "noise_strength", "w_avg", "magnitude_ema", "freqs", "phases")
    known = read_weights(file).tensors
    assert {each for each in known if each.startswith("augment_pipe.")} <= unused <= known.keys()
    assert not [each for each in unused if each.endswith(learnt)]
    path, state, _ = checkpoint.find(tmp_path / "out")
    generator = build_generator(path, state, torch.device("cpu"))
    labels = [array(name, "c").argmax(1)] if array(name, "c").shape[1] else []
    torch.testing.assert_close(generator(array(name, "z"), *labels), array(name, "image"), rtol=0, atol=1e-4)
    assert (state["config"]["group_size"], state["config"]["half"]) == (2, 2)
    assert state["generator_options"]["half"] == 2


def test_an_argument_that_no_tensor_shows_is_refused_where_it_is_another(tmp_path, capsys):
    g = stylegan("stylegan2-32", "G", mapping_kwargs=EasyDict(num_layers=8, lr_multiplier=0.1))
    line = error_of(import_weights.main, [str(snapshot(tmp_path / "a.pkl", {"G_ema": g})), "--out", "out"], capsys)
    assert "a.pkl: G_ema.: lr_multiplier=0.1 is not known here: it is 0.01" in line


def test_what_networks_were_made_with_is_read(written):
    made_with = {"z_dim": 8, "mapping_kwargs": EasyDict(num_layers=2), "rates": (1, 2.5), "kind": nn.Linear(1, 1)}
    whole = Persistent("Generator", **made_with)
    whole.mapping = filled(Persistent("MappingNetwork", num_layers=2), {"w_avg": torch.zeros(4)})
    weights = read_weights(written({"G_ema": whole}))
    plain = {"z_dim": 8, "mapping_kwargs": {"num_layers": 2}, "rates": [1, 2.5], "kind": None}
    assert weights.arguments == {"G_ema.": plain, "G_ema.mapping.": {"num_layers": 2}}
    assert list(weights.tensors) == ["G_ema.mapping.w_avg"]


def test_parameters_buffers_and_other_tensors_of_modules_are_named_as_in_a_state_dict(written):
    layers = nn.Sequential(nn.Conv2d(2, 4, 1, groups=2), nn.BatchNorm2d(4)).half()
    layers.register_buffer("left_out", torch.ones(3), persistent=False)
    layers.besides = torch.arange(2)
    weights = read_weights(written({"D": layers}))
    expected = {**layers.state_dict(), "left_out": torch.ones(3), "besides": torch.arange(2)}
    assert weights.tensors.keys() == {f"D.{name}" for name in expected}
    for name, tensor in expected.items():
        found = weights.tensors[f"D.{name}"]
        assert torch.equal(found, tensor.float() if tensor.is_floating_point() else tensor)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_arrays_and_numbers_of_numpy_are_read_of_all_versions(core, protocol, written):
    arrays = {
        "plain": np.arange(6.0).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "swapped": np.arange(3, dtype=">f4"),
        "truth": np.array([True, False]),
        "none": np.zeros((0, 2), np.float16),
    }
    module = nn.Module()
    module.in_size, module.cutoff, module.seen = np.array([4, 4]), np.float64(2.5), {1, 2}
    module.register_buffer("w_avg", torch.ones(2))
    content = pickled({"arrays": arrays, "G": module}, protocol)
    name = "numpy.core" if np.__version__ < "2" else "numpy._core"
    # A name of another length would break protocol 4's frames.
    shorter = core.encode() if protocol < 4 else name.encode()
    found = read_weights(written(content.replace(name.encode(), shorter))).tensors
    assert list(found) == [*(f"arrays.{each}" for each in arrays), "G.w_avg"]
    for each, value in arrays.items():
        expected = torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
        assert torch.equal(found[f"arrays.{each}"], expected.float() if value.dtype.kind == "f" else expected)


def with_storage(content: bytes) -> Any:
    """A tensor whose numbers are these bytes."""

    class Forged:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (Numbers(), 0, (2,), (1,), False, {})

    class Numbers:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch.storage._load_from_bytes, (content,)

    return Forged()


def old_torch_file(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def new_torch_file(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


class InMeta:
    """A persistent object that is described by what runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"_parameters": {}, "_buffers": {}, "_modules": {}}
        return reconstruct, (EasyDict(type="class", module_src="", class_name=Hostile(), state=state),)


def in_a_module() -> nn.Module:
    module = nn.Linear(2, 2)
    module.hook = Hostile()
    return module


CANARIES = {
    "top level": (Hostile, "posix.mkdir"),
    "beside networks": (lambda: {"G": nn.Linear(2, 2), "note": [Hostile()]}, "posix.mkdir"),
    "meta": (lambda: {"G": InMeta()}, "posix.mkdir"),
    "module": (lambda: {"G": in_a_module()}, "posix.mkdir"),
    "arguments": (lambda: {"G": Persistent("Generator", c_dim=Hostile())}, "posix.mkdir"),
    "storage": (lambda: {"G": with_storage(old_torch_file(Hostile()))}, "posix.mkdir"),
    "storage, zipped": (lambda: {"G": with_storage(new_torch_file({"a": Hostile()}))}, "posix.mkdir"),
    "storage, plain": (lambda: {"G": with_storage(pickle.dumps(Hostile()))}, ""),
    "object array": (lambda: {"G": np.array([Hostile()], dtype=object)}, "numpy's type 'O8'"),
    "object in a record": (lambda: {"G": np.zeros(1, [("a", "O")])}, "numpy's type 'V8'"),
    "a function of torch": (lambda: {"G": torch.load}, "torch.serialization.load"),
    "a builtin": (lambda: {"G": eval}, "builtins.eval"),
}


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("place", CANARIES)
def test_a_pickle_that_would_run_a_command_is_refused_and_nothing_runs(place, protocol, written, capsys):
    make, name = CANARIES[place]
    file = written(make(), protocol=protocol)
    line = error_of(import_weights.main, [str(file), "--out", "out"], capsys)
    assert str(file) in line and name in line
    assert not Path("out").exists()


def test_the_canaries_sing(written):
    file = written({"G": nn.Linear(2, 2), "note": Hostile()})
    pickle.loads(file.read_bytes())
    assert Path(MARK).is_dir()
    Path(MARK).rmdir()
    with pytest.raises(AttributeError, match="dtype"):  # of what is no storage, after it was run
        pickle.loads(pickled(with_storage(old_torch_file(Hostile()))))
    assert Path(MARK).is_dir()
    Path(MARK).rmdir()


@pytest.mark.parametrize("module", ["dnnlib.tflib.network", "tfutil"])
def test_networks_of_tensorflow_are_refused_by_name(module, written):
    kind = type("Network", (), {"__module__": module})
    message = refusal(written((kind(), kind(), kind()), more={module: {"Network": kind}}))
    assert f"is of TensorFlow ({module}.Network): only networks of PyTorch are read" in message


def test_what_is_refused_is_named(written):
    kind = type("Renderer", (), {"__module__": "eg3d.volumes"})
    message = refusal(written({"G": kind()}, more={"eg3d.volumes": {"Renderer": kind}}))
    assert message.endswith("network.pkl holds eg3d.volumes.Renderer, which could run code and is not read")


# Text of protocol 0: c is a name, ( ) t a tuple, d a dict, b sets a state, R calls, N is None.
TAMPERING = {
    "a method of a class": b"ctorch._utils\n_rebuild_tensor_v2\n(N(V__init__\nccollections\nOrderedDict\ndtb.",
    "an attribute of a class": b"ctorch._utils\n_rebuild_tensor_v2\n(V__init__\nNdb.",
    "a class of torch": b"ctorch.nn.modules.conv\nConv2d\n(N(V__setstate__\nNdtb.",
    "a set's class": b"cbuiltins\nset\n(N(V__or__\nNdtb.",
    "a dtype": b"ctorch\nfloat32\n(N(V__doc__\nNdtb.",
    "the arguments of a record": b"ctorch._utils\n_rebuild_parameter\n(tR.",
    "what is no state": b"ctorch.nn.modules.conv\nConv2d\n)\x81Nb.",
    "a record never made": b"(dVG\nctorch._utils\n_rebuild_tensor_v2\n)\x81s.",
}


@pytest.mark.parametrize("way", TAMPERING)
def test_a_pickle_cannot_change_what_reads_it(way, written):
    assert "is truncated or damaged" in refusal(written(TAMPERING[way]))
    weights = read_weights(written({"G": nn.Linear(2, 2)}))
    assert list(weights.tensors) == ["G.weight", "G.bias"]


def test_a_tensor_is_within_its_numbers(written):
    for forged in (torch.zeros(1), torch.zeros(1).storage()):
        assert "is truncated or damaged" in refusal(written({"G": with_storage(old_torch_file(forged))}))


def test_what_holds_itself_has_an_end(written):
    module = nn.Module()
    module._modules["again"] = module._modules["more"] = module
    assert "more than 20000 parts" in refusal(written({"G": module}))
    doubled: list[Any] = [1]
    for _ in range(20):
        doubled = [doubled, doubled]
    assert "more than 20000 values" in refusal(written({"G": Persistent("Generator", rates=doubled)}))
    doubled[0] = doubled
    assert "is truncated or damaged" in refusal(written({"G": Persistent("Generator", rates=doubled)}))


def test_a_truncated_file_ends_in_a_line(written):
    content = pickled({"G": Persistent("Generator", c_dim=0), "D": nn.Linear(3, 3)})
    for end in range(0, len(content) - 1, 97):
        message = refusal(written(content[:end]))
        assert "network.pkl is truncated or damaged" in message and "\n" not in message


def test_a_file_of_torch_may_have_the_name_of_a_pickle(written):
    weights = read_weights(written(new_torch_file({"G": {"a": torch.ones(2)}})))
    assert list(weights.tensors) == ["G.a"]
