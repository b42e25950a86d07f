"""The gradients of D and of G are the textbook's, and no work is done for gradients that nobody uses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from train.engine.steps import Losses, discriminator_gradients, generator_gradients, merged_gradients

from gan_ops.objectives import GradientPenalty, LeastSquares, NonSaturating, Scores, Wasserstein
from models import dcgan
from models.pggan import Discriminator, Generator
from train.engine.player import Player
from train.engine.precision import DTYPES, Autocast

CPU = torch.device("cpu")
N = 8


class Setting:
    """Small networks in mid-fade and a batch for them."""

    def __init__(self, conditioning: str = "none", precision: str = "float32", loss: str = "wgan-gp"):
        torch.manual_seed(1)
        classes = 3 if conditioning != "none" else 0
        sizes = {"image_channels": 2, "fmap_base": 32, "fmap_max": 8, "num_classes": classes}
        g = Generator(8, latent_dim=6, **sizes)
        d = Discriminator(8, conditioning=conditioning, group_size=4, **sizes)
        for network in (g, d):
            network.grow(8, 0.4)
            network.to(memory_format=torch.channels_last)
        self.generator, self.discriminator = (Player(x, loss_scaling=precision == "fp16") for x in (g, d))
        wasserstein = loss == "wgan-gp"
        self.losses = Losses(
            Wasserstein() if wasserstein else LeastSquares(),
            GradientPenalty() if wasserstein else None,
            class_weight=0.7,
        )
        if precision == "fp16":
            for player in (self.generator, self.discriminator):
                player.loss_scale.scale.fill_(1024)  # as low as it soon falls with weights as few as these
        self.autocast = Autocast(CPU, DTYPES[precision])
        self.real, self.z, self.z2 = torch.randn(N, 2, 8, 8), torch.randn(N, 6), torch.randn(N, 6)
        self.weights = torch.rand(N)
        self.labels = torch.arange(N) % 3 if classes else None

    def run_d(self, microbatch=None):
        self.of_d, values = discriminator_gradients(
            self.discriminator,
            self.generator,
            self.real,
            self.z,
            self.labels,
            weights=self.weights,
            losses=self.losses,
            autocast=self.autocast,
            microbatch=microbatch,
        )
        return values

    def run_g(self, microbatch=None):
        self.of_g, loss = generator_gradients(
            self.generator,
            self.discriminator,
            self.z2,
            self.labels,
            losses=self.losses,
            autocast=self.autocast,
            microbatch=microbatch,
        )
        return loss

    def d_gradients(self) -> torch.Tensor:
        """Of D's active parameters as one vector, with the loss scale taken out."""
        return self._gradients(self.discriminator, self.of_d)

    def g_gradients(self) -> torch.Tensor:
        return self._gradients(self.generator, self.of_g)

    @staticmethod
    def _gradients(player: Player, gradients: list[torch.Tensor]) -> torch.Tensor:
        vector = torch.cat([gradient.flatten() for gradient in gradients])
        return vector if player.scale is None else vector / player.scale


