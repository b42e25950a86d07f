"""Augmentation before D: how probable it is, what may be combined, and what is logged."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from gan_ops.augmentation import AUGMENTATIONS
from train import dcgan
from train.base.errors import UsageError
from train.data import ImageSet
from train.data.sources import Images
from train.dcgan import DcganConfig
from train.engine.curve import Cosine
from train.engine.schedule import Position
from train.engine.trainer import Trainer
from train.gan.augmentation import Adaptive, InstanceNoise, Piped, Planned
from train.gan.augmentation.probability import INTERVAL

from .engine.fake_cuda import FakeCuda
from .runs import TINY_DCGAN, assert_same, error_of, flags, steps

CPU = torch.device("cpu")


@pytest.fixture
def images() -> ImageSet:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20, 3, 16, 16), generator=random).to(torch.uint8)
    return ImageSet.from_images(pixels, name="noise", labels=torch.arange(20) % 3)


def trainer(images: ImageSet, **options: Any) -> Trainer:
    return dcgan.build_trainer(DcganConfig(**{**TINY_DCGAN, **options}), {"images": images}, CPU)[0]


# ---- the probability


def adaptive(statistic: str = "sign", images: float = 1000.0) -> Adaptive:
    control = Adaptive(statistic, 0.6, images, CPU)
    control.arrange(25)
    return control


def feed(control: Adaptive, signs: list[float]) -> float:
    for sign in signs:
        control.after({"real_sign": torch.tensor(sign)})
    return float(control.at(None))


def test_p_begins_at_0_and_moves_every_fourth_step_by_the_images_shown() -> None:
    control = adaptive()
    assert float(control.at(None)) == 0
    assert [feed(control, [0.9]) for _ in range(9)] == pytest.approx([0, 0, 0, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2])


def test_p_falls_where_the_mean_of_four_signs_is_below_the_target() -> None:
    control = adaptive()
    feed(control, 12 * [0.9])
    assert feed(control, [0.9, 0.9, 0.1, 0.4]) == pytest.approx(0.2)  # their mean is 0.575
    assert feed(control, [0.9, 0.9, 0.1, 0.6]) == pytest.approx(0.3)  # and 0.625


def test_p_stays_from_0_to_1() -> None:
    control = adaptive(images=150.0)
    assert feed(control, 4 * [0.0]) == 0
    assert feed(control, 8 * [1.0]) == 1


@pytest.mark.parametrize(
    ("train", "held_out", "fake", "direction"),
    [
        (2.0, 0.7, 0.0, 1),  # r = 0.65
        (2.0, 0.9, 0.0, -1),  # r = 0.55
        (2.0, 2.1, 0.0, -1),
        (-1.0, -2.0, 0.0, -1),  # generated images are judged higher: there is no r
        (0.0, 0.0, 0.0, -1),
    ],
)
def test_p_follows_how_far_images_held_out_are_from_those_learnt(train, held_out, fake, direction) -> None:
    control = adaptive("held-out")
    for bias in (5.0, -3.0, 0.5, 0.0):  # scores have no zero
        values = {"real_score": train + bias, "held_out_score": held_out + bias, "fake_score": fake + bias}
        control.state.p.fill_(0.5) if bias == 5 else None
        control.after({name: torch.tensor(value) for name, value in values.items()})
    assert float(control.at(None)) == pytest.approx(0.5 + 0.1 * direction)


def test_a_plan_is_a_cosine_over_the_run(images) -> None:
    made = trainer(images, augment="bgc", augment_p="0.2:0.6")
    assert made.schedule.total == 24
    means = []
    for _ in range(6):
        made.step()
        means.append(made.measurements()["augment_p"])
    expected = [0.6 - 0.4 * (1 + math.cos(math.pi * shown / 24)) / 2 for shown in range(0, 24, 4)]
    assert means == pytest.approx(expected)


def test_a_trainer_s_p_follows_the_signs_that_it_logs(images) -> None:
    made = trainer(images, augment="bgc", augment_kimg=0.2, augment_target=0.1, lr="0.01")
    expected, signs, seen = 0.0, [], set()
    for step in range(6 * INTERVAL):
        made.step()
        measured = made.measurements()
        assert measured["augment_p"] == pytest.approx(expected, abs=1e-6)
        signs.append(measured["real_sign"])
        if step % INTERVAL == INTERVAL - 1:
            mean, signs = sum(signs) / INTERVAL, []
            expected += (mean > 0.1 + 1e-6) * 0.08 - (mean < 0.1 - 1e-6) * 0.08
            expected = min(max(expected, 0), 1)
            seen.add(round(expected, 2))
    assert float(made.game.state.augmentation.p) == pytest.approx(expected, abs=1e-6)
    assert len(seen) > 1


def test_p_stays_where_an_update_was_skipped(images) -> None:
    made = trainer(images, augment="bgc", augment_kimg=0.02, augment_target=0.0)
    draw = made.game.draw

    def spoiled(*args: Any) -> dict[str, Tensor]:
        batch = draw(*args)
        return {**batch, "D/real": batch["D/real"] * torch.inf} if made.steps == 1 else batch

    made.game.draw = spoiled
    steps(made, 2)
    assert float(made.game.state.augmentation.steps) == 1 and made.skipped()[0] >= 1
    assert all(buffer.isfinite() for buffer in made.game.state.augmentation.buffers())


# ---- the columns


def test_as_many_columns_are_drawn_whatever_p_is(images) -> None:
    batches = []
    for p in ("0", "0.5", "auto"):
        made = trainer(images, augment="bgcfnc", augment_p=p)
        seen = made.source.columns({"images": 4}, made.position, made._random)
        batches.append(made.game.draw(seen, 4, made.position, made._random))
    shapes = [{name: column.shape for name, column in batch.items()} for batch in batches]
    assert shapes[0] == shapes[1] == shapes[2]
    for name in ("geometry", "color", "additive noise", "cutout"):
        for kind in ("D/real", "D/fake", "G/fake"):
            assert shapes[0][f"{kind} {name}"][0] == 4
    # The random numbers that are not of the augmentation come out the same.
    assert all(torch.equal(batches[0][name], batch[name]) for batch in batches for name in ("D/z", "G/z"))


def test_a_merged_update_shows_both_players_the_same_changes(images) -> None:
    made = trainer(images, augment="bgc", augment_p="0.5", update="merged", instance_noise=0.1)
    seen = made.source.columns({"images": 4}, made.position, made._random)
    batch = made.game.draw(seen, 4, made.position, made._random)
    for name in ("blit", "geometry", "color", "noise"):
        assert batch[f"G/fake {name}"] is batch[f"D/fake {name}"]


def test_noise_comes_after_the_changes_and_has_columns_of_its_own() -> None:
    piped = Piped(AUGMENTATIONS["bgcfnc"].pipe(), Planned(Cosine(1.0, 1.0, 1.0)), InstanceNoise(0.5, 100))
    x = torch.rand(4, 3, 8, 8)
    at = Position(images=0, phase=0, resolution=8, fade=0.0, batch=4, microbatch=4, lr=0.1)
    batch = piped.draw({"D/real": x, "D/fake": x}, at, torch.Generator().manual_seed(0))
    noise = batch["D/real noise"]
    with_noise = piped(x, batch, "D/real")
    without = piped(x, {**batch, "D/real noise": torch.zeros_like(noise)}, "D/real")
    torch.testing.assert_close(with_noise, without + noise)
    assert not torch.equal(batch["D/real additive noise"], batch["D/fake additive noise"])


@pytest.mark.parametrize("augment", ["bgcfnc", "diffaugment"])
def test_captured_steps_train_to_the_same_bits(images, augment, monkeypatch) -> None:
    monkeypatch.setattr("train.engine.trainer.wanted", lambda option, *_: option == "on")
    options = {
        "augment": augment,
        "augment_kimg": 0.1,
        "kimg": 0.1,
        "held_out": 4,
    }
    eager, captured = (trainer(images, **options) for _ in range(2))
    captured._cuda, captured._cuda_graphs = FakeCuda(), "on"
    said: list[str] = []
    captured.say = said.append
    assert_same(steps(captured, 18).state_dict(), steps(eager, 18).state_dict())
    assert said == [] and captured._step.is_captured


# ---- images held out


def test_images_held_out_are_never_learnt_from(images) -> None:
    made = trainer(images, held_out=7, mirror=False)
    seen: dict[str, set[bytes]] = {"D/real": set(), "D/held out": set()}
    draw = made.game.draw

    def watched(*args: Any) -> dict[str, Tensor]:
        batch = draw(*args)
        for name, some in seen.items():
            some |= {image.contiguous().numpy().tobytes() for image in batch[name]}
        return batch

    made.game.draw = watched
    steps(made, 15)
    assert len(seen["D/real"]) == 13 and len(seen["D/held out"]) == 7
    assert not seen["D/real"] & seen["D/held out"]


def test_images_held_out_do_not_change_what_is_learnt(images) -> None:
    """With norms that know no batch, D's pass over them leaves no trace."""
    kept = images.part(torch.cat([torch.arange(20)[row : row + 1] for row in learnt(images)]))
    options = {"d_norm": "layer", "mirror": False}
    with_others, alone = trainer(images, held_out=7, **options), trainer(kept, **options)
    for made in (with_others, alone):
        draw = made.game.draw

        def seeded(*args: Any, made: Trainer = made, draw: Any = draw) -> dict[str, Tensor]:
            return draw(*args[:3], torch.Generator().manual_seed(made.steps))

        made.game.draw = seeded
        steps(made, 3)
    assert_same(with_others.game.networks["G"].state_dict(), alone.game.networks["G"].state_dict())


