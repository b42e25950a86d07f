"""scikit-learn's 1797 handwritten digits, 8 x 8."""

from __future__ import annotations

import numpy as np

from train.base.errors import DataError

from .source import ArraySource


def open_digits(resolution: int) -> ArraySource:
    """Grey, labelled 0-9; enlarged smoothly (Lanczos) beyond 8 x 8. DataError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError("digits come with scikit-learn, which is not installed: pip install scikit-learn") from error
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # ink is counted from 0 to 16
    return ArraySource("digits", images[:, None], resolution, digits.target, 10, mirror=False)
