"""laplacian_patches: the pyramid's level, cut where it is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gan_ops import reference
from gan_ops.ops import laplacian_patches


def images(n: int, channels: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, size, size), generator=generator, dtype=torch.uint8)


def places(n: int, patches: int, size: int) -> Tensor:
    return torch.randint(0, size - 6, (n, patches, 2), generator=torch.Generator().manual_seed(1))


def everywhere(n: int, size: int) -> Tensor:
    row = torch.arange(size - 6)
    return torch.cartesian_prod(row, row).expand(n, -1, -1)


@pytest.mark.parametrize("size", [8, 10, 16, 34, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("differences", [True, False])
def test_it_is_the_definition_at_every_place(size: int, channels: int, differences: bool) -> None:
    x = images(3, channels, size)
    ours = laplacian_patches(x, everywhere(3, size), differences=differences)
    theirs = reference.laplacian_patches(x, everywhere(3, size), differences=differences)
    # Weighted means of values up to 255 in float32, less one of them.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=4 * 255 * 2**-23 if differences else 0)


def test_bytes_and_floats_of_the_same_values_give_the_same_bits() -> None:
    x = images(2, 3, 32)
    for ours, theirs in zip(
        laplacian_patches(x, places(2, 5, 32)), laplacian_patches(x.float(), places(2, 5, 32)), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_surface_of_one_colour_has_no_differences() -> None:
    patches, smaller = laplacian_patches(torch.full((1, 3, 32, 32), 200, dtype=torch.uint8), everywhere(1, 32))
    assert (patches == 0).all() and (smaller == 200).all()


def test_batches_and_threads_do_not_change_a_bit() -> None:
    x, where = images(9, 3, 32), places(9, 5, 32)
    whole = laplacian_patches(x, where)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        parts = [laplacian_patches(x[i : i + 4], where[i : i + 4]) for i in range(0, 9, 4)]
    finally:
        torch.set_num_threads(before)
    for of_all, of_parts in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(of_all, torch.cat(of_parts))


def test_any_strides_give_the_same() -> None:
    x, where = images(4, 3, 32), places(4, 5, 32)
    strided = x.to(memory_format=torch.channels_last).flip(0), where.transpose(0, 1).contiguous().transpose(0, 1)
    for ours, theirs in zip(laplacian_patches(*strided), laplacian_patches(x.flip(0), where), strict=True):
        assert torch.equal(ours, theirs)


def test_no_images_and_no_places_give_no_patches() -> None:
    for of in (laplacian_patches, reference.laplacian_patches):
        assert [x.shape for x in of(images(0, 3, 16), places(0, 2, 16))] == [(0, 147), (0, 3, 8, 8)]
        assert [x.shape for x in of(images(2, 3, 16), places(2, 0, 16))] == [(0, 147), (2, 3, 8, 8)]


@pytest.mark.parametrize("of", [laplacian_patches, reference.laplacian_patches])
def test_what_does_not_make_sense_is_refused(of) -> None:
    x, where = images(2, 3, 16), places(2, 5, 16)
    for wrong in (x[0], x[:, :0], x[..., :14], images(2, 3, 17), images(2, 3, 6)):
        with pytest.raises(ValueError, match=r"images must be .*N, C, H, H.* with an even H of at least 8, but their"):
            of(wrong, where)
    with pytest.raises(TypeError, match=r"images must be uint8 or float32, but are"):
        of(x.double(), where)
    for wrong in (where[:1], where[0], where[..., :1]):
        with pytest.raises(ValueError, match=r"places must be .*2, patches, 2.*, but their shape is"):
            of(x, wrong)
    with pytest.raises(TypeError, match="places must be int64, but are"):
        of(x, where.int())
    for wrong in (where - 10, where + 10):
        with pytest.raises(ValueError, match="places must be from 0 to 9"):
            of(x, wrong)
    with pytest.raises(NotImplementedError, match="laplacian_patches has no derivative"):
        of(x.float().requires_grad_(), where)


@pytest.mark.parametrize("differences", [True, False])
def test_the_fake_says_what_the_kernel_gives(differences: bool) -> None:
    torch.library.opcheck(
        torch.ops.gan_ops.laplacian_patches.default, (images(2, 3, 16), places(2, 5, 16), differences)
    )
