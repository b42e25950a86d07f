"""Virtual batch norm as layers: the norm, and the network that brings its reference batch to it.

Besides an input and parameters, these two use a batch that is chosen once, stored with the network and sent through it
together with every other batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan_ops._types import accumulable
from gan_ops.ops import virtual_batch_norm

__all__ = ["ReferenceSequential", "ReferenceStatistics", "VirtualBatchNorm"]


class ReferenceStatistics(NamedTuple):
    """What a VirtualBatchNorm needs to know of the reference batch at its place in the network."""

    mean: Tensor  # [C], float32 (float64 of float64)
    var: Tensor  # [C], biased
    size: int  # examples


class VirtualBatchNorm(nn.Module):
    """Normalises examples by themselves and a reference batch (Salimans et al. 2016, §3.5); for x [N, C, *].

    The layer keeps no reference batch and no statistics of it: they are given with every call, by the network that this
    layer is in (:class:`ReferenceSequential`). Gradients flow through them too. With ``affine`` the result is
    multiplied by a learnt weight, N(1, 0.02²) at the start, and shifted by a learnt bias, 0 at the start.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = True):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(num_features)) if affine else None
        self.bias = nn.Parameter(torch.empty(num_features)) if affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the start values again."""
        if self.weight is not None:
            nn.init.normal_(self.weight, 1.0, 0.02)
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, C, *] by its own and the reference's statistics; the reference [R, C, *] by those alone."""
        statistics = self.statistics(reference)
        return self.normalize(x, statistics), self.normalize_reference(reference, statistics)

    def statistics(self, reference: Tensor) -> ReferenceStatistics:
        """Mean and biased variance of the reference batch [R, C, *]; ValueError for an empty one."""
        size, channels, *spatial = reference.shape
        if reference.numel() == 0:
            raise ValueError(f"the reference batch must not be empty, but is {list(reference.shape)}")
        flat = accumulable(reference).reshape(size, channels, math.prod(spatial))  # [R, C, *] → [R, C, P]
        var, mean = torch.var_mean(flat, dim=(0, 2), correction=0)  # → [C]
        return ReferenceStatistics(mean, var, size)

    def normalize(self, x: Tensor, statistics: ReferenceStatistics) -> Tensor:
        """x [N, C, *] by its own statistics and those of the reference batch."""
        mean, var, size = statistics
        return virtual_batch_norm(x, mean, var, size, self.weight, self.bias, self.eps)

    def normalize_reference(self, reference: Tensor, statistics: ReferenceStatistics) -> Tensor:
        """The reference batch [R, C, *] by its own statistics: plain batch norm."""
        return self.normalize(reference, statistics._replace(size=math.inf))

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, affine={self.weight is not None}"


