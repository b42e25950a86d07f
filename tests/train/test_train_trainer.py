"""One step of a run: what the players are shown and in which order they move."""

import math
import os
import signal

import pytest
import torch

import train.engine.step
from models.pggan import fade_reals
from train.base.errors import UsageError
from train.base.interrupt import StopSignals
from train.data import to_float


def spy(monkeypatch, name: str, look):
    """Calls ``look`` with the arguments of one of the gradient functions before it runs."""
    function = getattr(train.engine.step, name)

    def call(*args, **options):
        look(*args, **options)
        return function(*args, **options)

    monkeypatch.setattr(train.engine.step, name, call)


def weights(player) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in player.network.parameters()])


@pytest.mark.parametrize("update", ["alternating", "joint"])
def test_g_moves_against_the_updated_d_unless_they_move_together(tiny_trainer, monkeypatch, update):
    trainer = tiny_trainer(update=update)
    before = weights(trainer.players["D"])
    seen = []
    spy(monkeypatch, "generator_gradients", lambda g, d, *_, **__: seen.append(weights(d)))
    trainer.step()
    assert torch.equal(seen[0], before) == (update == "joint")
    assert not torch.equal(weights(trainer.players["D"]), before)


def test_real_images_fade_as_the_networks_do(tiny_trainer, tiny_images, monkeypatch):
    trainer = tiny_trainer(mirror=False)
    seen = []
    spy(monkeypatch, "discriminator_gradients", lambda d, g, real, *_, **__: seen.append(real))
    monkeypatch.setattr(trainer._order, "next", torch.arange)
    for _ in range(6):
        trainer.step()
    assert (trainer.game.networks["D"].resolution, trainer.game.networks["D"].fade) == (8, 0.75)
    assert torch.equal(seen[-1], fade_reals(to_float(tiny_images.level(8)[:4]), 0.75))
    assert torch.equal(seen[0], to_float(tiny_images.level(4)[:4]))


@pytest.mark.parametrize(
    ("option", "allowed", "mirrored"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_images_are_mirrored_where_option_and_data_allow_it(
    tiny_trainer, tiny_images, monkeypatch, option, allowed, mirrored
):
    tiny_images.mirror = allowed
    trainer = tiny_trainer(mirror=option, batch="16")
    monkeypatch.setattr(trainer._order, "next", lambda count: torch.zeros(count, dtype=torch.int64))
    seen = []
    spy(monkeypatch, "discriminator_gradients", lambda d, g, real, *_, **__: seen.append(real))
    trainer.step()
    plain = to_float(tiny_images.level(4)[:1])
    as_they_are = sum(torch.equal(image, plain[0]) for image in seen[0])
    flipped = sum(torch.equal(image, plain[0].flip(2)) for image in seen[0])
    assert as_they_are + flipped == 16
    assert (flipped > 0) == mirrored


@pytest.mark.parametrize("reset", [False, True])
def test_the_optimizers_start_anew_where_the_active_resolutions_change(tiny_trainer, reset):
    trainer = tiny_trainer(reset_optimizer=reset)
    weight = trainer.game.networks["G"].conv.weight
    counts = []
    while not trainer.done:
        trainer.step()
        counts.append(int(trainer.players["G"].optimizer.state[weight]["step"]))
    assert counts == ([1, 2, 3, 4] * 3 if reset else list(range(1, 13)))


def test_growth_rebuilds_no_parameter(tiny_trainer):
    trainer = tiny_trainer()
    networks = (trainer.game.networks["G"], trainer.game.networks["D"], trainer.averages["G"])
    before = [list(network.parameters()) for network in networks]
    while not trainer.done:
        trainer.step()
    for network, parameters in zip(networks, before, strict=True):
        assert network.resolution == 8
        assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))


def test_labels_of_fakes_come_from_the_data(tiny_trainer, tiny_images, monkeypatch):
    tiny_images.labels.fill_(2)
    seen = []
    spy(monkeypatch, "generator_gradients", lambda g, d, z, labels, **_: seen.append(labels))
    tiny_trainer(conditioning="acgan").step()
    assert seen[0].tolist() == [2] * 4


def test_means_of_other_meters_are_not_taken_for_ours(tiny_trainer) -> None:
    trainer = tiny_trainer()
    trainer.step()
    state = trainer.state_dict()
    before, other = tiny_trainer(), tiny_trainer()
    before.load_state_dict({**state, "meters": tuple(reversed(state["meters"]))})
    other.load_state_dict(state)
    assert all(math.isnan(value) for value in before.measurements().values())
    assert not any(math.isnan(value) for value in other.measurements().values())


def test_measurements_are_means_since_the_last_call(tiny_trainer, monkeypatch):
    trainer = tiny_trainer()
    for value in (1.0, float("nan"), 3.0):
        trainer._measure_d(*[torch.tensor(value)] * 5)
        trainer._measure_g(*[torch.tensor(value)] * 2)
    assert set(trainer.measurements().values()) == {2.0}
    trainer._measure_d(*[torch.tensor(7.0)] * 5)
    trainer._measure_g(*[torch.tensor(7.0)] * 2)
    assert set(trainer.measurements().values()) == {7.0}


def test_a_skipped_update_of_one_player_is_counted_and_training_goes_on(tiny_trainer, monkeypatch):
    trainer = tiny_trainer()
    spoil = iter([True])

    def look(d, g, real, *_, **__):
        if next(spoil, False):
            real.fill_(float("nan"))

    spy(monkeypatch, "discriminator_gradients", look)
    for _ in range(3):
        trainer.step()
    assert trainer.skipped() == (1, 0)
    assert torch.isfinite(weights(trainer.players["D"])).all()