def learnt(images: ImageSet) -> list[int]:
    """Places of those that are not among 7 held out."""
    made = trainer(images, held_out=7)
    source = made.source._images
    assert isinstance(source, Images)
    return source.images.rows.tolist()


def test_signs_are_logged_where_they_mean_something(images) -> None:
    names = {}
    for loss in ("hinge", "r3gan(gamma=0)", "wgan"):
        made = steps(trainer(images, loss=loss, held_out=5), 1)
        names[loss] = {name for name in made.measurements() if name.endswith("_sign")}
    assert names == {"hinge": {"real_sign", "held_out_sign"}, "r3gan(gamma=0)": {"pair_sign"}, "wgan": set()}


def test_labels_of_images_held_out_go_with_them(images) -> None:
    made = trainer(images, held_out=7, condition="k+1")
    columns = made.source.columns({"images": 4, "held_out": 4}, made.position, made._random)
    both = [columns[name].unflatten(0, (4,)) for name in ("held_out labels", "labels")]
    assert all(labels.dtype == torch.int64 for labels in both)
    pixels = {image.numpy().tobytes(): int(label) for image, label in zip(images.level(16), images.labels, strict=True)}
    shown = ((columns["held_out"] + 1) * 127.5).round().to(torch.uint8)
    mirrored = [
        pixels.get(x.contiguous().numpy().tobytes(), pixels.get(x.flip(2).contiguous().numpy().tobytes()))
        for x in shown
    ]
    assert mirrored == columns["held_out labels"].tolist()


