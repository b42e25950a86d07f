"""``python -m train.dcgan``: runs, every technique alone and together, resuming, and what checkpoints hold."""

import copy
import json

import pytest
import torch

from models.parts.norms import D_NORMS, G_NORMS
from train import dcgan, generate, pggan
from train.base.errors import UsageError, run_program
from train.data import ImageSet
from train.dcgan import DcganConfig, build_trainer
from train.gan.augmentation import InstanceNoise
from train.measure.pictures import draw
from train.run import checkpoint

from .runs import TINY_DCGAN, assert_same, batch_of, error_of, flags, steps

TECHNIQUES = [
    {"loss": "minimax"},
    {"loss": "lsgan"},
    {"loss": "hinge"},
    {"loss": "wgan", "d_steps": 5},
    {"loss": "wgan-gp", "d_norm": "layer"},
    {"loss": "non-saturating(label_smoothing=0.1)"},
    {"penalty": "r1(every=2), r2", "d_norm": "none"},
    {"penalty": "dragan", "d_norm": "layer"},
    {"loss": "fisher"},
    {"loss": "mcgan-covariance(outputs=5)", "d_steps": 2},
    {"loss": "mmd(outputs=3)", "d_norm": "layer"},
    {"loss": "c-transform"},
    {"loss": "r3gan", "d_norm": "none"},
    {"pack": 2, "minibatch_discrimination": 5},
    {"d_norm": "gradient"},
    {"d_norm": "gradient-v2", "loss": "relativistic"},
    {"feature_matching": 4},
    {"minibatch_discrimination": 5},
    {"historical_averaging": 0.1},
    {"instance_noise": 0.1},
    {"augment": "bgcfnc", "augment_p": "0.8", "precision": "bf16"},
    {"augment": "diffaugment", "update": "merged", "microbatch": "2"},
    {"augment": "bgc(cutout=1)", "augment_p": "0:0.5", "loss": "r3gan", "d_norm": "none"},
    {"augment": "bg", "pack": 2, "held_out": 8, "augment_kimg": 0.01},
    {"ttur": 4.0},
    {"optimizer": "rmsprop"},
    {"optimizer": "optimistic", "d_steps": 2},
    {"optimizer": "optimistic-adam", "microbatch": "2"},
    {"update": "merged"},
    {"g_norm": "virtual"},
    {"weight_norm": True},
    {"g_norm": "instance", "d_norm": "group"},
    {"g_norm": "pixel", "d_norm": "spectral"},
    {"g_norm": "none", "d_norm": "none", "weight_norm": True},
    {"condition": "k+1"},
    {"kernel_size": 5},
    {"microbatch": "2"},
    {"precision": "bf16"},
    {"precision": "fp16"},
]
# All that go together.
ALL = {
    "loss": "non-saturating(label_smoothing=0.1)",
    "feature_matching": 4,
    "minibatch_discrimination": 5,
    "historical_averaging": 0.1,
    "instance_noise": 0.1,
    "augment": "bgcfnc",
    "augment_kimg": 0.01,
    "ttur": 2.0,
    "update": "merged",
    "g_norm": "virtual",
    "d_norm": "layer",
    "weight_norm": True,
    "condition": "k+1",
}


OTHER_MEMORY = [
    ("non-saturating", "fisher", "holds nothing to go on with, and this one needs objective.multiplier. Start a new"),
    ("fisher", "hinge", "holds objective.multiplier to go on with, and this one needs nothing"),
    ("mcgan(outputs=3)", "mcgan-covariance(outputs=3,components=2)", "and this one needs objective"),
]


@pytest.mark.parametrize(("before", "loss", "message"), OTHER_MEMORY)
def test_a_run_cannot_go_on_with_a_loss_that_remembers_something_else(before, loss, message, tmp_path, capsys):
    assert dcgan.main(flags({**TINY_DCGAN, "loss": before, "out": tmp_path / "run"})) == 0
    content = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert message in error_of(dcgan.main, ["--resume", str(tmp_path / "run"), "--loss", loss], capsys)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == content


def names(options: dict) -> str:
    return "+".join(f"{name}={value}" for name, value in options.items())


@pytest.fixture
def images(tiny_images):
    """16×16, with labels of three classes."""
    pixels = tiny_images.level(8).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return ImageSet.from_images(pixels, name="noise", labels=tiny_images.labels)


def trainer(images, **options):
    made, _ = build_trainer(DcganConfig(**{**TINY_DCGAN, **options}), {"images": images}, torch.device("cpu"))
    return made


