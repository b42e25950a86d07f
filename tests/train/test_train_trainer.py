"""One step of a run: what the players are shown and in which order they move."""

import math
import os
import signal

import pytest
import torch

from models.pggan import fade_reals
from train.base import processes
from train.base.errors import UsageError
from train.base.interrupt import StopSignals
from train.data import to_float

from .runs import batch_of, steps, to_the_end, watch, weights

PENALTIES = ("r1", "r2", "wgan-gp", "wgan-lp(target=0.01)", "dragan")


@pytest.mark.parametrize("update", ["alternating", "joint"])
def test_g_moves_against_the_updated_d_unless_they_move_together(tiny_trainer, update):
    trainer = tiny_trainer(update=update)
    d, seen = trainer.game.networks["D"], []
    before = weights(d)
    watch(trainer, "G", lambda _: seen.append(weights(d)))
    trainer.step()
    assert torch.equal(seen[0], before) == (update == "joint")
    assert not torch.equal(weights(d), before)


def test_real_images_fade_as_the_networks_do(tiny_trainer, tiny_images, monkeypatch):
    trainer = tiny_trainer(mirror=False)
    seen = []
    watch(trainer, "D", lambda batch: seen.append(batch["D/real"]))
    monkeypatch.setattr(trainer.source._order, "next", torch.arange)
    steps(trainer, 6)
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
    monkeypatch.setattr(trainer.source._order, "next", lambda count: torch.zeros(count, dtype=torch.int64))
    seen = []
    watch(trainer, "D", lambda batch: seen.append(batch["D/real"]))
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
    to_the_end(trainer)
    for network, parameters in zip(networks, before, strict=True):
        assert network.resolution == 8
        assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))


def test_labels_of_fakes_come_from_the_data(tiny_trainer, tiny_images):
    tiny_images.labels.fill_(2)
    assert batch_of(tiny_trainer(condition="acgan"))["G/labels"].tolist() == [2] * 4


def test_means_go_by_their_names(tiny_trainer) -> None:
    trainer = steps(tiny_trainer(), 1)
    state = trainer.state_dict()
    other, foreign = tiny_trainer(), tiny_trainer()
    other.load_state_dict({**state, "meters": dict(reversed(state["meters"].items()))})
    foreign.load_state_dict({**state, "meters": {f"other {name}": sums for name, sums in state["meters"].items()}})
    measured = trainer.measurements()
    assert other.measurements() == measured and not any(math.isnan(value) for value in measured.values())
    assert not foreign.measurements().keys() & measured.keys()


def test_measurements_are_means_of_what_was_finite_since_the_last_call(tiny_trainer):
    trainer = tiny_trainer()
    for value in (1.0, float("nan"), 3.0):
        trainer.meters.add({"a": torch.tensor(value), "b": torch.tensor(math.inf)})
    means = trainer.measurements()
    assert means["a"] == 2.0 and math.isnan(means["b"])
    trainer.meters.add({"a": torch.tensor(7.0), "b": torch.tensor(5.0)})
    assert trainer.measurements() == {"a": 7.0, "b": 5.0}


def test_a_skipped_update_of_one_player_is_counted_and_training_goes_on(tiny_trainer):
    trainer = tiny_trainer()
    spoil = iter([True])

    def look(batch):
        if next(spoil, False):
            batch["D/real"].fill_(float("nan"))

    watch(trainer, "D", look)
    steps(trainer, 3)
    assert trainer.skipped() == (1, 0)
    assert [int(trainer.players[name].skipped) for name in ("D", "G")] == [1, 0]
    assert torch.isfinite(weights(trainer.game.networks["D"])).all()


def test_the_first_signal_is_a_wish_and_the_second_an_order():
    before = signal.getsignal(signal.SIGINT)
    with StopSignals() as stop:
        assert stop.received is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is before


def test_several_processes_ignore_further_signals(monkeypatch):
    monkeypatch.setattr(processes, "size", lambda: 2)
    before = signal.getsignal(signal.SIGINT)
    with StopSignals() as stop:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) is before