# ---- options


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"augment": "bcg"}, "augment='bcg': 'bcg' is not one of none, diffaugment, bgc"),
        ({"augment": "bgc(colour=1)"}, "bgc has no 'colour', only blit, geom, color, filter, noise, cutout"),
        ({"augment": "bgc(color=2)"}, "color=2 is not from 0 to 1"),
        ({"augment": "blit(blit=0)"}, "no category is left"),
        ({"augment": "bgc", "augment_p": "1.5"}, "augment_p='1.5' is neither auto nor held-out"),
        ({"augment": "bgc", "augment_p": "0:x"}, "augment_p='0:x' is neither auto nor held-out"),
        ({"augment": "bgc", "augment_p": "nan"}, "augment_p='nan' is neither auto nor held-out"),
        ({"augment": "bgc", "augment_p": "held-out"}, "augment_p='held-out' compares D's scores with those of images"),
        ({"augment": "bgc", "augment_target": 2.0}, "augment_target=2.0 is not between 0 and 1"),
        ({"augment": "bgc", "augment_kimg": 0.0}, "augment_kimg=0 is not a positive number"),
        *(
            (
                {"augment": "bgc", "loss": loss, "d_norm": "layer"},
                f"augment_p='auto' adapts p by the sign of D's scores of images, and scores of loss='{loss}' have no"
                " zero that parts real from generated ones",
            )
            for loss in ("wgan-gp", "relativistic", "r3gan", "lsgan", "f", "softmax")
        ),
        (
            {"augment": "bgc", "augment_p": "held-out", "held_out": 5, "loss": "mmd(outputs=3)", "d_norm": "layer"},
            "the critic of loss='mmd(outputs=3)' gives vectors",
        ),
        ({"held_out": -1}, "held_out=-1 is less than 0"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_with_the_reason(options, reason) -> None:
    with pytest.raises(UsageError) as refusal:
        DcganConfig(**{**TINY_DCGAN, **options}).schedule()
    assert reason in str(refusal.value)


@pytest.mark.parametrize("loss", ["minimax", "non-saturating", "boundary-seeking", "hinge", "dragan"])
def test_logistic_and_hinge_losses_adapt_p_by_the_sign(images, loss) -> None:
    made = trainer(images, augment="bgc", loss=loss, d_norm="layer")
    assert made.game.augmentation.probability.statistic == "sign"
    matching = trainer(images, augment="bgc", loss=loss, d_norm="layer", feature_matching=4)
    assert matching.game.augmentation.probability.statistic == "sign"


def test_not_all_images_can_be_held_out(images) -> None:
    with pytest.raises(UsageError, match="held_out=20 leaves none of noise's 20 images to learn from"):
        trainer(images, held_out=20)


def test_a_run_goes_on_with_the_images_that_it_learnt_from(tmp_path, capsys) -> None:
    assert dcgan.main(flags({**TINY_DCGAN, "held_out": 5, "out": tmp_path / "run"})) == 0
    line = error_of(dcgan.main, ["--resume", str(tmp_path / "run"), "--held-out", "6", "--kimg", "0.03"], capsys)
    assert "was trained on 35 images, but data now has 34" in line
