"""Statistics of real images in a file, which take their place: `.npz` with mu and sigma, as pytorch-fid's and more.

What this program writes also holds the features themselves, which kid, pr and birthday need, their classes for
intra-fid, all classes of the data, from which a generator with labels draws, and what made the features: a classifier
lies in the file whole. ``about`` is JSON.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.base.errors import NotMeasurable, UsageError
from train.base.files import write_atomically
from train.measure.classifier import Classifier, weights_digest
from train.measure.features import Features, classifier_features, named_weights
from train.measure.real_side import RealImages, RealSide

PARAMETER = "classifier/"  # before the names of a classifier's parameters
SIZES = ("count", "resolution", "channels", "num_classes")  # of the real images, whole numbers


def save_statistics(path: Path, real: RealImages, network: Features, versions: Mapping[str, str]) -> None:
    """Writes what `StoredStatistics` reads; OSError where that cannot be done."""
    about = {"data": real.name, **{name: getattr(real, name) for name in SIZES}}
    about |= {"network": network.description, "versions": dict(versions)}
    statistics = real.statistics(network)
    arrays = {"mu": statistics["mean"], "sigma": statistics["covariance"], "features": real.features(network)}
    if real.labels is not None:
        arrays |= {"labels": real.labels, "classes": real.classes}
    arrays |= {PARAMETER + name: value for name, value in network.parameters.items()}
    plain = {name: value.cpu().numpy() for name, value in arrays.items()}
    write_atomically(path, lambda file: np.savez(file, about=np.array(json.dumps(about)), **plain))


class StoredStatistics(RealSide):
    """The real side from a file; UsageError where that holds no statistics, or is damaged.

    Its resolution is 0 as long as nobody has said it: pytorch-fid's files do not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        arrays = _read(path)
        try:
            self._take(arrays)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise UsageError(f"--stats {path} is damaged: {error}") from error

    def at(self, resolution: int) -> StoredStatistics:
        """These, to be compared with at a resolution; UsageError if the file is of images at another."""
        if (size := self.resolution) not in (0, resolution):
            sizes = f"{size}x{size}, not {resolution}x{resolution}"
            raise UsageError(f"--stats {self.path} is of images at {sizes}: compare with --resolution {size}")
        self.resolution = resolution
        return self

    def _take(self, arrays: dict[str, np.ndarray]) -> None:
        self._mean, self._covariance = _numbers(arrays, "mu", 1).double(), _numbers(arrays, "sigma", 2).double()
        length = len(self._mean)
        if self._covariance.shape != (length, length):
            raise ValueError(f"mu has {length} values, and sigma has the shape {list(self._covariance.shape)}")
        self.name, self.count, self.resolution, self.channels, self.num_classes = str(self.path), None, 0, 3, 0
        self.labels = self.classes = self._features = self.network = None
        self._parameters: dict[str, Tensor] = {}
        if "about" not in arrays:  # pytorch-fid's
            return
        about = json.loads(str(arrays["about"]))
        self.name, self.network = str(about["data"]), dict(about["network"])
        self.count, self.resolution, self.channels, self.num_classes = (int(about[name]) for name in SIZES)
        if missing := sorted({"name", "weights", "length"} - self.network.keys()):
            raise ValueError(f"it lacks the network's {missing[0]}")
        if self.channels not in (1, 3):
            raise ValueError(f"its images have {self.channels} channels")
        self._features = _numbers(arrays, "features", 2)
        if self._features.shape != (self.count, length):
            raise ValueError(f"features have the shape {list(self._features.shape)}, not {[self.count, length]}")
        if self.num_classes:
            self.labels = self._classes(arrays["labels"])
            if "classes" in arrays:  # older files have none
                self.classes = self._classes(arrays["classes"])
                if self.classes.shape != (self.count,):
                    raise ValueError(f"classes have the shape {list(self.classes.shape)}, not {[self.count]}")
        parameters = {name: value for name, value in arrays.items() if name.startswith(PARAMETER)}
        self._parameters = {n.removeprefix(PARAMETER): torch.from_numpy(value) for n, value in parameters.items()}

    def _classes(self, labels: np.ndarray) -> Tensor:
        """Labels [M] of the classes that there are; ValueError if they are no such numbers."""
        found = torch.from_numpy(labels)
        if found.dtype != torch.int64 or not 0 <= found.min() <= found.max() < self.num_classes:
            raise ValueError(f"labels are not numbers of {self.num_classes} classes")
        return found

    def lacks(self, metric: str) -> str | None:
        if metric == "swd":
            return f"swd compares images, and {self.path} holds only statistics of them"
        if metric in ("kid", "pr", "birthday") and self._features is None:
            return f"{metric} needs the features themselves, and {self.path} holds only mu and sigma"
        if metric == "intra-fid" and self.classes is None:
            return f"intra-fid needs the class of each real image, and {self.path} holds none"
        return None

    def choose_features(self, inception_weights: str, device: torch.device) -> Features:
        """The network that made these statistics: the classifier in the file, or Inception where its weights are named.

        Raises:
            NotMeasurable: no weights are named, and the file does not hold the network.
            UsageError: they were made by another network than Inception with these weights.
        """
        if self._parameters and not inception_weights:
            features = classifier_features(self._classifier(), self.network, device)
        else:
            features = named_weights(inception_weights, device)
        if features is None:
            made = f"of {self.network['name']}" if self.network else "of Inception, by all appearances"
            raise NotMeasurable(f"--stats {self.path} holds features {made}: name its weights with --inception-weights")
        other = features.description
        if self.network and self.network["weights"] != other["weights"]:
            one, two = (f"of {of['name']} (weights {of['weights']})" for of in (self.network, other))
            raise UsageError(f"--stats {self.path} holds features {one}: they cannot be compared with those {two}")
        if len(self._mean) != other["length"]:  # as of pytorch-fid with other --dims
            here = f"holds {len(self._mean)} features per image"
            raise UsageError(f"--stats {self.path} {here}, and {other['name']} has {other['length']}")
        return features

    def choose_classifier(self, device: torch.device) -> Features:
        if not self._parameters:
            raise NotMeasurable(f"--stats {self.path} holds no classifier")
        return classifier_features(self._classifier(), self.network, device)

    def _classifier(self) -> Classifier:
        try:
            classes = len(self._parameters["head.bias"])
            classifier = Classifier(self.network["input_size"], self.channels, classes)
            classifier.load_state_dict(self._parameters)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise UsageError(f"--stats {self.path} is damaged: its classifier cannot be used") from error
        if weights_digest(classifier) != self.network["weights"]:
            raise UsageError(f"--stats {self.path} is damaged: its classifier is not the one that it names")
        return classifier.eval().requires_grad_(False)

    def features(self, network: Features) -> Tensor:
        return self._features

    def statistics(self, network: Features) -> dict[str, Tensor]:
        # Without a count any will do: nothing is added to these.
        return {"mean": self._mean, "covariance": self._covariance, "count": torch.tensor(self.count or 2)}

    def describe(self) -> dict[str, Any]:
        return {"real": self.count, "stats": str(self.path), "stats_network": self.network and self.network["name"]}


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file; nothing in it is executed."""
    try:
        path.stat()  # OSError if it is not there
        if not zipfile.is_zipfile(path):
            raise UsageError(f"--stats {path} is not an .npz file")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except UsageError:
        raise
    except Exception as error:  # BadZipFile, zlib.error, ValueError for pickled arrays, MemoryError, OSError, …
        raise UsageError(f"--stats {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if missing := [name for name in ("mu", "sigma") if name not in arrays]:
        there = f": it holds {', '.join(sorted(arrays)[:5])}" if arrays else ""
        raise UsageError(f"--stats {path} holds no {missing[0]}{there}")
    return arrays


def _numbers(arrays: Mapping[str, np.ndarray], name: str, dims: int) -> Tensor:
    array = arrays[name]
    if array.ndim != dims or array.dtype.kind != "f" or not array.size:
        raise ValueError(f"{name} has the shape {list(array.shape)} and the type {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are not finite")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))
