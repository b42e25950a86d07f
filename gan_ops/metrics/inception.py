"""The features of the published figures: the Inception network of 2015, from torch-fidelity and a file of weights."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gan_ops.metrics.images import quantised

VARIABLE = "GAN_OPS_INCEPTION"
PUBLISHED = "6726825d"
"""The first digits of the SHA-256 of weights-inception-2015-12-05-6726825d.pth, which torch-fidelity publishes."""


class InceptionUnavailable(Exception):
    """There is no torch-fidelity, or no file of weights. No other network is used instead."""


class InceptionOutputs(NamedTuple):
    """Pool features [N, 2048] for FID, KID, precision and recall, and logits [N, 1008] without biases for the score."""

    features: Tensor
    logits: Tensor


class Inception:
    """torch-fidelity's Inception network with local weights, which are never downloaded.

    Args:
        weights: the file; if None, what the environment variable GAN_OPS_INCEPTION names.
        device: where it runs.

    Attributes:
        name: for results: ``inception-2015-12-05`` with the published weights, ``inception-<digits of the file's
            SHA-256>`` with others.
        digest: those digits.

    Raises:
        InceptionUnavailable: torch-fidelity is not installed, or no weights are given or found, or the file holds
            something else.
    """

    def __init__(self, weights: str | Path | None = None, device: torch.device | str = "cpu") -> None:
        path = _weights_path(weights)
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise InceptionUnavailable(
                f"Inception features need torch-fidelity (pip install torch-fidelity): {error}"
            ) from error
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        self.name = "inception-2015-12-05" if self.digest == PUBLISHED else f"inception-{self.digest}"
        _check_weights(path)  # torch-fidelity would run a pickle's code
        try:
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
            )
        except RuntimeError as error:  # of load_state_dict, which names all parameters
            reason = " ".join(str(error).split())[:200]
            raise InceptionUnavailable(f"{path} holds the weights of another network: {reason} …") from error
        self._network = network.to(device)
        self.device = torch.device(device)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> InceptionOutputs:
        """Of images [N, 1 or 3, H, W], uint8 or floating-point in [−1, 1]; grey ones get three equal channels."""
        images = quantised(images).to(self.device)
        return InceptionOutputs(*self._network(images.expand(-1, 3, -1, -1)))


def _check_weights(path: Path) -> None:
    """InceptionUnavailable unless the file holds tensors by name, and nothing that could run code."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = "unsupported global" in str(error).lower()
        reason = "holds objects that could run code, which are not read" if code else "is not a file that torch wrote"
        raise InceptionUnavailable(f"{path} {reason}") from error
    except Exception as error:  # hostile bytes make torch's readers fail in whatever way their code does
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InceptionUnavailable(f"{path} is truncated or damaged: {reason}") from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise InceptionUnavailable(f"{path} holds no tensors by name, as weights are kept")


def _weights_path(weights: str | Path | None) -> Path:
    """The file, or an error that names both ways to give one."""
    given = weights if weights is not None else os.environ.get(VARIABLE)
    if not given:
        raise InceptionUnavailable(
            f"Inception features need a file of weights: --inception-weights PATH or {VARIABLE}=PATH; torch-fidelity"
            " publishes it as weights-inception-2015-12-05-6726825d.pth"
        )
    path = Path(given)
    if not path.is_file():
        raise InceptionUnavailable(
            f"there is no file {path} of Inception weights (--inception-weights PATH or {VARIABLE}=PATH)"
        )
    return path
