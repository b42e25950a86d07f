"""The rival: PGGAN's D and G step as the textbook has it, in plain torch modules and the usual loop.

It computes what our own step computes, which tests/benchmarks checks to rounding, the way most reimplementations do:
module by module, real, fake and interpolated images in a pass each, ``detach()``, ``backward()`` through everything,
Adam and the average as their defaults are.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EqualizedConv2d(nn.Module):
    """Convolution with run-time weight scaling."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0, gain: float = 2**0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = gain / math.sqrt(in_channels * kernel_size**2)
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class EqualizedLinear(nn.Module):
    """Dense layer with run-time weight scaling."""

    def __init__(self, in_features: int, out_features: int, gain: float = 2**0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.scale = gain / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class PixelNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(torch.mean(x**2, dim=1, keepdim=True) + 1e-8)


class MinibatchStddev(nn.Module):
    def __init__(self, group_size: int = 4):
        super().__init__()
        self.group_size = group_size

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        group = min(self.group_size, n)
        y = x.view(group, -1, c, h, w).float()
        y = y - y.mean(dim=0, keepdim=True)
        y = torch.sqrt((y**2).mean(dim=0) + 1e-8).mean(dim=[1, 2, 3], keepdim=True)
        return torch.cat([x, y.to(x.dtype).repeat(group, 1, h, w)], dim=1)


class Generator(nn.Module):
    """At one resolution, stabilised: latents [N, latent] → images [N, 3, r, r]."""

    def __init__(self, resolution: int, channels: int, latent: int):
        super().__init__()
        self.norm = PixelNorm()
        self.dense_weight = nn.Parameter(torch.randn(latent, channels * 16))
        self.dense_bias = nn.Parameter(torch.zeros(channels))
        self.dense_scale = 2**0.5 / 4 / math.sqrt(latent)
        self.convs = nn.ModuleList()
        for _ in range(int(math.log2(resolution)) - 1):
            self.convs += [EqualizedConv2d(channels, channels, 3, 1) for _ in range(2 if len(self.convs) else 1)]
        self.to_rgb = EqualizedConv2d(channels, 3, 1, gain=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.norm(z) @ (self.dense_weight * self.dense_scale)
        x = x.view(len(z), -1, 4, 4) + self.dense_bias[:, None, None]
        x = self.norm(F.leaky_relu(x, 0.2))
        for i, conv in enumerate(self.convs):
            if i % 2 == 1:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = self.norm(F.leaky_relu(conv(x), 0.2))
        return self.to_rgb(x)


class Discriminator(nn.Module):
    """At one resolution, stabilised: images [N, 3, r, r] → scores [N]."""

    def __init__(self, resolution: int, channels: int):
        super().__init__()
        self.from_rgb = EqualizedConv2d(3, channels, 1)
        blocks = int(math.log2(resolution)) - 2
        self.convs = nn.ModuleList(EqualizedConv2d(channels, channels, 3, 1) for _ in range(2 * blocks))
        self.stddev = MinibatchStddev()
        self.conv = EqualizedConv2d(channels + 1, channels, 3, 1)
        self.dense = EqualizedLinear(channels * 16, channels)
        self.out = EqualizedLinear(channels, 1, gain=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.from_rgb(x), 0.2)
        for i, conv in enumerate(self.convs):
            x = F.leaky_relu(conv(x), 0.2)
            if i % 2 == 1:
                x = F.avg_pool2d(x, 2)
        x = F.leaky_relu(self.conv(self.stddev(x)), 0.2)
        x = F.leaky_relu(self.dense(x.flatten(1)), 0.2)
        return self.out(x).squeeze(1).float()


class Textbook:
    """Networks, optimizers and the loop's body; the arguments are those of :class:`benchmarks.steps.Ours`."""

    def __init__(
        self,
        resolution: int,
        channels: int,
        latent: int,
        dtype: torch.dtype,
        half_life: float = 1000.0,
        eps: float = 1e-8,
    ) -> None:
        self.generator = Generator(resolution, channels, latent)
        self.discriminator = Discriminator(resolution, channels)
        self.ema = copy.deepcopy(self.generator)
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), lr=0.001, betas=(0.0, 0.99), eps=eps)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=0.001, betas=(0.0, 0.99), eps=eps)
        self.dtype = dtype
        self.half_life = half_life

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.generator.dense_bias.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def step(self, real: Tensor, z_for_d: Tensor, z_for_g: Tensor, weight: Tensor) -> None:
        """One D update (WGAN-GP with drift) and one G update; ``weight`` [N, 1, 1, 1] places the interpolates."""
        self.d_optimizer.zero_grad()
        self.d_loss(real, z_for_d, weight).backward()
        self.d_optimizer.step()

        self.g_optimizer.zero_grad()
        self.g_loss(z_for_g).backward()
        self.g_optimizer.step()
        self.average(0.5 ** (len(real) / self.half_life))

    def d_loss(self, real: Tensor, z: Tensor, weight: Tensor) -> Tensor:
        with self.autocast():
            fake = self.generator(z).detach().float()
            real_score, fake_score = self.discriminator(real), self.discriminator(fake)
        mixed = (real + weight * (fake - real)).requires_grad_()
        with self.autocast():
            mixed_score = self.discriminator(mixed)
        (gradient,) = torch.autograd.grad(mixed_score.sum(), mixed, create_graph=True)
        penalty = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
        return fake_score.mean() - real_score.mean() + 10 * penalty + 0.001 * (real_score**2).mean()

    def g_loss(self, z: Tensor) -> Tensor:
        with self.autocast():
            return -self.discriminator(self.generator(z)).mean()

    def average(self, decay: float) -> None:
        with torch.no_grad():
            for average, parameter in zip(self.ema.parameters(), self.generator.parameters(), strict=True):
                average.mul_(decay).add_(parameter, alpha=1 - decay)


