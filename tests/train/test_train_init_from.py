"""``--init-from``: a new run that starts with another one's networks."""

import json
import shutil

import pytest
import torch

from train import dcgan, pggan
from train.base.errors import CheckpointError, UsageError, run_program
from train.data import ImageSet
from train.pggan import PgganConfig
from train.run import checkpoint
from train.run.init_from import open_origin, take_over

from .runs import assert_same, newest, train


@pytest.fixture
def old(shared_run):
    """The folder of a finished run at 8x8."""
    return shared_run("old")


def not_taken(trainer, old_trainer: dict) -> dict[str, list[str]]:
    """Names of the new networks' tensors that are not those of the old run's state, by network."""
    pairs = {name: (network, old_trainer["networks"][name]) for name, network in trainer.game.networks.items()}
    pairs["averaged G"] = trainer.averages["G"], old_trainer["averages"]["G"]
    return {
        name: [
            key
            for key, tensor in network.state_dict().items()
            if isinstance(tensor, torch.Tensor) and not (key in saved and torch.equal(tensor, saved[key]))
        ]
        for name, (network, saved) in pairs.items()
    }


def test_networks_of_the_same_kind_are_taken_whole_and_all_else_begins(old, tiny_trainer):
    trainer = tiny_trainer(seed=7)
    fresh = tiny_trainer(seed=7).state_dict()
    lines = take_over(trainer, open_origin(old, pggan.SYSTEM))
    assert not_taken(trainer, newest(old)["trainer"]) == {"G": [], "D": [], "averaged G": []}
    state = trainer.state_dict()
    assert state["images"] == state["steps"] == 0
    assert state["players"]["G"]["optimizer"] == state["players"]["D"]["optimizer"] == {}
    assert torch.equal(state["processes"][0]["random"], fresh["processes"][0]["random"])
    assert state["source"] == fresh["source"]
    assert lines[0].endswith("checkpoint_000000048.pt, at 8x8")
    assert lines[1:] == [
        "G: 12 of 12 tensors taken, 100.0% of the values",
        "D: 14 of 14 tensors taken, 100.0% of the values",
    ]


def test_at_a_higher_resolution_the_grown_blocks_are_there_and_the_new_ones_are_listed(old, tiny_config):
    random = torch.Generator().manual_seed(0)
    images = ImageSet.from_images(torch.randint(0, 256, (8, 3, 16, 16), generator=random).to(torch.uint8))
    trainer, _ = pggan.build_trainer(tiny_config(resolution=16), {"images": images}, torch.device("cpu"))
    _, generator, discriminator = take_over(trainer, open_origin(old, pggan.SYSTEM))
    new = not_taken(trainer, newest(old)["trainer"])
    assert all(key.startswith(("blocks.16.", "to_rgb.16.")) for key in new["G"])
    assert all(key.startswith(("blocks.16.", "from_rgb.16.")) for key in new["D"])
    assert new["averaged G"] == new["G"] and len(new["G"]) == 6
    assert "12 of 18 tensors taken" in generator
    assert "new: blocks.16.conv0.weight [2, 4, 3, 3], blocks.16.conv0.bias [2]" in generator
    assert "from_rgb.16.weight" in discriminator


def test_tensors_of_another_shape_and_those_that_are_not_there_any_more_are_listed(old, tiny_trainer):
    trainer = tiny_trainer(latent=9, condition="acgan")
    _, generator, discriminator = take_over(trainer, open_origin(old, pggan.SYSTEM))
    assert not_taken(trainer, newest(old)["trainer"])["G"] == ["dense.weight"]
    assert "of another shape, so new: dense.weight [12, 96] (there [6, 96])" in generator
    assert "new: head.classes.weight [3, 6], head.classes.bias [3]" in discriminator
    smaller = tiny_trainer(resolution=4)
    _, generator, _ = take_over(smaller, open_origin(old, pggan.SYSTEM))
    assert "not used: blocks.8.conv0.weight" in generator


def test_long_lists_are_cut(old, tiny_trainer):
    *_, discriminator = take_over(tiny_trainer(fmap_max=5), open_origin(old, pggan.SYSTEM))
    assert discriminator.count("(there") == 6 and discriminator.endswith("(there [6]) and 3 more")


def test_nothing_that_fits_is_an_error(old, tiny_trainer):
    # Biases of three colours and of one score fit any network: they alone are nothing.
    with pytest.raises(UsageError, match=r"--init-from: nothing of .*checkpoint_000000048\.pt fits; G: 2 of"):
        take_over(tiny_trainer(fmap_max=3), open_origin(old, pggan.SYSTEM))


def test_the_past_of_historical_averaging_begins_with_the_networks_taken(old, tiny_trainer):
    trainer = tiny_trainer(historical_averaging=0.1)
    take_over(trainer, open_origin(old, pggan.SYSTEM))
    for name, player in trainer.players.items():
        network, averages = trainer.game.networks[name].state_dict(), player.state_dict()["averages"]
        assert averages and all(torch.equal(average, network[key[2:]]) for key, average in averages.items())


def test_new_kernels_of_minibatch_discrimination_are_scaled_to_the_networks_taken(old, tiny_trainer):
    options = {"minibatch_discrimination": 5, "start_resolution": 8}
    taken_over, whole = tiny_trainer(**options), tiny_trainer(**options)
    take_over(taken_over, open_origin(old, pggan.SYSTEM))
    discriminator = whole.game.networks["D"]
    before = discriminator.minibatch.weight.clone()
    saved = newest(old)["trainer"]["networks"]["D"]
    without = ("head.", "_extra_state")
    discriminator.load_state_dict({k: v for k, v in saved.items() if not k.startswith(without)}, strict=False)
    whole.game._fit()
    assert torch.equal(taken_over.game.networks["D"].minibatch.weight, discriminator.minibatch.weight)
    assert not torch.allclose(before, discriminator.minibatch.weight, rtol=0.1)


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({}, 8),
        ({"resolution": 32}, 8),
        ({"resolution": 4}, 4),
        ({"resolution": 32, "start_resolution": 4}, 4),
        ({"resolution": 32, "start_resolution": 16}, 16),
    ],
)
def test_growing_starts_where_the_networks_have_come_to_unless_told(tiny_config, options, start):
    schedule = tiny_config(**options).begun_at(8).schedule()
    assert (schedule.phases[0].resolution, schedule.phases[0].fading) == (start, False)