def drawn(made) -> torch.Tensor:
    """What the trained generator makes of fixed latents."""
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return made.game.networks["G"](z)


@pytest.mark.parametrize("options", [{}, *TECHNIQUES, ALL], ids=names)
def test_every_technique_trains_both_networks_and_resumes_bitwise(images, tmp_path, options):
    start = trainer(images, **options).state_dict()
    through = steps(trainer(images, **options), 4)
    first = steps(trainer(images, **options), 2)
    checkpoint.save(tmp_path / "c.pt", {"trainer": first.state_dict()})
    torch.randn(5)  # whatever happens in between
    second = trainer(images, **options)
    second.load_state_dict(checkpoint.load(tmp_path / "c.pt")["trainer"])
    state = steps(second, 2).state_dict()
    assert_same(through.state_dict(), state)
    for network, before in start["networks"].items():
        moved = [
            not torch.equal(a, b)
            for (name, a), b in zip(before.items(), state["networks"][network].values(), strict=True)
            if "reference" not in name and a.dim() > 1
        ]
        assert all(moved), network


# An option, and what it is beside.
DETAILS = [
    *(({"g_norm": norm}, {}) for norm in G_NORMS if norm != "batch"),
    *(({"d_norm": norm}, {}) for norm in D_NORMS if norm != "batch"),
    *((technique, {}) for technique in TECHNIQUES),
    ({"class_weight": 0.5}, {"condition": "k+1"}),
    ({"minibatch_dim": 3}, {"minibatch_discrimination": 5}),
    ({"reference_batch": 7}, {"g_norm": "virtual"}),
    ({"instance_noise_kimg": 0.01}, {"instance_noise": 0.1}),
    ({"loss": "wgan(clip=0.05)"}, {"loss": "wgan"}),
    ({"loss": "wgan(drift=0.5)"}, {"loss": "wgan"}),
    ({"loss": "wgan-gp(weight=1)"}, {"loss": "wgan-gp", "d_norm": "layer"}),
    ({"loss": "wgan-gp(target=5)"}, {"loss": "wgan-gp", "d_norm": "layer"}),
    ({"optimizer": "rmsprop(alpha=0.5)"}, {"optimizer": "rmsprop"}),
    ({"beta1": 0.9}, {"optimizer": "optimistic-adam"}),
    ({"beta1": 0.9}, {}),
    ({"g_width": 8}, {}),
    ({"d_width": 8}, {}),
    ({"mirror": False}, {}),
]


@pytest.mark.parametrize(("option", "beside"), DETAILS, ids=names)
def test_every_option_changes_the_run(images, option, beside):
    with_option, without = (steps(trainer(images, **options), 3) for options in ({**beside, **option}, beside))
    assert not torch.equal(drawn(with_option), drawn(without))


def test_a_checkpoint_s_norms_stay(tmp_path, capsys):
    run = tmp_path / "run"
    assert run_program(lambda: dcgan.main(flags({**TINY_DCGAN, "out": run, "g_norm": "layer"}))) == 0
    line = error_of(dcgan.main, ["--resume", str(run), "--kimg", "0.032", "--g-norm", "instance"], capsys)
    assert "g_norm='instance'" in line and "were trained with 'layer'" in line


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--condition", "k+1", "--class-weight", "-1"], "class_weight=-1.0 is not a finite number of at least 0"),
        (["--kimg", "inf"], "kimg=inf is not a finite number"),
        (["--image-kimg", "inf"], "image_kimg: 'inf' has a value that is not a finite number of at least 0"),
    ],
    ids=str,
)
def test_a_dry_run_says_what_a_run_would(args, reason, capsys):
    assert reason in error_of(dcgan.main, [*args, "--dry-run"], capsys)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"g_norm": "virtual", "d_norm": "group"},
        {"g_norm": "instance", "d_norm": "spectral"},
        {"g_norm": "layer", "d_norm": "layer", "weight_norm": True, "minibatch_discrimination": 5},
        {"condition": "k+1", "update": "merged", "historical_averaging": 0.1, "instance_noise": 0.1},
    ],
    ids=names,
)
def test_steps_compile(images, without_code_generation, options):
    torch.compiler.reset()
    said = []
    compiled, eager = trainer(images, compile=True, **options), trainer(images, **options)
    compiled.say = said.append
    for made in (compiled, eager):
        steps(made, 2)
    assert said and all(line.split(": ")[1].startswith("compiled the ") for line in said), said
    ours, theirs = compiled.measurements(), eager.measurements()
    for name in ("d_loss", "g_loss", "real_score", "fake_score"):
        assert ours[name] == pytest.approx(theirs[name], rel=0.02, abs=0.02), name