class CompiledTextbook(Textbook):
    """The same step compiled whole, as torch can do it: each player's gradients are taken inside one graph.

    The rest is the fastest that torch has to offer without writing kernels: fused Adam, and the average compiled.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        capturable = self.generator.dense_bias.is_cuda
        for optimizer in (self.d_optimizer, self.g_optimizer):
            optimizer.param_groups[0].update(foreach=False, fused=True, capturable=capturable)
        options = {"fullgraph": True, "dynamic": False}
        self._d_gradients = torch.compile(self.d_gradients, **options)
        self._g_gradients = torch.compile(self.g_gradients, **options)
        self._average = torch.compile(self.average, **options)

    def step(self, real: Tensor, z_for_d: Tensor, z_for_g: Tensor, weight: Tensor) -> None:
        with torch._dynamo.config.patch(trace_autograd_ops=True):
            # In a graph torch 2.11 lets no tensor begin to require a gradient; the interpolates do by the weight.
            weight = weight.detach().requires_grad_()
            self._move(self.d_optimizer, self._d_gradients(real, z_for_d, weight))
            self._move(self.g_optimizer, self._g_gradients(z_for_g))
            self._average(0.5 ** (len(real) / self.half_life))

    def d_gradients(self, real: Tensor, z: Tensor, weight: Tensor) -> list[Tensor]:
        return self._gradients(self.d_loss(real, z, weight), self.discriminator)

    def g_gradients(self, z: Tensor) -> list[Tensor]:
        return self._gradients(self.g_loss(z), self.generator)

    @staticmethod
    def _gradients(loss: Tensor, network: nn.Module) -> list[Tensor]:
        return [gradient.detach() for gradient in torch.autograd.grad(loss, list(network.parameters()))]

    @staticmethod
    def _move(optimizer: torch.optim.Optimizer, gradients: list[Tensor]) -> None:
        for parameter, gradient in zip(optimizer.param_groups[0]["params"], gradients, strict=True):
            parameter.grad = gradient.contiguous()
        optimizer.step()
