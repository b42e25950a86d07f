"""The gradients of D and of G are the textbook's, and no work is done for gradients that nobody uses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ops.objectives import (
    FeatureMatching,
    GradientPenalty,
    LeastSquares,
    NonSaturating,
    Scores,
    Wasserstein,
    WganGP,
)
from train.engine.game import Batch
from train.gan.critic import Critic
from train.gan.game import Gan

from .playing import CHANNELS, CLASS_WEIGHT, N, Playing, batch_for, dcgan_game, gradients, pggan_game, vector

LOSSES = {
    "wgan-gp": {"objective": Wasserstein(drift=0.001), "penalties": [WganGP()]},
    "lsgan": {"objective": LeastSquares()},
}
losses = pytest.mark.parametrize("loss", LOSSES)


def labelled(game: Gan, batch: Batch, role: str) -> tuple[Tensor, ...]:
    """The labels that G takes."""
    return (batch[f"{role}/labels"],) if game.conditioning.generates else ()


def critic(game: Gan, x: Tensor, batch: Batch, role: str) -> Scores:
    d = game.networks["D"]
    return d(x, batch[f"{role}/labels"]) if d.condition in ("cgan", "projection") else d(x)


def classified(scores: Scores, batch: Batch, role: str) -> Tensor:
    """The loss of the classes, of a D that tells them apart."""
    return 0.0 if scores.logits is None else CLASS_WEIGHT * F.cross_entropy(scores.logits, batch[f"{role}/labels"])


def textbook_d(game: Gan, batch: Batch) -> list[Tensor]:
    """D's gradients with separate passes and one loss."""
    d, real = game.networks["D"], batch["D/real"]
    fake = game.networks["G"](batch["D/z"], *labelled(game, batch, "D")).detach()
    real_out, fake_out = critic(game, real, batch, "D"), critic(game, fake, batch, "D")
    loss = game.objective.d(real_out.score, fake_out.score)
    loss = loss + classified(real_out, batch, "D") + classified(fake_out, batch, "D")
    for _ in game.penalties:
        u = batch["D/between"].view(N, 1, 1, 1)
        x = ((1 - u) * real + u * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(game, x, batch, "D").score.sum(), x, create_graph=True)
        loss = loss + 10 * (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return list(torch.autograd.grad(loss, d.active_parameters()))


def textbook_g(game: Gan, batch: Batch) -> list[Tensor]:
    g = game.networks["G"]
    out = critic(game, g(batch["G/z"], *labelled(game, batch, "G")), batch, "G")
    loss = game.objective.g(out.score) + classified(out, batch, "G")
    return list(torch.autograd.grad(loss, g.active_parameters()))


@losses
@pytest.mark.parametrize("condition", ["none", "cgan", "acgan", "projection"])
def test_gradients_are_the_textbooks(condition: str, loss: str) -> None:
    game = pggan_game(condition, dtype=torch.float64, **LOSSES[loss])
    batch = batch_for(game)
    found, _ = gradients(game, batch)
    for name, expected in (("D", textbook_d(game, batch)), ("G", textbook_g(game, batch))):
        torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=1e-12)


def test_ds_move_gives_g_no_gradients_and_builds_no_graph_through_it() -> None:
    game = pggan_game(**LOSSES["wgan-gp"])
    recorded = []
    game.networks["G"].register_forward_hook(lambda _, __, images: recorded.append(images.requires_grad))
    gradients(game, batch_for(game))
    assert recorded == [False, True]  # in D's move, in G's
    assert all(p.grad is None for p in game.networks["G"].parameters())


def test_gs_move_gives_d_no_gradients_and_leaves_its_weights_trainable() -> None:
    game = pggan_game(**LOSSES["wgan-gp"])
    d, frozen = game.networks["D"], []
    d.register_forward_hook(lambda *_: frozen.append(not any(p.requires_grad for p in d.active_parameters())))
    gradients(game, batch_for(game))
    assert frozen == [False, False, True]  # scores, penalty, G's
    assert all(p.grad is None and p.requires_grad for p in d.parameters())


def test_ds_move_scores_reals_and_fakes_in_one_pass() -> None:
    game = pggan_game(**LOSSES["wgan-gp"])
    sizes = []
    game.networks["D"].register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    gradients(game, batch_for(game))
    assert sizes == [2 * N, N, N]  # scores, the penalty's points, G's fakes