def test_d_moves_several_times_a_step_each_time_with_new_images(tiny_trainer):
    trainer = tiny_trainer(d_steps=3)
    shown, order = [], []
    watch(trainer, "D", shown.append)
    watch(trainer, "G", lambda _: order.append(len(shown)))
    before = trainer.images
    trainer.step()
    assert order == [3] and trainer.images - before == 3 * 4
    for column in ("D/real", "D/z"):
        assert len({batch[column].flatten().tolist()[0] for batch in shown}) == 3
        assert all(len(batch[column]) == 4 for batch in shown)


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
        ({"loss": "non-saturating(label_smoothing=0.1)"}, {"loss": "non-saturating"}),
        ({"feature_matching": 4}, {}),
        ({"feature_matching": 4}, {"feature_matching": 8}),
        ({"minibatch_discrimination": 5}, {}),
        ({"minibatch_dim": 3}, {"minibatch_discrimination": 5}),
        ({"historical_averaging": 0.1}, {}),
        ({"instance_noise": 0.1}, {}),
        ({"augment": "diffaugment"}, {}),
        ({"augment": "bgc", "augment_p": "0.5"}, {}),
        ({"augment": "bgc(color=0.5)", "augment_p": "0.5"}, {"augment": "bgc", "augment_p": "0.5"}),
        ({"augment_p": "0:0.5"}, {"augment": "bgc", "augment_p": "0.5"}),
        ({"held_out": 5}, {}),
        ({"ttur": 4.0}, {}),
        ({"d_steps": 2}, {}),
        ({"update": "joint"}, {}),
        ({"update": "merged"}, {"update": "joint"}),
        ({"condition": "cgan"}, {}),
        ({"condition": "acgan"}, {"condition": "cgan"}),
        ({"class_weight": 0.3}, {"condition": "acgan"}),
        ({"loss": "wgan-gp(weight=1)"}, {}),
        ({"loss": "wgan-gp(target=5)"}, {}),
        ({"loss": "wgan-gp(drift=0.5)"}, {}),
        *(
            ({"penalty": penalty}, {"loss": "hinge"})
            for penalty in ("r1", "r2", "wgan-gp", "wgan-lp(target=0.01)", "dragan")
        ),
        ({"penalty": "r1(gamma=1)"}, {"penalty": "r1"}),
        ({"penalty": "r1(every=2)"}, {"penalty": "r1"}),
        ({"group_size": 2}, {}),
        ({"microbatch": "2", "group_size": 2}, {"group_size": 2}),
        ({"lr_ramp_kimg": 0.1}, {}),
    ],
    ids=str,
)
def test_every_option_changes_the_run(tiny_trainer, option, beside):
    states = []
    for options in ({**beside, **option}, beside):
        trainer = steps(tiny_trainer(start_resolution=8, **options), 3)
        states.append(trainer.game.networks["G"].conv.weight)
    assert not torch.equal(*states)


@pytest.mark.parametrize("condition", ["none", "cgan"])
def test_minibatch_discrimination_is_scaled_to_the_data(tiny_trainer, tiny_images, condition):
    # One deviation of the whole batch, so that the images' order does not matter.
    options = {"minibatch_discrimination": 5, "group_size": 0, "condition": condition}
    trainer = tiny_trainer(start_resolution=8, **options)
    d = trainer.game.networks["D"]
    labels = tiny_images.labels if condition == "cgan" else None
    with torch.no_grad():
        hidden, _ = d._hidden(to_float(tiny_images.level(8)), labels)
        m = torch.einsum("na,abc->nbc", hidden, d.minibatch.weight)
    distances = (m[:, None] - m).abs().sum(3)  # [N, N, B]
    nearest = distances.masked_fill(torch.eye(len(m), dtype=torch.bool)[:, :, None], math.inf).amin(1)
    torch.testing.assert_close(nearest.mean(0), torch.full((5,), 2.0), rtol=1e-3, atol=1e-3)


def test_joined_labels_and_feature_matching_exclude_each_other(tiny_trainer):
    with pytest.raises(
        UsageError, match="feature_matching=4 cannot be combined with condition='cgan': means over all classes"
    ):
        tiny_trainer(condition="auto", feature_matching=4)
    tiny_trainer(condition="acgan", feature_matching=4)


def test_instance_noise_falls_to_nothing(tiny_trainer):
    trainer = tiny_trainer(instance_noise=0.5, instance_noise_kimg=0.016, start_resolution=8)
    for step in range(6):
        batch = batch_of(trainer)
        deviations = [float(batch[f"{name} noise"].std()) for name in ("D/real", "D/fake", "G/fake")]
        assert deviations == pytest.approx([0.5 * max(0, 1 - step / 4)] * 3, rel=0.15, abs=1e-6)
        trainer.images += 4


def test_the_merged_update_shows_g_and_d_the_same_fakes(tiny_trainer):
    trainer = tiny_trainer(update="merged")
    latents = []
    trainer.game.networks["G"].register_forward_pre_hook(lambda _, args: latents.append(args[0]))
    networks = trainer.game.networks.values()
    before = [weights(network) for network in networks]
    trainer.step()
    assert len(latents) == 1
    assert not any(torch.equal(weights(network), old) for network, old in zip(networks, before, strict=True))