def test_the_networks_have_the_old_sizes_unless_others_are_given(old, tiny_options, tmp_path):
    unsaid = {"latent": None, "fmap_base": None, "fmap_max": None, "init_from": old}
    for out, more, fmap_max in (("as-old", (), 6), ("wider", ("--fmap-max", "8"), 8)):
        assert train(*tiny_options(*more, out=tmp_path / out, **unsaid)) == 0
        config = json.loads((tmp_path / out / "config.json").read_text())
        assert (config["latent"], config["fmap_base"], config["fmap_max"]) == (6, 16, fmap_max)


def test_without_networks_growing_starts_at_4():
    assert PgganConfig().schedule().phases[0].resolution == 4


def test_what_a_run_in_mid_growth_has_reached_is_where_the_new_one_starts(tiny_options, tmp_path):
    assert train(*tiny_options(out=tmp_path / "old", resolution=16, kimg=0.03)) == 0
    origin = open_origin(tmp_path / "old", pggan.SYSTEM)
    assert origin.reached == 8
    new = tiny_options("--init-from", str(tmp_path / "old"), out=tmp_path / "new", resolution=16, kimg=0.012)
    assert train(*new) == 0
    assert json.loads((tmp_path / "new" / "stats.jsonl").read_text().splitlines()[0])["resolution"] == 8


def test_a_run_from_a_run_is_recorded_and_resumes_bitwise_without_the_old_one(
    old, tiny_options, tmp_path, monkeypatch, capsys
):
    source = tmp_path / "source"
    shutil.copytree(old, source)
    options = {"data_size": 30, "seed": 3}
    new = tiny_options("--init-from", str(source), out=tmp_path / "whole", resolution=16, **options)
    assert train(*new) == 0
    printed = capsys.readouterr().out
    assert f"networks from {source}/checkpoint_000000048.pt, at 8x8" in printed
    assert (tmp_path / "whole" / "log.txt").read_text() == printed
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert config["init_from"] == f"{source}/checkpoint_000000048.pt" and config["start_resolution"] == 8

    halves = tiny_options("--init-from", str(source), out=tmp_path / "halves", resolution=16, kimg=0.02, **options)
    assert train(*halves) == 0
    shutil.rmtree(source)
    assert train("--resume", str(tmp_path / "halves"), "--kimg", "0") == 0
    whole, halves = (newest(tmp_path / name)["trainer"] for name in ("whole", "halves"))
    assert whole["images"] == halves["images"] == 48
    for part in ("networks", "averages"):
        assert_same(whole[part], halves[part])


def test_a_dcgan_starts_from_a_dcgan(tmp_path, capsys):
    small = ["--data-size", "40", "--device", "cpu", "--batch", "8", "--kimg", "0.016", "--no-tensorboard"]
    small += ["--d-width", "4", "--latent", "5", "--precision", "float32"]

    def run(*args: str) -> int:
        return run_program(lambda: dcgan.main([*small, *args]))

    assert run("--resolution", "16", "--g-width", "8", "--out", str(tmp_path / "old")) == 0
    capsys.readouterr()
    # Half the width at twice the size: G's layers up to the old last one have their old shapes.
    larger = ["--resolution", "32", "--g-width", "4", "--init-from", str(tmp_path / "old")]
    assert run(*larger, "--out", str(tmp_path / "new")) == 0
    lines = capsys.readouterr().out.splitlines()
    (generator,) = [line for line in lines if line.startswith("G: ")]
    assert "of 20 tensors taken" in generator and "[5, 16, 4, 4]" not in generator
    assert json.loads((tmp_path / "new" / "config.json").read_text())["init_from"].endswith("checkpoint_000000016.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"system": "dcgan"}, "is of a run of train.dcgan, not of train.pggan"),
        ({}, "lacks 'system'"),
        ({"system": "pggan", "trainer": []}, "is damaged: "),
        ({"system": "pggan", "trainer": {"players": {"G": {"streak": "x"}}}}, "is damaged: "),
    ],
)
def test_what_is_no_checkpoint_of_the_system_is_refused_in_one_line(tiny_options, tmp_path, capsys, content, message):
    torch.save({"format": checkpoint.FORMAT, **content}, tmp_path / "a.pt")
    assert train(*tiny_options("--init-from", str(tmp_path / "a.pt"), out=tmp_path / "run")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"checkpoint {tmp_path / 'a.pt'} {message}" in line
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_has_diverged_is_refused(old, tmp_path):
    state = newest(old)
    state["trainer"]["averages"]["G"]["dense.weight"].fill_(float("nan"))
    checkpoint.save(tmp_path / "checkpoint_000000001.pt", state)
    with pytest.raises(CheckpointError, match=r"has diverged: averages\.G\.dense\.weight is not finite"):
        open_origin(tmp_path / "checkpoint_000000001.pt", pggan.SYSTEM)


def test_init_from_and_resume_exclude_each_other(old, capsys):
    assert train("--resume", str(old), "--init-from", str(old)) == 2
    assert "--init-from cannot be given with --resume" in capsys.readouterr().err
