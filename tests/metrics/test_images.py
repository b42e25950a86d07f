"""What counts as an image: bytes, or floats that become bytes."""

from __future__ import annotations

import pytest
import torch

from gan_ops.metrics import quantised


def test_floats_become_the_bytes_that_would_be_saved() -> None:
    values = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0]).view(1, 1, 1, 7)
    assert quantised(values).flatten().tolist() == [0, 0, 64, 128, 191, 255, 255]
    assert quantised(values).dtype == torch.uint8


def test_bytes_stay_as_they_are() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert quantised(images) is images
    assert torch.equal(quantised((images.float() - 127.5) / 127.5), images)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"images must be \[N, 1 or 3, H, W\], but its shape is \[2, 4, 8, 8\]"):
        quantised(torch.zeros(2, 4, 8, 8))
    with pytest.raises(TypeError, match=r"images must be uint8 or floating-point in .*, but is torch"):
        quantised(torch.zeros(2, 3, 8, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="must not have NaN"):
        quantised(torch.full((1, 3, 8, 8), torch.nan))
