"""One step of a game, each player's half of it as one unit of work: run op by op, compiled, or as a CUDA graph.

What a unit reads and changes lies still in memory: the networks, the optimizers' state, the fade, the learning rate and
the counters. All else comes in with the batch, random numbers included. So a unit can be captured and replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor, nn

from train.engine.compiled import Compiled
from train.engine.cuda_graphs import Cuda, Graphs
from train.engine.ema import average
from train.engine.player import Player
from train.engine.precision import Autocast
from train.engine.steps import (
    EAGER,
    DiscriminatorValues,
    Losses,
    Parts,
    discriminator_gradients,
    generator_gradients,
    merged_gradients,
)

Say = Callable[[str], None]
Update = Literal["alternating", "joint", "merged"]
"""How the players move: G against the updated D; both from the same state; the same with one set of latents and one
backward pass for both (a gradient penalty takes its own)."""


class Batch(NamedTuple):
    """What one step is given. Where D moves S times, what it is shown is S·N images, else N.

    Attributes:
        real: images [S·N, C, H, W], channels last.
        labels: their classes [S·N], int64, and those of D's fakes if these have any.
        z_for_d: latents of the fakes that D is shown [S·N, latent].
        weights: the gradient penalty's interpolation weights [S·N].
        z_for_g: latents that G learns from [N, latent].
        labels_for_g: their classes [N], int64.
        noise_for_d: what is added to the fakes that D is shown [S·N, C, H, W].
        noise_for_g: what is added to those that G learns from [N, C, H, W].
    """

    real: Tensor
    labels: Tensor | None
    z_for_d: Tensor
    weights: Tensor
    z_for_g: Tensor
    labels_for_g: Tensor | None
    noise_for_d: Tensor | None = None
    noise_for_g: Tensor | None = None


class WholeStep:
    """Moves both players by one batch, and the averaged generator behind them.

    Compiling and capturing go together or alone. Where either fails, the reason is said once and the step runs
    without it. What is compiled are the gradients; averaging them over processes, Adam and the average follow op by op,
    few calls on all parameters at once. What is captured is all of a unit.

    The networks must not grow while it is in use: after :meth:`release` a new one takes over.

    Args:
        half_life: of the averaged generator, in images.
        microbatch: images to handle at once; divides the batch.
        update: how the players move. "merged" uses D's latents and labels for G too.
        d_steps: S, D's moves for each of G's; 1 unless they alternate.
        report_d: is called with D's values and its gradients' norm, ``report_g`` with G's loss and norm: 0-d tensors
            that hold their values until the next step.
        compile: compile the gradients' computation.
        cuda: capture the units as CUDA graphs on this device.
        say: where to say what did not work.
    """

    def __init__(
        self,
        discriminator: Player,
        generator: Player,
        ema: nn.Module,
        losses: Losses,
        autocast: Autocast,
        *,
        half_life: float,
        microbatch: int | None = None,
        update: Update = "alternating",
        d_steps: int = 1,
        report_d: Callable[..., None] = lambda *_: None,
        report_g: Callable[..., None] = lambda *_: None,
        compile: bool = False,
        cuda: Cuda | None = None,
        say: Say = print,
    ) -> None:
        self._discriminator, self._generator, self._ema = discriminator, generator, ema
        self._half_life, self._report_d, self._report_g = half_life, report_d, report_g
        self._compiled = [Compiled(part, say) for part in EAGER] if compile else []
        parts = Parts(*self._compiled) if compile else EAGER
        self._settings = {"losses": losses, "autocast": autocast, "microbatch": microbatch, "parts": parts}
        self._d_steps = d_steps
        units = {
            "alternating": [self._discriminator_half, self._generator_half],
            "joint": [self._both],
            "merged": [self._merged],
        }[update]
        self._graphs = None if cuda is None else Graphs(units, cuda, say)
        self._units = units

    def __call__(self, batch: Batch) -> None:
        if self._graphs is not None:
            self._graphs(batch)
            return
        for unit in self._units:
            unit(batch)

    def release(self) -> None:
        """Lets go of compiled code and captured graphs."""
        if self._graphs is not None:
            self._graphs.release()
        for part in self._compiled:
            part.release()

    def _discriminator_half(self, batch: Batch) -> None:
        count = len(batch.real) // self._d_steps
        for step in range(self._d_steps):
            self._move_discriminator(*self._discriminator_gradients(batch, slice(step * count, (step + 1) * count)))

    def _generator_half(self, batch: Batch) -> None:
        self._move_generator(*self._generator_gradients(batch), len(batch.real))

    def _both(self, batch: Batch) -> None:
        for_d, for_g = self._discriminator_gradients(batch, slice(None)), self._generator_gradients(batch)
        self._move_discriminator(*for_d)
        self._move_generator(*for_g, len(batch.real))

    def _merged(self, batch: Batch) -> None:
        gradients, values, of_generator, loss = merged_gradients(
            self._discriminator,
            self._generator,
            batch.real,
            batch.z_for_d,
            batch.labels,
            weights=batch.weights,
            noise=batch.noise_for_d,
            **self._settings,
        )
        self._move_discriminator(gradients, values)
        self._move_generator(of_generator, loss, len(batch.real))

    def _discriminator_gradients(self, batch: Batch, part: slice) -> tuple[list[Tensor], DiscriminatorValues]:
        return discriminator_gradients(
            self._discriminator,
            self._generator,
            batch.real[part],
            batch.z_for_d[part],
            None if batch.labels is None else batch.labels[part],
            weights=batch.weights[part],
            noise=None if batch.noise_for_d is None else batch.noise_for_d[part],
            **self._settings,
        )

    def _generator_gradients(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        matching = self._settings["losses"].feature_matching
        return generator_gradients(
            self._generator,
            self._discriminator,
            batch.z_for_g,
            batch.labels_for_g,
            noise=batch.noise_for_g,
            real=batch.real[-len(batch.z_for_g) :] if matching else None,
            **self._settings,
        )

    def _move_discriminator(self, gradients: list[Tensor], values: DiscriminatorValues) -> None:
        norm, _ = self._discriminator.update(gradients)
        self._report_d(*values, norm)

    def _move_generator(self, gradients: list[Tensor], loss: Tensor, shown: int) -> None:
        norm, _ = self._generator.update(gradients)
        average(self._ema, self._generator.network, shown, self._half_life)
        self._report_g(loss, norm)