def test_the_first_signal_is_a_wish_and_the_second_an_order():
    before = signal.getsignal(signal.SIGINT)
    with StopSignals() as stop:
        assert stop.received is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is before


def test_d_moves_several_times_a_step_each_time_with_new_images(tiny_trainer, monkeypatch):
    trainer = tiny_trainer(d_steps=3)
    reals, fakes, order = [], [], []
    spy(monkeypatch, "discriminator_gradients", lambda d, g, real, z, *_, **__: (reals.append(real), fakes.append(z)))
    spy(monkeypatch, "generator_gradients", lambda *_, **__: order.append(len(reals)))
    before = trainer.images
    trainer.step()
    assert order == [3] and trainer.images - before == 3 * 4
    for batches in (reals, fakes):
        assert len({batch.flatten().tolist()[0] for batch in batches}) == 3
        assert all(len(batch) == 4 for batch in batches)


def test_d_learns_so_many_times_as_fast_as_g(tiny_trainer):
    trainer = tiny_trainer(ttur=4.0)
    trainer.step()
    g, d = (player.optimizer.param_groups[0]["lr"] for player in (trainer.players["G"], trainer.players["D"]))
    assert d == 4 * g > 0


@pytest.mark.parametrize(
    ("option", "beside"),
    [
        ({"loss": "lsgan"}, {}),
        ({"loss": "hinge"}, {}),
        ({"label_smoothing": 0.1}, {"loss": "non-saturating"}),
        ({"feature_matching": 4}, {}),
        ({"feature_matching": 4}, {"feature_matching": 8}),
        ({"minibatch_discrimination": 5}, {}),
        ({"minibatch_dim": 3}, {"minibatch_discrimination": 5}),
        ({"historical_averaging": 0.1}, {}),
        ({"instance_noise": 0.1}, {}),
        ({"ttur": 4.0}, {}),
        ({"d_steps": 2}, {}),
        ({"update": "joint"}, {}),
        ({"update": "merged"}, {"update": "joint"}),
        ({"conditioning": "concat"}, {}),
        ({"conditioning": "acgan"}, {"conditioning": "concat"}),
        ({"class_weight": 0.3}, {"conditioning": "acgan"}),
        ({"gp_weight": 1.0}, {}),
        ({"gp_target": 5.0}, {}),
        ({"drift": 0.5}, {}),
        ({"group_size": 2}, {}),
        ({"microbatch": "2", "group_size": 2}, {"group_size": 2}),
        ({"lr_ramp_kimg": 0.1}, {}),
    ],
    ids=str,
)
def test_every_option_changes_the_run(tiny_trainer, option, beside):
    states = []
    for options in ({**beside, **option}, beside):
        trainer = tiny_trainer(start_resolution=8, **options)
        for _ in range(3):
            trainer.step()
        states.append(trainer.game.networks["G"].conv.weight)
    assert not torch.equal(*states)


@pytest.mark.parametrize("conditioning", ["none", "concat"])
def test_minibatch_discrimination_is_scaled_to_the_data(tiny_trainer, tiny_images, conditioning):
    # One deviation of the whole batch, so that the images' order does not matter.
    options = {"minibatch_discrimination": 5, "group_size": 0, "conditioning": conditioning}
    trainer = tiny_trainer(start_resolution=8, **options)
    d = trainer.game.networks["D"]
    labels = tiny_images.labels if conditioning == "concat" else None
    with torch.no_grad():
        hidden, _ = d._hidden(to_float(tiny_images.level(8)), labels)
        m = torch.einsum("na,abc->nbc", hidden, d.minibatch.weight)
    distances = (m[:, None] - m).abs().sum(3)  # [N, N, B]
    nearest = distances.masked_fill(torch.eye(len(m), dtype=torch.bool)[:, :, None], math.inf).amin(1)
    torch.testing.assert_close(nearest.mean(0), torch.full((5,), 2.0), rtol=1e-3, atol=1e-3)


def test_joined_labels_and_feature_matching_exclude_each_other(tiny_trainer):
    with pytest.raises(
        UsageError, match="feature_matching=4 cannot be combined with conditioning='concat': the maps to match come"
    ):
        tiny_trainer(conditioning="auto", feature_matching=4)
    tiny_trainer(conditioning="acgan", feature_matching=4)


def test_instance_noise_falls_to_nothing(tiny_trainer, monkeypatch):
    trainer = tiny_trainer(instance_noise=0.5, instance_noise_kimg=0.016, start_resolution=8, mirror=False)
    clean = tiny_trainer(start_resolution=8, mirror=False)
    deviations = []
    for _ in range(6):
        noisy, quiet = trainer._batch(trainer.position), clean._batch(clean.position)
        on_reals = noisy.real - quiet.real
        deviations.append([float(x.std()) for x in (on_reals, noisy.noise_for_d, noisy.noise_for_g)])
        trainer.images += 4
    for step, row in enumerate(deviations):
        assert row == pytest.approx([0.5 * max(0, 1 - step / 4)] * 3, rel=0.15, abs=1e-6)


def test_the_merged_update_shows_g_and_d_the_same_fakes(tiny_trainer, monkeypatch):
    trainer = tiny_trainer(update="merged")
    latents = []
    trainer.game.networks["G"].register_forward_pre_hook(lambda _, args: latents.append(args[0]))
    before = weights(trainer.players["G"]), weights(trainer.players["D"])
    trainer.step()
    assert len(latents) == 1
    assert not torch.equal(before[0], weights(trainer.players["G"]))
    assert not torch.equal(before[1], weights(trainer.players["D"]))
