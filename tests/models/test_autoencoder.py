"""The encoder to a normal posterior, and what reconstructs images by it and a decoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.autoencoder import Encoder, Encoding, Reconstruction
from models.dcgan import Generator
from models.parts.norms import D_NORMS

LATENT = 6


def encoder(resolution: int = 16, **options) -> Encoder:
    return Encoder(resolution, **{"latent_dim": LATENT, "width": 4, **options})


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_the_papers_convolutions_at_64_pixels():
    e = Encoder(64, width=64, kernel_size=5, latent_dim=128)
    convolutions = [module for module in e.modules() if isinstance(module, nn.Conv2d)]
    # The paper goes to 8×8; down to 4×4 there is one more.
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512]
    assert {(c.stride, c.kernel_size) for c in convolutions} == {((2, 2), (5, 5))}
    assert (e.out.in_features, e.out.out_features) == (512 * 4 * 4, 2 * 128)


@pytest.mark.parametrize("norm", D_NORMS)
@pytest.mark.parametrize("resolution", [8, 32, 128])
def test_every_image_has_a_mean_and_a_log_variance(resolution, norm):
    e = encoder(resolution, image_channels=1, norm=norm)
    posterior = e(torch.randn(3, 1, resolution, resolution))
    assert posterior.mean.shape == posterior.log_variance.shape == (3, LATENT)
    loss = posterior.mean.square().sum() + posterior.log_variance.square().sum()
    gradients = torch.autograd.grad(loss, list(e.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("shape", [(2, 1, 16, 16), (2, 3, 8, 8), (3, 16, 16)])
def test_other_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"x is \[.*\], not \[N, 3, 16, 16\]"):
        encoder()(torch.zeros(shape))


def test_the_posterior_is_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        posterior = encoder()(torch.randn(2, 3, 16, 16))
    assert {tensor.dtype for tensor in posterior} == {torch.float32}


def test_an_image_is_reconstructed_from_the_mean_of_its_posterior():
    e, g = encoder().eval(), Generator(16, latent_dim=LATENT, width=4).eval()
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(Reconstruction(e, g)(x), g(Encoding(e)(x)))
    assert torch.equal(Encoding(e)(x), e(x).mean)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_maps_images_says_which_it_takes(channels):
    e = encoder(32, image_channels=channels)
    for network in (Reconstruction(e, Generator(32, latent_dim=LATENT, width=4, image_channels=channels)), Encoding(e)):
        assert (network.resolution, network.image_channels) == (32, channels)
