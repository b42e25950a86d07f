"""setup_filter, and resampling that keeps images where they are."""

from __future__ import annotations

import pytest
import torch

import gan_ops

EVERYWHERE = pytest.mark.usefixtures("device")  # on a GPU too where there is one


def test_few_taps_become_a_square_with_the_sum_1() -> None:
    filter = gan_ops.setup_filter([1, 3, 3, 1])
    assert filter.dtype == torch.float32
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    torch.testing.assert_close(filter, torch.outer(taps, taps))


def test_many_taps_stay_for_both_axes() -> None:
    assert gan_ops.setup_filter([1] * 7).shape == (7, 7)
    assert gan_ops.setup_filter([1] * 8).shape == (8,)
    assert gan_ops.setup_filter([1] * 8, separable=False).shape == (8, 8)
    assert gan_ops.setup_filter([1] * 3, separable=True).shape == (3,)


def test_nothing_is_one_tap() -> None:
    assert torch.equal(gan_ops.setup_filter(None), torch.ones(1, 1))
    assert torch.equal(gan_ops.setup_filter(2.0, normalize=False), torch.full((1, 1), 4.0))


def test_gain_and_flip_and_no_normalisation() -> None:
    filter = gan_ops.setup_filter([[1.0, 2.0], [3.0, 4.0]], normalize=False, flip=True, gain=2.0)
    assert torch.equal(filter, torch.tensor([[8.0, 6.0], [4.0, 2.0]]))


@pytest.mark.parametrize("separable", [False, True])
@EVERYWHERE
def test_the_gain_is_that_of_a_filtered_image(separable: bool) -> None:
    device = torch.get_default_device()
    filter = gan_ops.setup_filter([1.0, 2.0, 1.0], gain=3.0, separable=separable, device=device)
    x = torch.ones(1, 1, 5, 5)
    torch.testing.assert_close(gan_ops.upfirdn2d(x, filter), torch.full((1, 1, 3, 3), 3.0))


@pytest.mark.parametrize(
    ("taps", "options", "message"),
    [
        (torch.ones(2, 2, 2), {}, r"taps must be .* but their shape is \[2, 2, 2\]"),
        ([], {}, r"taps must be .* but their shape is \[0\]"),
        (torch.ones(2, 2), {"separable": True}, r"separable=True needs taps \[K\], but their shape is \[2, 2\]"),
        ([1, -1], {}, "taps have the sum 0"),
    ],
)
def test_bad_taps_are_named(taps, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        gan_ops.setup_filter(taps, **options)


@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5, 12])
@EVERYWHERE
def test_sizes_are_kept_or_multiplied(taps: int) -> None:
    filter = gan_ops.setup_filter([1.0] * taps, device=torch.get_default_device())
    x = torch.randn(2, 3, 12, 24)
    assert gan_ops.filter2d(x, filter).shape == (2, 3, 12, 24)
    assert gan_ops.upsample2d(x, filter, up=[3, 2]).shape == (2, 3, 24, 72)
    assert gan_ops.downsample2d(x, filter, down=[3, 2]).shape == (2, 3, 6, 8)
    assert gan_ops.filter2d(x, filter, padding=[1, 2, 3, 4]).shape == (2, 3, 19, 27)


@pytest.mark.parametrize("taps", [[1, 3, 3, 1], [1, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1], [1, 1]], ids=len)
@EVERYWHERE
def test_images_stay_where_they_are(taps: list[int]) -> None:
    """The centre of mass of a spot, in units of the image's width, and its mass."""
    filter = gan_ops.setup_filter(taps, device=torch.get_default_device())
    x = torch.zeros(1, 1, 16, 16)
    x[..., 8, 8] = 1

    def centre(y: torch.Tensor) -> torch.Tensor:
        of_pixels = (torch.arange(y.shape[-1]) + 0.5) / y.shape[-1]
        return (y[0, 0].sum(0) * of_pixels).sum() / y.sum()

    enlarged, shrunk = gan_ops.upsample2d(x, filter), gan_ops.downsample2d(gan_ops.upsample2d(x, filter), filter)
    for y in (enlarged, shrunk):
        torch.testing.assert_close(centre(y), centre(x))
    torch.testing.assert_close(enlarged.sum(), torch.tensor(4.0))  # each pixel has become four


@EVERYWHERE
def test_filter2d_by_hand() -> None:
    x = torch.tensor([1.0, 2.0, 4.0]).view(1, 1, 1, 3)
    filter = torch.tensor([[1.0, 10.0, 100.0]])
    y = gan_ops.filter2d(x, filter)
    assert torch.equal(y.flatten(), torch.tensor([12.0, 124.0, 240.0]))
    y = gan_ops.filter2d(x, filter, flip=True, gain=2)
    assert torch.equal(y.flatten(), torch.tensor([420.0, 842.0, 84.0]))