def textbook_d(s: Setting) -> torch.Tensor:
    """D's gradients with separate passes and one loss."""
    d, g = s.discriminator.network, s.generator.network
    fake = g(s.z, s.labels).detach()
    real_out, fake_out = d(s.real, s.labels), d(fake, s.labels)
    loss = s.losses.objective.discriminator_loss(real_out.score, fake_out.score)
    if real_out.class_logits is not None:
        for out in (real_out, fake_out):
            loss = loss + s.losses.class_weight * F.cross_entropy(out.class_logits, s.labels)
    if s.losses.penalty is not None:
        u = s.weights.view(N, 1, 1, 1)
        x = ((1 - u) * s.real + u * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(d(x, s.labels).score.sum(), x, create_graph=True)
        loss = loss + 10 * (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    gradients = torch.autograd.grad(loss, d.active_parameters())
    return torch.cat([x.flatten() for x in gradients])


def textbook_g(s: Setting) -> torch.Tensor:
    d, g = s.discriminator.network, s.generator.network
    out = d(g(s.z2, s.labels), s.labels)
    loss = s.losses.objective.generator_loss(out.score)
    if out.class_logits is not None:
        loss = loss + s.losses.class_weight * F.cross_entropy(out.class_logits, s.labels)
    return torch.cat([x.flatten() for x in torch.autograd.grad(loss, g.active_parameters())])


@pytest.mark.parametrize("loss", ["wgan-gp", "lsgan"])
@pytest.mark.parametrize("conditioning", ["none", "concat", "acgan"])
def test_gradients_are_the_textbooks(conditioning, loss):
    s = Setting(conditioning, loss=loss)
    expected_d, expected_g = textbook_d(s), textbook_g(s)
    s.run_d()
    assert torch.allclose(s.d_gradients(), expected_d, rtol=1e-4, atol=1e-5)
    s.run_g()
    assert torch.allclose(s.g_gradients(), expected_g, rtol=1e-4, atol=1e-5)


def test_ds_half_gives_g_no_gradients_and_builds_no_graph_through_it():
    s = Setting()
    recording = []
    s.generator.network.register_forward_hook(lambda *_: recording.append(torch.is_grad_enabled()))
    s.run_d()
    assert recording == [False]
    assert all(p.grad is None for p in s.generator.network.parameters())


def test_gs_half_gives_d_no_gradients_and_leaves_its_weights_trainable():
    s = Setting()
    frozen = []
    s.discriminator.network.register_forward_hook(
        lambda *_: frozen.append(not any(p.requires_grad for p in s.discriminator.active))
    )
    s.run_g()
    assert frozen == [True]
    assert all(p.grad is None and p.requires_grad for p in s.discriminator.network.parameters())


def test_ds_half_scores_reals_and_fakes_in_one_pass():
    s = Setting()
    sizes = []
    s.discriminator.network.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    s.run_d()
    assert sizes == [2 * N, N]  # scores, then the penalty's points


def test_there_is_a_gradient_for_every_active_parameter_and_none_is_left_behind():
    s = Setting()
    for player in (s.generator, s.discriminator):
        player.network.grow(8, 0.0)
        player.refresh()
    s.run_d()
    s.run_g()
    for player, gradients in ((s.generator, s.of_g), (s.discriminator, s.of_d)):
        assert [g.shape for g in gradients] == [p.shape for p in player.active]
        assert all((g != 0).any() and not g.requires_grad for g in gradients)
        assert all(p.grad is None for p in player.network.parameters())


class PerSample(nn.Module):
    """A discriminator without batch statistics."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 8)

    def active_parameters(self):
        return list(self.parameters())

    def forward(self, x, labels=None, batches=1, features=0):
        return Scores(self.conv(x).flatten().square())


@pytest.mark.parametrize("loss", ["wgan-gp", "lsgan"])
@pytest.mark.parametrize("microbatch", [1, 2, 4])
def test_microbatches_add_up_to_the_whole_batch(microbatch, loss):
    whole, parts = Setting(loss=loss), Setting(loss=loss)
    for s in (whole, parts):
        torch.manual_seed(2)
        s.discriminator = Player(PerSample())
    values = whole.run_d()
    values_of_parts = parts.run_d(microbatch)
    assert torch.allclose(torch.stack(values), torch.stack(values_of_parts), rtol=1e-4)
    assert torch.allclose(whole.d_gradients(), parts.d_gradients(), rtol=1e-4, atol=1e-5)
    assert torch.allclose(whole.run_g(), parts.run_g(microbatch), rtol=1e-4)
    assert torch.allclose(whole.g_gradients(), parts.g_gradients(), rtol=1e-4, atol=1e-5)


def test_a_microbatch_must_divide_the_batch():
    with pytest.raises(ValueError, match="microbatch=3 does not divide the batch of 8"):
        Setting().run_d(3)


@pytest.mark.parametrize(("precision", "alike"), [("bf16", 0.95), ("fp16", 0.998)])  # 8 and 11 bits
def test_half_precision_points_the_same_way(precision, alike):
    full, half = Setting(), Setting(precision=precision)
    for s in (full, half):
        s.run_d()
        s.run_g()
    assert F.cosine_similarity(full.d_gradients(), half.d_gradients(), dim=0) > alike
    assert F.cosine_similarity(full.g_gradients(), half.g_gradients(), dim=0) > alike
    assert full.d_gradients().norm() == pytest.approx(half.d_gradients().norm().item(), rel=0.05)


def test_the_penalty_sees_the_true_gradient_in_float32():
    seen = []

    class Spy(GradientPenalty):
        def loss(self, gradient):
            seen.append(gradient.detach())
            return super().loss(gradient)

    for precision in ("float32", "bf16", "fp16"):
        s = Setting(precision=precision)
        s.losses = Losses(s.losses.objective, Spy())
        s.run_d()
    assert all(gradient.dtype == torch.float32 for gradient in seen)
    for half in seen[1:]:
        assert F.cosine_similarity(half.flatten(), seen[0].flatten(), dim=0) > 0.99
        assert half.norm() == pytest.approx(seen[0].norm().item(), rel=0.05)


def test_reported_values_are_means_without_a_graph():
    s = Setting()
    values = s.run_d()
    assert all(v.dim() == 0 and not v.requires_grad and v.dtype == torch.float32 for v in values)
    with torch.no_grad():
        score = s.discriminator.network(s.real).score.mean()
    assert values.real_score == pytest.approx(score.item(), abs=1e-5)


class Merging:
    """Small networks in float64, so that equal means equal, and a batch for them."""

    def __init__(self, conditioning: str = "none", kernels: int = 3, **losses):
        torch.manual_seed(1)
        classes = {} if conditioning == "none" else {"num_classes": 3, "conditioning": conditioning}
        g = Generator(8, latent_dim=6, fmap_base=32, fmap_max=8, num_classes=classes.get("num_classes", 0))
        d = Discriminator(8, fmap_base=32, fmap_max=8, minibatch_kernels=kernels, **classes)
        for network in (g, d):
            network.double().to(memory_format=torch.channels_last).grow(8, 0.4)
        self.generator, self.discriminator = Player(g), Player(d)
        self.options = {"losses": Losses(NonSaturating(), class_weight=0.7), "autocast": Autocast(CPU)}
        if losses:
            self.options["losses"] = Losses(NonSaturating(), **losses)
        wide = {"dtype": torch.float64}
        self.real, self.noise = torch.randn(2, N, 3, 8, 8, **wide).unbind()
        self.z, self.weights = torch.randn(N, 6, **wide), torch.rand(N, **wide)
        self.labels = torch.arange(N) % 3 if classes else None

    def separate(self, **more):
        batch = {"noise": self.noise, **self.options, **more}
        of_d, values = discriminator_gradients(
            self.discriminator, self.generator, self.real, self.z, self.labels, weights=self.weights, **batch
        )
        of_g, loss = generator_gradients(
            self.generator, self.discriminator, self.z, self.labels, real=self.real, **batch
        )
        return of_d, values, of_g, loss

    def merged(self, **more):
        batch = {"noise": self.noise, **self.options, **more}
        return merged_gradients(
            self.discriminator, self.generator, self.real, self.z, self.labels, weights=self.weights, **batch
        )


@pytest.mark.parametrize("microbatch", [None, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"penalty": GradientPenalty()},
        {"feature_matching": 4},
        {"conditioning": "acgan"},
        {"conditioning": "concat"},
    ],
    ids=str,
)
def test_the_merged_step_has_the_gradients_of_two_separate_ones(options, microbatch):
    s = Merging(**options)
    (of_d, values, of_g, loss), merged = s.separate(microbatch=microbatch), s.merged(microbatch=microbatch)
    for expected, gradients in ((of_d, merged[0]), (values, merged[1]), (of_g, merged[2]), ([loss], [merged[3]])):
        torch.testing.assert_close(list(gradients), list(expected), rtol=1e-12, atol=1e-14)


class MergingDcgan(Merging):
    """The same with a DCGAN."""

    def __init__(self, g_norm: str = "batch", d_norm: str = "batch", classes: int = 0, **losses):
        super().__init__(class_fakes=not classes, **losses)
        torch.manual_seed(1)
        g = dcgan.Generator(8, latent_dim=6, width=4, norm=g_norm, reference_batch=5)
        d = dcgan.Discriminator(8, width=4, norm=d_norm, num_classes=classes, minibatch_kernels=3)
        for network in (g, d):
            network.double().to(memory_format=torch.channels_last)
        self.generator, self.discriminator = Player(g), Player(d)
        self.labels = torch.arange(N) % classes if classes else None


@pytest.mark.parametrize(
    ("options", "microbatch"),
    [
        ({}, None),
        ({}, 4),
        ({"g_norm": "virtual", "classes": 3, "class_weight": 2.0}, 4),
        ({"g_norm": "virtual", "d_norm": "layer", "penalty": GradientPenalty(), "feature_matching": 4}, 4),
        ({"d_norm": "spectral"}, None),
        ({"d_norm": "spectral", "penalty": GradientPenalty()}, None),
    ],
    ids=str,
)
def test_the_merged_step_of_a_dcgan_has_the_gradients_of_two_separate_ones(options, microbatch):
    # Each has networks of its own: a pass moves batch norm's and spectral norm's buffers.
    of_d, values, of_g, loss = MergingDcgan(**options).separate(microbatch=microbatch)
    merged = MergingDcgan(**options).merged(microbatch=microbatch)
    for expected, gradients in ((of_d, merged[0]), (values, merged[1]), (of_g, merged[2]), ([loss], [merged[3]])):
        torch.testing.assert_close(list(gradients), list(expected), rtol=1e-11, atol=1e-13)


def test_the_merged_step_passes_through_g_once():
    s = Merging()
    passes = []
    s.generator.network.register_forward_hook(lambda *_: passes.append(1))
    s.merged()
    assert len(passes) == 1
    assert all(p.requires_grad and p.grad is None for p in s.discriminator.network.parameters())


def test_feature_matching_is_the_distance_of_mean_features_and_no_other_loss():
    s = Merging(feature_matching=4)
    d, fake = s.discriminator.network, s.generator.network(s.z) + s.noise
    means = [d(x, features=4).features.mean(0) for x in (s.real, fake)]
    expected = torch.autograd.grad((means[0] - means[1]).square().sum(), s.generator.active)
    _, _, of_g, loss = s.separate()
    assert loss == pytest.approx((means[0] - means[1]).square().sum().item())
    torch.testing.assert_close(of_g, list(expected))


@pytest.mark.parametrize("size", [4, 8])
def test_features_of_any_height_can_be_matched(size):
    assert all(g.isfinite().all() for g in Merging(feature_matching=size).separate()[2])


def test_instance_noise_is_what_d_sees_of_fakes():
    s, quiet = Merging(), Merging()
    quiet.noise = torch.zeros_like(s.noise)
    seen = []
    s.discriminator.network.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    s.separate()
    fake = s.generator.network(s.z).detach() + s.noise
    torch.testing.assert_close(seen[0][1::2], fake)
    torch.testing.assert_close(seen[1], fake)
    assert quiet.separate()[3] != s.separate()[3]


def test_k_plus_1_classes_are_learnt_from_reals_and_g_has_no_labels():
    torch.manual_seed(0)
    g, d = dcgan.Generator(8, latent_dim=6, width=4), dcgan.Discriminator(8, width=4, num_classes=3)
    players = Player(d), Player(g)
    losses = Losses(NonSaturating(), class_weight=2.0, class_fakes=False)
    real, z, labels = torch.randn(N, 3, 8, 8), torch.randn(N, 6), torch.arange(N) % 3
    gradients, values = discriminator_gradients(
        *players, real, z, labels, weights=torch.rand(N), losses=losses, autocast=Autocast(CPU)
    )
    with torch.no_grad():
        fake = g(z)
    of_real, of_fake = d(real), d(fake)
    loss = losses.objective.discriminator_loss(of_real.score, of_fake.score)
    loss = loss + 2 * F.cross_entropy(of_real.class_logits, labels)
    assert values.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(gradients, list(torch.autograd.grad(loss, d.active_parameters())), rtol=1e-4, atol=1e-6)
    of_g, loss = generator_gradients(players[1], players[0], z, None, losses=losses, autocast=Autocast(CPU))
    assert loss.item() == pytest.approx(losses.objective.generator_loss(d(g(z)).score).item(), rel=1e-5)
    assert len(of_g) == len(players[1].active)