def test_the_reference_batch_survives_checkpoints(images, tmp_path):
    first = steps(trainer(images, g_norm="virtual"), 2)
    reference = first.game.networks["G"].layers.reference.clone()
    checkpoint.save(tmp_path / "c.pt", {"trainer": first.state_dict()})
    other = trainer(images, g_norm="virtual", seed=5)
    assert not torch.equal(other.game.networks["G"].layers.reference, reference)
    other.load_state_dict(checkpoint.load(tmp_path / "c.pt")["trainer"])
    for network in (other.game.networks["G"], other.averages["G"]):
        assert torch.equal(network.layers.reference, reference)


def test_labels_are_those_of_the_real_images_and_generated_ones_have_none(images):
    made = trainer(images, condition="k+1")
    batch = batch_of(made)
    assert batch["D/labels"].shape == (4,) and "G/labels" not in batch
    assert made.game.networks["D"].num_classes == images.num_classes


def test_labels_are_refused_where_the_data_has_none(images):
    without = ImageSet.from_images(images.level(16), name="noise")
    with pytest.raises(UsageError, match="condition='k\\+1' needs labels, and noise has none"):
        trainer(without, condition="k+1")


def test_kernels_that_no_images_can_scale_are_refused(images):
    same = ImageSet.from_images(images.level(16)[:1].repeat(4, 1, 1, 1), name="grey")
    with pytest.raises(UsageError, match="minibatch_discrimination cannot be scaled to grey"):
        trainer(same, minibatch_discrimination=5)


def test_noise_lasts_for_the_whole_run_unless_it_is_told(images):
    made = trainer(images, instance_noise=0.5)
    assert made.game.augmentation == InstanceNoise(0.5, 24) and made.schedule.total == 24
    assert trainer(images, instance_noise=0.5, instance_noise_kimg=0.01).game.augmentation.images == 10


def test_samples_show_a_change_that_leaves_no_trace(images):
    """Such as that of a replayed CUDA graph."""
    ema = trainer(images, g_norm="virtual").averages["G"]
    z = torch.randn(2, 6)
    list(draw(ema, z))
    for parameter in ema.parameters():
        parameter.data.mul_(1.5)
    (after,) = draw(ema, z)
    (expected,) = draw(copy.deepcopy(ema), z)
    assert torch.equal(after, expected)


def test_a_run_leaves_what_a_run_of_pggan_leaves_and_generates(tmp_path, capsys):
    run = tmp_path / "run"
    assert run_program(lambda: dcgan.main(flags({**TINY_DCGAN, "out": run, "g_norm": "virtual"}))) == 0
    for name in ("config.json", "stats.jsonl", "reals.png", "fakes_000000.png", "checkpoint_000000024.pt"):
        assert (run / name).exists(), name
    assert json.loads((run / "config.json").read_text())["g_norm"] == "virtual"
    grid = tmp_path / "grid.png"
    assert run_program(lambda: generate.main([str(run), "--out", str(grid), "--grid", "2x2"])) == 0
    assert grid.exists()
    assert run_program(lambda: dcgan.main(["--resume", str(run), "--kimg", "0.032"])) == 0
    assert (run / "checkpoint_000000032.pt").exists()


def test_a_wrong_combination_is_one_line_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = error_of(dcgan.main, ["--loss", "wgan-gp"], capsys)
    assert "loss='wgan-gp' cannot be combined with d_norm='batch'" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("program", [dcgan, pggan], ids=["dcgan", "pggan"])
def test_help_names_the_paper_of_every_technique(program, capsys):
    with pytest.raises(SystemExit) as stop:
        program.main(["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert stop.value.code == 0
    for section in ("3.1", "3.2", "3.3", "3.4"):
        assert f"Salimans et al. 2016, {section}" in text, section
    for paper in ("Goodfellow", "Miyato", "Gulrajani", "Sønderby", "Heusel", "Arjovsky"):
        assert paper in text, paper
    if program is dcgan:
        assert "Salimans et al. 2016, 3.5" in text and "Salimans and Kingma" in text
        for paper in ("Ioffe", "Ulyanov", "Ba 2016", "Wu 2018", "Karras"):
            assert paper in text, paper
    else:
        assert "Odena" in text
