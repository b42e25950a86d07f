"""What scikit-learn makes of few labels, to compare a GAN with. Images are taken as vectors of pixels in [0, 1].

Either method gives the classes of the test images and of the pool [N], int64.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from train.base.errors import UsageError
from train.data.few_labels import SemiData

NEIGHBOURS = 7  # the best for digits; the default kernel, with its width, is useless on raw pixels
ITERATIONS = 1000


def label_spreading(data: SemiData, labelled: Tensor) -> tuple[Tensor, Tensor]:
    """Labels that spread over the pool along nearest neighbours (Zhou et al. 2004, scikit-learn's LabelSpreading)."""
    from sklearn.semi_supervised import LabelSpreading

    known = np.full(len(data.pool), -1)
    known[labelled] = data.pool_labels[labelled]
    model = LabelSpreading(kernel="knn", n_neighbors=NEIGHBOURS)
    with np.errstate(invalid="ignore"):  # images that no label reaches get 0/0, and so the first class
        model.fit(_vectors(data.pool), known)
        return torch.from_numpy(model.predict(_vectors(data.test))), torch.from_numpy(model.transduction_)


def logistic_regression(data: SemiData, labelled: Tensor) -> tuple[Tensor, Tensor]:
    """A linear classifier of the labelled images alone (scikit-learn's LogisticRegression)."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=ITERATIONS)
    model.fit(_vectors(data.pool[labelled]), data.pool_labels[labelled].numpy())
    return tuple(torch.from_numpy(model.predict(_vectors(images))) for images in (data.test, data.pool))


def require_sklearn() -> None:
    """UsageError if scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise UsageError("baselines need scikit-learn, which is not installed: pip install scikit-learn") from None


def _vectors(pixels: Tensor) -> np.ndarray:
    return pixels.flatten(1).numpy() / 255
