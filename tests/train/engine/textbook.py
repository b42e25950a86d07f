"""Losses as textbooks have them, for comparison with what games yield: each pass by itself, nothing shared.

A plain loss takes the networks by name, the rows that it sees, and the networks as they were when the step began; it
gives a number with a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops.augmentation import Blit, Cutout, Filtering, Geometry
from gan_ops.objectives import Scores
from train.engine.game import Batch

from .losses import LOSSES, Losses, cross_entropy, gaussian_witness

Networks = Mapping[str, nn.Module]
Plain = Callable[[Networks, Batch, Networks], Tensor]


def d_loss(loss: str, real: Tensor, fake: Tensor) -> Tensor:
    return LOSSES[loss].d(Scores(real), Scores(fake))


def g_loss(loss: str, fake: Tensor) -> Tensor:
    return LOSSES[loss].g(Scores(fake), Scores(fake))


CODES = (3, 2)
"""Categories of InfoGAN's codes; others are continuous."""
NORMALISED = {
    "gradient": lambda score, length: score / (length + score.abs()),
    "gradient-v2": lambda score, length: score * length / (length**2 + 0.1),
}
"""Scores divided by their gradients' lengths: Wu et al. 2021, equation 9, and Bhaskara et al. 2022."""


# ---- augmentation


def seen(x: Tensor, b: Batch, name: str) -> Tensor:
    """The images of a column, or fakes, changed as the columns say that are named after them."""
    drawn = {key.removeprefix(f"{name} "): column for key, column in b.items() if key.startswith(f"{name} ")}
    for kind in drawn:
        if kind in CHANGES:
            x = CHANGES[kind](x, drawn[kind])
    return x