def test_there_is_a_gradient_for_every_active_parameter_and_none_is_left_behind() -> None:
    game = pggan_game(fade=0.0, **LOSSES["wgan-gp"])
    found, _ = gradients(game, batch_for(game))
    for name, network in game.networks.items():
        assert [g.shape for g in found[name]] == [p.shape for p in network.active_parameters()]
        assert all((g != 0).any() and not g.requires_grad for g in found[name])
        assert all(p.grad is None for p in network.parameters())


class PerSample(nn.Module):
    """A discriminator without batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, 1, 8)

    def forward(self, x: Tensor) -> Scores:
        return Scores(self.conv(x).flatten().square())


@losses
@pytest.mark.parametrize("microbatch", [1, 2, 4])
def test_microbatches_add_up_to_the_whole_batch(microbatch: int, loss: str) -> None:
    game = pggan_game(**LOSSES[loss])
    torch.manual_seed(2)
    game.networks["D"] = PerSample()
    game.critic = Critic(game.networks["D"], game.conditioning)
    batch = batch_for(game)
    (whole, reported), (parts, of_parts) = gradients(game, batch), gradients(game, batch, microbatch=microbatch)
    assert reported.keys() == of_parts.keys()
    for name, value in reported.items():
        torch.testing.assert_close(of_parts[name], value, rtol=1e-4, atol=1e-6)
    for name in game.roles:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-5)


def test_a_microbatch_must_divide_the_batch() -> None:
    with pytest.raises(ValueError, match="microbatch=3 does not divide the batch of 8"):
        Playing(pggan_game(), microbatch=3)


@pytest.mark.parametrize(("precision", "alike"), [("bf16", 0.95), ("fp16", 0.998)])  # 8 and 11 bits
def test_half_precision_points_the_same_way(precision: str, alike: float) -> None:
    game = pggan_game(**LOSSES["wgan-gp"])
    (full, _), (half, _) = (gradients(game, batch_for(game), precision=p) for p in ("float32", precision))
    for name in game.roles:
        assert F.cosine_similarity(vector(full[name]), vector(half[name]), dim=0) > alike
    assert vector(full["D"]).norm() == pytest.approx(vector(half["D"]).norm().item(), rel=0.05)


class Spy(GradientPenalty):
    """Notes the gradients that it penalises."""

    def loss(self, gradient: Tensor) -> Tensor:
        self.seen.append(gradient.detach())
        return super().loss(gradient)


def test_the_penalty_sees_the_true_gradient_in_float32() -> None:
    seen: list[Tensor] = []
    spy = Spy()
    object.__setattr__(spy, "seen", seen)
    game = pggan_game(objective=Wasserstein(), penalties=[spy])
    for precision in ("float32", "bf16", "fp16"):
        gradients(game, batch_for(game), precision=precision)
    assert all(gradient.dtype == torch.float32 for gradient in seen)
    for half in seen[1:]:
        assert F.cosine_similarity(half.flatten(), seen[0].flatten(), dim=0) > 0.99
        assert half.norm() == pytest.approx(seen[0].norm().item(), rel=0.05)


def test_reported_values_are_means_without_a_graph() -> None:
    game = pggan_game(**LOSSES["wgan-gp"])
    batch = batch_for(game)
    _, reported = gradients(game, batch)
    assert set(reported) == {"d_loss", "g_loss", "d_norm", "g_norm", "penalty", "real_score", "fake_score"}
    assert all(v.dim() == 0 and not v.requires_grad and v.dtype == torch.float32 for v in reported.values())
    with torch.no_grad():
        score = game.networks["D"](batch["D/real"]).score.mean()
    assert reported["real_score"] == pytest.approx(score.item(), abs=1e-5)


# In float64, so that equal means equal.
WIDE = {"dtype": torch.float64, "noise": 1.0, "shared_latents": True}


def assert_merged_gradients_are_those_of_two_moves(
    make, options: dict, microbatch: int | None, *, rtol: float, atol: float
) -> None:
    # Each has networks of its own: a pass moves batch norm's and spectral norm's buffers.
    (separate, reported), (merged, of_merged) = (
        gradients(game, batch_for(game), update=update, microbatch=microbatch)
        for game, update in ((make(**WIDE, **options), "joint"), (make(**WIDE, **options), "merged"))
    )
    for name in ("D", "G"):
        torch.testing.assert_close(merged[name], separate[name], rtol=rtol, atol=atol)
    assert of_merged.keys() == reported.keys()
    for name, value in reported.items():
        torch.testing.assert_close(of_merged[name], value, rtol=rtol, atol=atol)


MATCHED = {"objective": FeatureMatching(NonSaturating(), 4)}
PENALISED = {"penalties": [WganGP()]}


@pytest.mark.parametrize("microbatch", [None, 4])
@pytest.mark.parametrize(
    "options",
    [{}, PENALISED, MATCHED, {"condition": "acgan"}, {"condition": "cgan"}, {"condition": "projection"}],
    ids=str,
)
def test_the_merged_step_has_the_gradients_of_two_separate_moves(options: dict, microbatch: int | None) -> None:
    options = {"kernels": 3, **options}
    assert_merged_gradients_are_those_of_two_moves(pggan_game, options, microbatch, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "microbatch"),
    [
        ({}, None),
        ({}, 4),
        ({"g_norm": "virtual", "classes": 3, "class_weight": 2.0}, 4),
        ({"g_norm": "virtual", "d_norm": "layer", **PENALISED, **MATCHED}, 4),
        ({"d_norm": "spectral"}, None),
        ({"d_norm": "spectral", **PENALISED}, None),
    ],
    ids=str,
)
def test_the_merged_step_of_a_dcgan_has_the_gradients_of_two_separate_moves(
    options: dict, microbatch: int | None
) -> None:
    options = {"kernels": 3, **options}
    assert_merged_gradients_are_those_of_two_moves(dcgan_game, options, microbatch, rtol=1e-11, atol=1e-13)


def test_the_merged_step_passes_through_g_once() -> None:
    game = pggan_game(**WIDE)
    passes = []
    game.networks["G"].register_forward_hook(lambda *_: passes.append(1))
    gradients(game, batch_for(game), update="merged")
    assert len(passes) == 1
    assert all(p.requires_grad and p.grad is None for p in game.networks["D"].parameters())


def test_feature_matching_is_the_distance_of_mean_features_and_no_other_loss() -> None:
    game = pggan_game(**WIDE, **MATCHED)
    batch = batch_for(game)
    d, g = game.networks["D"], game.networks["G"]
    real, fake = batch["G/real"] + batch["G/real noise"], g(batch["G/z"]) + batch["G/fake noise"]
    means = [d(x).maps[-1].mean(0) for x in (real, fake)]
    distance = (means[0] - means[1]).square().sum()
    expected = torch.autograd.grad(distance, g.active_parameters())
    found, reported = gradients(game, batch, update="joint")
    assert reported["g_loss"] == pytest.approx(distance.item())
    torch.testing.assert_close(found["G"], list(expected))


@pytest.mark.parametrize("size", [4, 8])
def test_features_of_any_height_can_be_matched(size: int) -> None:
    game = pggan_game(**WIDE, objective=FeatureMatching(NonSaturating(), size))
    found, _ = gradients(game, batch_for(game), update="joint")
    assert all(gradient.isfinite().all() for gradient in found["G"])


def test_instance_noise_is_what_d_sees_of_all_images() -> None:
    game, quiet = pggan_game(**WIDE), pggan_game(**WIDE)
    batch, seen = batch_for(game), []
    game.networks["D"].register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    _, reported = gradients(game, batch, update="joint")
    fake = game.networks["G"](batch["D/z"]).detach() + batch["D/fake noise"]
    torch.testing.assert_close(seen[0][::2], batch["D/real"] + batch["D/real noise"])
    torch.testing.assert_close(seen[0][1::2], fake)
    torch.testing.assert_close(seen[1], fake)
    without = {name: column for name, column in batch.items() if not name.endswith("noise")}
    assert gradients(quiet, without, update="joint")[1]["g_loss"] != reported["g_loss"]


def test_k_plus_1_classes_are_learnt_from_reals_and_g_has_no_labels() -> None:
    game = dcgan_game(classes=3, class_weight=2.0, dtype=torch.float64)
    batch = batch_for(game)
    assert "G/labels" not in batch
    found, reported = gradients(game, batch)
    g, d = game.networks["G"], game.networks["D"]
    of_real, of_fake = d(batch["D/real"]), d(g(batch["D/z"]).detach())
    loss = game.objective.d(of_real.score, of_fake.score) + 2 * F.cross_entropy(of_real.logits, batch["D/labels"])
    assert reported["d_loss"].item() == pytest.approx(loss.item(), rel=1e-10)
    expected = torch.autograd.grad(loss, list(d.parameters()))
    torch.testing.assert_close(found["D"], list(expected), rtol=1e-10, atol=1e-12)
    loss = game.objective.g(d(g(batch["G/z"])).score)
    assert reported["g_loss"].item() == pytest.approx(loss.item(), rel=1e-10)
    assert len(found["G"]) == len(list(g.parameters()))
