"""MS-SSIM: torchmetrics' number, and what it says of variety."""

from __future__ import annotations

import math

import pytest
import torch

from gan_ops.metrics import MsSsim, ms_ssim
from gan_ops.metrics.ms_ssim import WEIGHTS


@pytest.mark.parametrize(("size", "scales"), [(192, 5), (128, 4), (64, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_torchmetrics(size: int, scales: int, channels: int, draw_images) -> None:
    pytest.importorskip("torchmetrics")
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as theirs

    a, b = draw_images(3, size, channels), draw_images(3, size, channels, seed=1)
    b = (0.7 * a.double() + 0.3 * b.double()).round().to(torch.uint8)
    used = WEIGHTS if scales == 5 else tuple(weight / sum(WEIGHTS[:scales]) for weight in WEIGHTS[:scales])
    expected = theirs(a.double(), b.double(), data_range=255.0, betas=used)
    result = ms_ssim(a, b)
    assert result.scales == scales
    assert result.mean == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("size", "scales"), [(176, 5), (175, 4), (88, 4), (44, 3), (22, 2), (21, 1), (11, 1)])
def test_small_images_have_fewer_scales_and_the_result_says_so(size: int, scales: int, draw_images) -> None:
    images = draw_images(4, 256)[:, :, :size, :size]
    assert ms_ssim(images[:2], images[2:]).scales == scales


def test_equal_images_give_one(draw_images) -> None:
    images = draw_images(3)
    assert ms_ssim(images, images).mean == pytest.approx(1, abs=1e-12)


def test_mode_collapse_raises_it(draw_images) -> None:
    """Images that are one image with a little noise are similar; images of their own are not."""
    varied = draw_images(20)
    collapsed = (
        varied[:1].double() + 5 * torch.randn(20, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ).clamp(0, 255)
    results = {}
    for name, images in (("varied", varied), ("collapsed", collapsed.to(torch.uint8))):
        stream = MsSsim()
        stream.update(images)
        results[name] = stream.compute().mean
    assert results["collapsed"] > 0.8 > 0.5 > results["varied"]


@pytest.mark.parametrize("batch", [1, 3, 4, 20])
def test_batches_do_not_matter(batch: int, draw_images) -> None:
    images = draw_images(21, 32)
    stream = MsSsim()
    for part in images.split(batch):
        stream.update(part)
    expected = ms_ssim(images[0:20:2], images[1:20:2])
    assert stream.count == 20 and stream.compute().pairs == 10
    # Matrix products of more images at a time may round otherwise.
    assert stream.compute() == pytest.approx(expected, rel=1e-12)


def test_floats_count_as_the_bytes_that_would_be_saved(draw_images) -> None:
    images = draw_images(4, 32)
    assert ms_ssim((images[:2].float() - 127.5) / 127.5, images[2:]) == ms_ssim(images[:2], images[2:])


def test_the_standard_error_is_that_of_the_pairs(draw_images) -> None:
    a, b = draw_images(5, 32), draw_images(5, 32, seed=1)
    values = torch.tensor([ms_ssim(a[i : i + 1], b[i : i + 1]).mean for i in range(5)])
    assert ms_ssim(a, b).standard_error == pytest.approx(values.std().item() / 5**0.5, rel=1e-5)
    assert math.isnan(ms_ssim(a[:1], b[:1]).standard_error)


def test_what_does_not_make_sense_is_refused(draw_images) -> None:
    images = draw_images(2, 32)
    with pytest.raises(ValueError, match="at least 11×11, but their shorter side is 10"):
        ms_ssim(images[..., :10], images[..., :10])
    with pytest.raises(ValueError, match=r"b must have the shape \[2, 3, 32, 32\] of a"):
        ms_ssim(images, images[:1])
    with pytest.raises(ValueError, match="needs at least 2 images, but there are 0"):
        MsSsim().compute()
    stream = MsSsim()
    stream.update(images[:1])
    with pytest.raises(ValueError, match=r"must be \[3, 32, 32\] like those before"):
        stream.update(images[:, :1])