class ReferenceSequential(nn.Sequential):
    """nn.Sequential for networks with VirtualBatchNorm: sends a reference batch through the layers beside the input.

    ``set_reference(latents)`` stores the inputs that the reference batch is made from. They are a buffer,
    ``reference``, so that checkpoints and copies hold them; with several processes every one must be given the same.

    In training mode, and while any parameter requires a gradient, every call sends the reference batch through the
    network, as far as the last VirtualBatchNorm, and gradients flow through it. In evaluation mode and with parameters
    that require none, as in an averaged copy (``eval().requires_grad_(False)``), its statistics are computed once and
    kept until a parameter or a buffer is replaced or changed in place, so that a call costs what it would with batch
    norm. A change through ``parameter.data`` or by a replayed CUDA graph leaves no trace and goes unnoticed: call
    :meth:`forget_statistics` after one. Compiled calls and ``torch.func`` transforms keep nothing.

    Layers see one batch at a time. VirtualBatchNorm may also lie in a plain nn.Sequential within, but in no other
    module, to which nobody would give the reference batch.
    """

    def __init__(self, *layers: nn.Module):
        super().__init__(*layers)
        self.register_buffer("reference", None)
        self._kept: _Kept | None = None

    def set_reference(self, latents: Tensor) -> None:
        """Makes a copy of ``latents`` [R, …], inputs of the first layer, the reference batch.

        ValueError where there is no example, TypeError where a VirtualBatchNorm is nested too deep to get the batch.
        """
        for layer in _layers(self):
            brings_its_own = isinstance(layer, ReferenceSequential | VirtualBatchNorm)
            if not brings_its_own and any(isinstance(inner, VirtualBatchNorm) for inner in layer.modules()):
                raise TypeError(f"a VirtualBatchNorm is inside a {type(layer).__name__}, which gets no reference batch")
        if latents.dim() == 0 or latents.shape[0] == 0:
            raise ValueError(f"latents must hold at least one example, but are {list(latents.shape)}")
        self.reference = latents.detach().clone()

    def forget_statistics(self) -> None:
        """Makes the next call compute the reference batch's statistics again."""
        self._kept = None

    def frozen(self) -> nn.Sequential:
        """The same layers without the reference batch, whose present statistics they have as constants.

        For a network that is exported: its graph would otherwise send the reference batch along with every other.
        """
        with torch.no_grad():
            statistics = iter(self._statistics())
        layers = [
            _Frozen(layer, next(statistics)) if isinstance(layer, VirtualBatchNorm) else layer
            for layer in _layers(self)
        ]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """What nn.Sequential gives; RuntimeError where ``set_reference`` was never called."""
        statistics = iter(self._statistics())
        for layer in _layers(self):
            x = layer.normalize(x, next(statistics)) if isinstance(layer, VirtualBatchNorm) else layer(x)
        return x

    def _statistics(self) -> list[ReferenceStatistics]:
        """Those of the reference batch at each VirtualBatchNorm, computed now or kept from an earlier call."""
        if self.reference is None:
            raise RuntimeError(
                f"this {type(self).__name__} was never given a reference batch; call set_reference(latents)"
            )
        # Not under no_grad either: torch's fused optimizers leave no trace of having changed a parameter.
        trains = self.training or any(p.requires_grad for p in self.parameters())
        if trains:
            self._kept = None
        if trains or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return self._compute_statistics()
        if self._kept is None or not self._kept.holds_for(self):
            # Tensors made in inference mode could not be used outside of it.
            with torch.inference_mode(False), torch.no_grad():
                self._kept = _Kept(self, self._compute_statistics())
        return self._kept.statistics

    def _compute_statistics(self) -> list[ReferenceStatistics]:
        norms = sum(isinstance(layer, VirtualBatchNorm) for layer in _layers(self))
        statistics: list[ReferenceStatistics] = []
        reference = self.reference.clone()  # DDP writes to buffers between a forward pass and its backward pass
        for layer in _layers(self):
            if not isinstance(layer, VirtualBatchNorm):
                reference = layer(reference)
                continue
            statistics.append(layer.statistics(reference))
            if len(statistics) == norms:
                break  # nobody asks for the reference batch further on
            reference = layer.normalize_reference(reference, statistics[-1])
        return statistics

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # A network that was never given a reference batch, or one of another size, takes the checkpoint's.
        stored = state_dict.get(prefix + "reference")
        if stored is not None and (self.reference is None or self.reference.shape != stored.shape):
            self.reference = torch.empty_like(stored, device=next((p.device for p in self.parameters()), None))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_kept": None}  # a copy has parameters of its own


class _Frozen(nn.Module):
    """A VirtualBatchNorm with the statistics of its reference batch as buffers."""

    def __init__(self, norm: VirtualBatchNorm, statistics: ReferenceStatistics):
        super().__init__()
        self.norm = norm
        self.size = statistics.size
        self.register_buffer("mean", statistics.mean.detach().clone())
        self.register_buffer("var", statistics.var.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.norm.normalize(x, ReferenceStatistics(self.mean, self.var, self.size))


def _layers(network: nn.Sequential) -> Iterator[nn.Module]:
    """The layers in their order, those of a plain nn.Sequential within in its place."""
    for layer in network:
        if type(layer).forward is nn.Sequential.forward:
            yield from _layers(layer)
        else:
            yield layer


class _Kept:
    """Statistics of a network's reference batch, and how to tell that they are still right."""

    def __init__(self, network: nn.Module, statistics: list[ReferenceStatistics]):
        self.statistics = statistics
        self._mode = _mode(network)
        # Aliases, not addresses: what they hold can't be freed, so that no other tensor comes to lie there.
        self._tensors = [(tensor.detach(), _version(tensor)) for tensor in _tensors(network)]

    def holds_for(self, network: nn.Module) -> bool:
        tensors = list(_tensors(network))
        return (
            self._mode == _mode(network)
            and len(tensors) == len(self._tensors)
            and all(
                now.data_ptr() == then.data_ptr() and version is not None and version == _version(now)
                for now, (then, version) in zip(tensors, self._tensors, strict=True)
            )
        )


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    yield from network.parameters()
    yield from network.buffers()


def _version(tensor: Tensor) -> int | None:
    """Counts changes in place; None where torch does not count them."""
    return None if tensor.is_inference() else tensor._version


def _mode(network: nn.Module) -> tuple:
    """What else a layer's output may depend on."""
    device = next((tensor.device.type for tensor in _tensors(network)), "cpu")
    return network.training, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