def colored(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("ncd,ndhw->nchw", matrix[:, :, :3], x) + matrix[:, :, 3, None, None]


def diff_colored(x: Tensor, drawn: Tensor) -> Tensor:
    added, saturation, contrast = drawn.view(len(x), 3, 1, 1, 1).unbind(1)
    x = x + added
    x = (x - x.mean(1, keepdim=True)) * saturation + x.mean(1, keepdim=True)
    return (x - x.mean((1, 2, 3), keepdim=True)) * contrast + x.mean((1, 2, 3), keepdim=True)


def moved(x: Tensor, steps: Tensor) -> Tensor:
    """Each image by whole pixels."""
    results = []
    for image, (right, down) in zip(x, steps.long().tolist(), strict=True):
        size = image.shape[-1]
        wide = F.pad(image, (size,) * 4)
        results.append(wide[:, size - down : 2 * size - down, size - right : 2 * size - right])
    return torch.stack(results)


def blurred(x: Tensor, taps: Tensor) -> Tensor:
    """Each image by its own taps [N, K] on both axes."""
    kernels = taps[:, :, None] * taps[:, None]
    half = taps.shape[1] // 2
    images = [
        F.conv2d(F.pad(image[:, None], (half,) * 4), kernel[None, None])
        for image, kernel in zip(x, kernels, strict=True)
    ]
    return torch.stack([image[:, 0] for image in images])


def holed(x: Tensor, squares: Tensor) -> Tensor:
    keep = torch.ones_like(x)
    for mask, (left, top, right, bottom) in zip(keep, squares.long().tolist(), strict=True):
        mask[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 0
    return x * keep


CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "blur": blurred,
    "color": colored,
    "additive noise": torch.add,
    "diffcolor": diff_colored,
    "translation": moved,
    "diffcutout": holed,
    "noise": torch.add,
    # What these are, tests/augmentation has written plainly.
    **{layer.name: layer for layer in (Blit(), Geometry(), Filtering(), Cutout())},
}


# ---- the game of two players


class TwoPlayers:
    """The losses of "D" and "G", and of the lazy penalties, each by the name of its move.

    Args:
        loss: a key of :data:`LOSSES`, or what they are.
        penalties: of every step, by name, in their order; the lazy ones come after.
        lazy: penalties that are moves of their own.
        labels: "" for none, "cgan", "projection", "acgan", "real", which are of real images alone, or "infogan",
            which are codes.
        class_weight: of the classification loss.
        matched: index of the map whose means G matches.
        pack: images that D judges as one.
        norm: of scores by their gradients.
    """

    def __init__(
        self,
        loss: str | Losses,
        penalties: tuple[str, ...] = (),
        lazy: tuple[str, ...] = (),
        *,
        labels: str = "",
        class_weight: float = 1.0,
        matched: int | None = None,
        pack: int = 1,
        norm: str = "",
    ) -> None:
        self.pack, self.norm = pack, norm
        self.losses = LOSSES[loss] if isinstance(loss, str) else loss
        self.penalties, self.lazy = penalties, lazy
        self.labels, self.class_weight, self.matched = labels, class_weight, matched

    def plain(self) -> dict[str, Plain]:
        def alone(i: int, name: str) -> Plain:
            return lambda nets, b, start: self.penalty(name, len(self.penalties) + i, nets, b)

        lazy = {f"D_{CLASSES[name]}": alone(i, name) for i, name in enumerate(self.lazy)}
        return {"D": self.d, "G": self.g, **lazy}

    def generated(self, nets: Networks, b: Batch, role: str) -> Tensor:
        given = [b[f"{role}/labels"]] if self.labels in ("cgan", "projection", "acgan") else []
        return nets["G"](b[f"{role}/z"], *given)

    def shown(self, nets: Networks, x: Tensor, b: Batch, name: str, labels: Tensor | None = None) -> Scores:
        """What D says of the images of a column, or of fakes, augmented."""
        return self.judged(nets, seen(x, b, name), labels)

    def judged(self, nets: Networks, x: Tensor, labels: Tensor | None) -> Scores:
        if not self.norm:
            return self._judged(nets, x, labels)
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            scores = self._judged(nets, x, labels)
            (gradient,) = torch.autograd.grad(scores.score.sum(), x, create_graph=True)
            length = gradient.reshape(len(scores.score), -1).square().sum(1).sqrt()
            return scores._replace(score=NORMALISED[self.norm](scores.score, length))

    def _judged(self, nets: Networks, x: Tensor, labels: Tensor | None) -> Scores:
        packs = torch.stack([torch.cat(list(some)) for some in x.split(self.pack)])
        return nets["D"](packs, *([labels] if self.labels in ("cgan", "projection") else []))._replace(x=packs)

    def d(self, nets: Networks, b: Batch, start: Networks) -> Tensor:
        labels = b.get("D/labels")
        fake = self.shown(nets, self.generated(nets, b, "D").detach(), b, "D/fake", labels)
        real = self.shown(nets, b["D/real"], b, "D/real", labels)
        loss = self.losses.d(real, fake)
        if self.labels in ("acgan", "real"):
            loss = loss + self.class_weight * F.cross_entropy(real.logits, labels)
        if self.labels == "acgan":
            loss = loss + self.class_weight * F.cross_entropy(fake.logits, labels)
        if self.labels == "infogan":
            loss = loss + self.told(fake.logits, labels)
        for i, name in enumerate(self.penalties):
            loss = loss + self.penalty(name, i, nets, b)
        return loss

    def g(self, nets: Networks, b: Batch, start: Networks) -> Tensor:
        labels = b.get("G/labels")
        fake = self.shown(nets, self.generated(nets, b, "G"), b, "G/fake", labels)
        if self.matched is not None:
            real = self.shown(nets, b["G/real"], b, "G/real", labels)
            means = [scores.maps[self.matched].mean(0) for scores in (real, fake)]
            return ((means[0] - means[1]) ** 2).sum()
        with torch.no_grad():
            real = self.shown(nets, b["G/real"], b, "G/real", labels) if "G/real" in b else fake
        loss = self.losses.g(fake, real)
        if self.labels == "infogan":
            return loss + self.told(fake.logits, labels)
        return loss + self.class_weight * F.cross_entropy(fake.logits, labels) if self.labels == "acgan" else loss

    def told(self, told: Tensor, codes: Tensor) -> Tensor:
        """How badly codes are told: categories of the first and of the second code, and the rest."""
        (a, b), weight = CODES, self.class_weight
        loss = weight * F.cross_entropy(told[:, :a], codes[:, :a].argmax(1))
        loss = loss + weight * F.cross_entropy(told[:, a : a + b], codes[:, a : a + b].argmax(1))
        return loss + 0.1 * ((told - codes)[:, a + b :] ** 2).sum(1).mean() / 2

    def penalty(self, name: str, i: int, nets: Networks, b: Batch) -> Tensor:
        return b.get("D/penalty weight", torch.ones(1))[0] * self._penalty(name, i, nets, b)

    def _penalty(self, name: str, i: int, nets: Networks, b: Batch) -> Tensor:
        labels = b.get("D/labels")
        images = {"real": b["D/real"], "fake": self.generated(nets, b, "D").detach()}
        real, fake = (seen(x, b, f"D/{which}") for which, x in images.items())
        if name in ("r1", "r2"):
            # At the images before the augmentation.
            which = "real" if name == "r1" else "fake"
            x = images[which].detach().requires_grad_()
            scores = self.shown(nets, x, b, f"D/{which}", labels)
        else:
            u = b["D/between"][:: self.pack].repeat_interleave(self.pack).view(-1, 1, 1, 1)
            around = name == "dragan"
            x = real + 0.5 * real.std(unbiased=False) * b[f"D/around {i}"] if around else (1 - u) * real + u * fake
            x = x.detach().requires_grad_()
            scores = self.judged(nets, x, labels)
        score = scores.score
        if score.dim() == 2:
            score = gaussian_witness(scores, *(self.judged(nets, other, labels) for other in (real, fake)))
        norm = torch.autograd.grad(score.sum(), x, create_graph=True)[0].reshape(len(score), -1).norm(dim=1)
        if name in ("r1", "r2"):
            return 10 / 2 * (norm**2).mean()
        if name == "wgan-div":
            return 2 * (norm**6).mean()
        return 10 * ((norm - 1).clamp(min=0) if name == "wgan-lp" else norm - 1).square().mean()


class Styled(TwoPlayers):
    """The losses of StyleGAN2: G is given another latent, from which layers on it counts, and noise; "G_path" is the
    regularisation of path lengths (Karras et al. 2020, equation 4).

    Args:
        lengths: their mean so far; None for no such move.
    """

    def __init__(self, *args: Any, lengths: float | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.lengths = lengths

    def plain(self) -> dict[str, Plain]:
        return super().plain() | ({} if self.lengths is None else {"G_path": self.path})

    def generated(self, nets: Networks, b: Batch, role: str) -> Tensor:
        return self.drawn(nets, b, role).images

    def drawn(self, nets: Networks, b: Batch, role: str) -> Any:
        labels = [b[f"{role}/labels"]] if self.labels else []
        given = {name: b[f"{role}/{name}"] for name in ("other", "cutoffs", "noise") if f"{role}/{name}" in b}
        return nets["G"](b[f"{role}/z"], *labels, **given, with_styles=True)

    def path(self, nets: Networks, b: Batch, start: Networks) -> Tensor:
        """Of every other sample, one after the other, with the weight 2."""
        costs = []
        for i in range(0, len(b["G/z"]), 2):
            one = {name: column[i : i + 1] for name, column in b.items() if name.startswith("G/")}
            drawn = self.drawn(nets, one, "G")
            along = (drawn.images * one["G/direction"]).sum()
            (slopes,) = torch.autograd.grad(along, drawn.styles, create_graph=True)
            length = (slopes[0] ** 2).sum(1).mean().sqrt()  # [layers, W] → one number
            costs.append(2 * (length - self.lengths) ** 2)
        return torch.stack(costs).mean()


CLASSES = {"r1": "R1", "r2": "R2", "wgan-gp": "WganGP", "wgan-lp": "WganLP", "wgan-div": "WganDiv", "dragan": "Dragan"}


# ---- translators and critics


class Translating:
    """The losses of CycleGAN's "translators" and "critics" (Zhu et al. 2017, section 3 and the authors' code).

    Args:
        loss: "lsgan", without Mao's factors of a half, or another key of :data:`LOSSES`.
        cycle, identity: weights.
    """

    def __init__(self, loss: str, cycle: float, identity: float) -> None:
        self.loss, self.cycle, self.identity = loss, cycle, identity

    def plain(self) -> dict[str, Plain]:
        return {"translators": self.translators, "critics": self.critics}

    def translators(self, nets: Networks, b: Batch, start: Networks) -> Tensor:
        ab, ba = nets["AB"](b["a"]), nets["BA"](b["b"])
        cycle = F.l1_loss(nets["BA"](ab), b["a"]) + F.l1_loss(nets["AB"](ba), b["b"])
        identity = F.l1_loss(nets["BA"](b["a"]), b["a"]) + F.l1_loss(nets["AB"](b["b"]), b["b"])
        scores = nets["DB"](ab).score, nets["DA"](ba).score
        if self.loss == "lsgan":
            adversarial = sum(F.mse_loss(score, torch.ones_like(score)) for score in scores)
        else:
            adversarial = sum(g_loss(self.loss, score) for score in scores)
        return adversarial + self.cycle * cycle + self.identity * identity

    def critics(self, nets: Networks, b: Batch, start: Networks) -> Tensor:
        loss = torch.zeros(())
        for kind, critic, translator, source in (("a", "DA", "BA", "b"), ("b", "DB", "AB", "a")):
            with torch.no_grad():
                shown = start[translator](b[source])
            if f"critics/old {kind}" in b:
                of_pool = zip(shown, b[f"critics/old {kind}"], b[f"critics/swapped {kind}"], strict=True)
                shown = torch.stack([old if swapped else new for new, old, swapped in of_pool])
            real, fake = nets[critic](b[kind]).score, nets[critic](shown).score
            if self.loss == "lsgan":
                both = F.mse_loss(real, torch.ones_like(real)) + F.mse_loss(fake, torch.zeros_like(fake))
            else:
                both = d_loss(self.loss, real, fake)
            loss = loss + both / 2
        return loss


# ---- BigGAN


def on_weights(network: nn.Module, orthogonal: float, bound: float) -> Tensor:
    """Brock et al. 2019, equation 3, and the penalty whose gradient is equation 2, of the layers with spectral norm."""
    total = torch.zeros(())
    for layer in network.modules():
        if not hasattr(layer, "parametrizations"):
            continue
        weight, norm = layer.parametrizations.weight.original, layer.parametrizations.weight[0]
        filters = torch.stack([part.flatten() for part in weight])
        product = (filters @ filters.T) * (1 - torch.eye(len(filters)))
        total = total + orthogonal * product.norm() ** 2
        if bound:
            total = total + F.relu(norm._u @ filters @ norm._v - bound) ** 2 / 2
    return total


# ---- the toys


def _d(nets: Networks, b: Batch, start: Networks) -> Tensor:
    real, fake = (nets["D"](x).score for x in (b["real"], nets["G"](b["z"]).detach()))
    return d_loss("non-saturating", real, fake)


def _g(nets: Networks, b: Batch, start: Networks) -> Tensor:
    return g_loss("non-saturating", nets["D"](nets["G"](b["z"])).score)


def _failure(nets: Networks, x: Tensor) -> Tensor:
    return F.l1_loss(nets["D"](x), x)


def _flat(nets: Networks, b: Batch, start: Networks) -> Tensor:
    x = b["real"].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(nets["D"](x).score.sum(), x, create_graph=True)
    return (gradient**2).sum(1).mean()


def _again(nets: Networks, b: Batch) -> tuple[Tensor, Tensor, Tensor]:
    mean, log_variance = nets["E"](b["real"]).chunk(2, 1)
    return nets["G"](mean + (log_variance / 2).exp() * b["noise"]), mean, log_variance


def _features_apart(nets: Networks, b: Batch) -> Tensor:
    return F.mse_loss(nets["D"](_again(nets, b)[0]).maps[0], nets["D"](b["real"]).maps[0])


def _encoder(nets: Networks, b: Batch, start: Networks) -> Tensor:
    _, mean, log_variance = _again(nets, b)
    unit = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    divergence = torch.distributions.kl_divergence(posterior, unit).sum(1).mean()
    return divergence + _features_apart(nets, b)


def _decoder(nets: Networks, b: Batch, start: Networks) -> Tensor:
    again, drawn = nets["D"](_again(nets, b)[0]).score, nets["D"](nets["G"](b["z"])).score
    return _features_apart(nets, b) + cross_entropy(again, True) + cross_entropy(drawn, True)


def _three_way_critic(nets: Networks, b: Batch, start: Networks) -> Tensor:
    fakes = (_again(nets, b)[0], nets["G"](b["z"]))
    false = sum(cross_entropy(nets["D"](x.detach()).score, False) for x in fakes)
    return cross_entropy(nets["D"](b["real"]).score, True) + false


def _translators(nets: Networks, b: Batch, start: Networks) -> Tensor:
    ab, ba = nets["AB"](b["a"]), nets["BA"](b["b"])
    cycle = F.l1_loss(nets["BA"](ab), b["a"]) + F.l1_loss(nets["AB"](ba), b["b"])
    return cross_entropy(nets["DB"](ab), True) + cross_entropy(nets["DA"](ba), True) + 10 * cycle


def _critics(nets: Networks, b: Batch, start: Networks) -> Tensor:
    with torch.no_grad():
        ab, ba = start["AB"](b["a"]), start["BA"](b["b"])
    true = cross_entropy(nets["DA"](b["a"]), True) + cross_entropy(nets["DB"](b["b"]), True)
    return true + cross_entropy(nets["DA"](ba), False) + cross_entropy(nets["DB"](ab), False)


def _normalised(nets: Networks, x: Tensor) -> Tensor:
    score = nets["D"](x).score
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return score / (gradient.square().sum(1).sqrt() + score.abs())


def _normalised_d(nets: Networks, b: Batch, start: Networks) -> Tensor:
    real, fake = (x.detach().requires_grad_() for x in (b["real"], nets["G"](b["z"])))
    return cross_entropy(_normalised(nets, real), True) + cross_entropy(_normalised(nets, fake), False)


def _pooled_d(nets: Networks, b: Batch, start: Networks) -> Tensor:
    with torch.no_grad():
        new = start["G"](b["z"])
    fake = b["old"] * b["of_pool"] + ~b["old"] * new
    return cross_entropy(nets["D"](b["real"]).score, True) + cross_entropy(nets["D"](fake).score, False)


def _weighed_g(nets: Networks, b: Batch, start: Networks) -> Tensor:
    last = nets["G"][2].weight
    norms = [torch.autograd.grad(x, last)[0].norm() for x in ((nets["G"](b["z"]) ** 2).mean(), _g(nets, b, start))]
    return (nets["G"](b["z"]) ** 2).mean() + norms[0] / (norms[1] + 1e-4) * _g(nets, b, start)


TOYS: dict[str, dict[str, Plain]] = {
    "Toy": {"D": _d, "G": _g},
    "Balanced": {
        "D": lambda nets, b, start: _failure(nets, b["real"]) - 0.25 * _failure(nets, nets["G"](b["z"]).detach()),
        "G": lambda nets, b, start: F.l1_loss(nets["D"](nets["G"](b["z"])), nets["G"](b["z"])),
    },
    "Lazy": {"D": _d, "Flat": _flat, "G": _g},
    "ThreeRoles": {"E": _encoder, "G": _decoder, "D": _three_way_critic},
    "TwoLists": {"translators": _translators, "critics": _critics},
    "Normalised": {
        "D": _normalised_d,
        "G": lambda nets, b, start: cross_entropy(_normalised(nets, nets["G"](b["z"])), True),
    },
    "Pooled": {"G": _g, "D": _pooled_d},
    "Often": {
        "D": lambda nets, b, start: d_loss(
            "wgan", nets["D"](b["D/real"]).score, nets["D"](nets["G"](b["D/z"]).detach()).score
        ),
        "G": lambda nets, b, start: g_loss("wgan", nets["D"](nets["G"](b["G/z"])).score),
    },
    "Wide": {
        "D": lambda nets, b, start: d_loss(
            "non-saturating", nets["D"](b["D/real"]).score, nets["D"](nets["G"](b["D/z"]).detach()).score
        ),
        "G": lambda nets, b, start: g_loss("non-saturating", nets["D"](nets["G"](b["G/z"])).score),
    },
    "Weighed": {"D": _d, "G": _weighed_g},
    "Annealed": {"D": _d, "G": _g},
}


# ---- VAE-GAN


def vae_gan(height: int, gamma: float, prior_weight: float, pixel_weight: float = 0.0) -> dict[str, Plain]:
    """Losses of Larsen et al. 2016, algorithm 1; batch norms see both kinds of latents, and all images, at once.

    Args:
        height: index of the map that reconstructions are compared in.
    """

    def generated(nets: Networks, b: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The posterior's mean and log variance, and reconstructions and samples [2N, C, R, R]."""
        mean, log_variance = nets["E"](b["x"])
        z = mean + log_variance.exp().sqrt() * b["eps"]
        return mean, log_variance, nets["G"](torch.cat([z, b["z"]]))

    def judged(nets: Networks, b: Batch, images: Tensor) -> list[Scores]:
        """Of the images, the reconstructions and the samples."""
        n, all_of_them = len(b["x"]), nets["D"](torch.cat([b["x"], images]))
        parts = [slice(0, n), slice(n, 2 * n), slice(2 * n, 3 * n)]
        return [Scores(all_of_them.score[i], maps=tuple(m[i] for m in all_of_them.maps)) for i in parts]

    def unlikelihood(nets: Networks, b: Batch) -> Tensor:
        images = generated(nets, b)[2]
        real, again, _ = judged(nets, b, images)
        n = len(b["x"])
        features = F.mse_loss(again.maps[height], real.maps[height], reduction="sum")
        pixels = F.mse_loss(images[:n], b["x"], reduction="sum")
        return (features + pixel_weight * pixels) / (2 * n)

    def e(nets: Networks, b: Batch, start: Networks) -> Tensor:
        mean, log_variance, _ = generated(nets, b)
        unit = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
        divergence = torch.distributions.kl_divergence(posterior, unit).sum(1).mean()
        return prior_weight * divergence + unlikelihood(nets, b)

    def g(nets: Networks, b: Batch, start: Networks) -> Tensor:
        _, again, drawn = judged(nets, b, generated(nets, b)[2])
        deceived = cross_entropy(again.score, True) + cross_entropy(drawn.score, True)
        return gamma * unlikelihood(nets, b) + deceived

    def d(nets: Networks, b: Batch, start: Networks) -> Tensor:
        real, again, drawn = judged(nets, b, generated(nets, b)[2].detach())
        false = cross_entropy(again.score, False) + cross_entropy(drawn.score, False)
        return cross_entropy(real.score, True) + false / 2

    return {"E": e, "G": g, "D": d}


# ---- maximum entropy generators


def maximum_entropy(gamma: float, weight: float) -> dict[str, Plain]:
    """Losses of Kumar et al. 2019, section 3: of an energy, and of a generator with its estimate of information.

    Args:
        gamma: twice the weight of the energy's squared gradient at real images.
        weight: of the information.
    """

    def u(nets: Networks, x: Tensor) -> Tensor:
        return -nets["D"](x).score

    def d(nets: Networks, b: Batch, start: Networks) -> Tensor:
        x = b["D/real"].detach().requires_grad_()
        (slope,) = torch.autograd.grad(u(nets, x).sum(), x, create_graph=True)
        fake = nets["G"](b["D/z"]).detach()
        return u(nets, b["D/real"]).mean() - u(nets, fake).mean() + gamma / 2 * (slope**2).sum((1, 2, 3)).mean()

    def g(nets: Networks, b: Batch, start: Networks) -> Tensor:
        x = nets["G"](b["G/z"])
        joint, apart = nets["T"](x, b["G/z"]), nets["T"](x, b["G/other"])
        return u(nets, x).mean() + weight * (cross_entropy(joint, True) + cross_entropy(apart, False))

    return {"D": d, "G": g}


# ---- few labels


def few_labels(weight: float, adversarial: bool) -> dict[str, Plain]:
    """Losses of a classifier that is a discriminator too (Salimans et al. 2016, section 5)."""

    def log_p(nets: Networks, x: Tensor) -> Tensor:
        """Logarithms of the probabilities of the classes and of "generated", whose logit is 0: [N, K + 1]."""
        return F.log_softmax(F.pad(nets["D"](x).logits, (0, 1)), dim=1)

    def is_real(nets: Networks, x: Tensor) -> Tensor:
        return log_p(nets, x)[:, -1].exp().mul(-1).log1p()

    def d(nets: Networks, b: Batch, start: Networks) -> Tensor:
        fake = nets["G"](b["D/z"]).detach()
        unlabelled = is_real(nets, b["D/unlabelled"]).mean() + log_p(nets, fake)[:, -1].mean()
        return labels_alone(nets, b, start) - weight / 2 * unlabelled

    def g(nets: Networks, b: Batch, start: Networks) -> Tensor:
        fake = nets["G"](b["G/z"])
        if adversarial:
            return -is_real(nets, fake).mean()
        means = (nets["D"](x).maps[0].mean(0) for x in (b["G/real"], fake))
        return F.mse_loss(*means, reduction="sum")

    return {"D": d, "G": g}


def labels_alone(nets: Networks, b: Batch, start: Networks) -> Tensor:
    return F.cross_entropy(nets["D"](b["D/images"]).logits, b["D/labels"])


def gradients(
    loss: Plain, parameters: list[nn.Parameter], nets: Networks, parts: list[Batch], start: Networks
) -> list[Tensor]:
    """The mean of the loss's gradients over parts of a batch; 0 where it does not depend on a parameter."""
    sums = [torch.zeros_like(p) for p in parameters]
    for part in parts:
        some: tuple[Any, ...] = torch.autograd.grad(loss(nets, part, start), parameters, allow_unused=True)
        sums = [total if one is None else total + one / len(parts) for total, one in zip(sums, some, strict=True)]
    return sums
