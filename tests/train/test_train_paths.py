"""Perceptual path lengths of generators, and the networks by which images are compared."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gan_ops.metrics import perceptual_path_length
from models.pggan import Generator as Plain
from models.stylegan2 import Generator as Styled
from train import evaluate
from train.base.errors import NotMeasurable, UsageError
from train.base.seeds import stream_seed
from train.measure.classifier import Classifier
from train.measure.features import classifier_features
from train.measure.paths import arc, draw_along, measure_paths
from train.measure.perceptual import Perceptual, choose_perceptual, vgg16_perceptual
from train.measure.pictures import latents

from .runs import error_of, train

CPU = torch.device("cpu")
FLAT = Perceptual("flat", {"name": "flat"}, lambda images: images.flatten(1))
RUN = {"resolution": 16, "data": "digits", "data_size": None, "kimg": 0.04}


@pytest.fixture
def styled() -> nn.Module:
    torch.manual_seed(0)
    return Styled([4, 4], latent_dim=5, w_dim=6, mapping_layers=2, num_classes=3).eval()


@pytest.fixture
def drawn() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two latents each, places and labels of five paths."""
    random = torch.Generator().manual_seed(1)
    z0, z1 = (torch.randn(5, 5, generator=random) for _ in range(2))
    return z0, z1, torch.rand(5, generator=random), torch.tensor([0, 1, 2, 0, 1])


def test_an_arc_turns_evenly_and_its_lengths_go_linearly(drawn):
    z0, z1, t, _ = (each.double() for each in drawn)
    points = arc(z0, z1, t)
    for a, b, at, point in zip(z0, z1, t.tolist(), points, strict=True):
        whole = math.acos(torch.dot(a, b) / (a.norm() * b.norm()))
        turned = math.acos(torch.dot(a, point) / (a.norm() * point.norm()))
        assert turned == pytest.approx(at * whole, rel=1e-9)
        assert point.norm().item() == pytest.approx((1 - at) * a.norm().item() + at * b.norm().item(), rel=1e-12)
        assert torch.linalg.matrix_rank(torch.stack([a, b, point]), rtol=1e-9) == 2
    torch.testing.assert_close(arc(z0, z1, torch.zeros(5).double()), z0)
    torch.testing.assert_close(arc(z0, z1, torch.ones(5).double()), z1)


def test_paths_in_w_are_lines_between_styles(styled, drawn):
    z0, z1, t, labels = drawn
    images = draw_along(styled, "w", "it")(z0, z1, t, labels)
    for n in range(5):
        first, second = (styled.mapping(z[n : n + 1], labels[n : n + 1]) for z in (z0, z1))
        w = (1 - t[n]) * first + t[n] * second  # [1, W]
        expected = styled.synthesis(torch.stack([w] * styled.layers, 1))
        torch.testing.assert_close(images[n : n + 1], expected)


def test_paths_in_z_are_arcs_between_latents(styled, drawn):
    z0, z1, t, labels = drawn
    images = draw_along(styled, "z", "it")(z0, z1, t, labels)
    torch.testing.assert_close(images, styled(arc(z0, z1, t), labels))


@pytest.mark.parametrize("name", ["ppl-w-full", "ppl-w-end", "ppl-z-full", "ppl-z-end"])
def test_a_path_length_is_of_a_small_step_anywhere_or_at_the_start(name, styled):
    labels = torch.tensor([2, 0, 1])
    found = measure_paths(styled, [name], 3, FLAT, seed=4, labels=labels, device=CPU, of="it")
    z0, z1 = (latents(3, 5, stream_seed(4, f"paths {end}")) for end in ("from", "to"))
    t = torch.rand(3, generator=torch.Generator().manual_seed(stream_seed(4, "paths at")))
    t = t if name.endswith("full") else torch.zeros(3)
    draw = draw_along(styled, name[4], "it")
    with torch.no_grad():
        ends = [draw(z0, z1, at, labels).flatten(1) for at in (t, t + 1e-4)]
    expected = perceptual_path_length(*ends)
    assert found["metrics"] == {f"{name}[flat]": pytest.approx(expected.mean, rel=1e-6)}
    assert found["deviations"] == {f"{name}[flat]": pytest.approx(expected.error, rel=1e-6)}
    assert (found["ppl_paths"], found["ppl_epsilon"], found["ppl_features"]) == (3, 1e-4, {"name": "flat"})


def test_steps_are_small_enough_and_not_too_small_for_float32(styled):
    """The length at the start is the squared derivative along the path, which float64 gives exactly."""
    found = measure_paths(styled, ["ppl-w-end"], 1, FLAT, seed=0, labels=torch.tensor([1]), device=CPU, of="it")
    exact = styled.double()
    z0, z1 = (latents(1, 5, stream_seed(0, f"paths {end}")).double() for end in ("from", "to"))
    draw, labels = draw_along(exact, "w", "it"), torch.tensor([1])
    _, derivative = torch.autograd.functional.jvp(
        lambda t: draw(z0, z1, t, labels), torch.zeros(1).double(), torch.ones(1).double()
    )
    assert found["metrics"]["ppl-w-end[flat]"] == pytest.approx(derivative.square().sum().item(), rel=0.02)


def test_a_generator_without_w_has_no_paths_there():
    generator = Plain(8, latent_dim=4, fmap_base=16, fmap_max=4)
    with pytest.raises(UsageError, match="ppl-w is of the styles of a mapping network, and the generator of run/3 has"):
        measure_paths(generator, ["ppl-w-end"], 2, FLAT, seed=0, labels=None, device=CPU, of="run/3")


@pytest.fixture
def run(shared_cache, shared_run):
    return str(shared_run("run", **RUN))


def test_evaluate_measures_them_by_name(run, measured):
    result = measured(run, "--images", "20", "--metrics", "swd,ppl-z-end")
    key = "ppl-z-end[digits-classifier-v1@16-maps]"
    assert list(result["metrics"]) == ["swd", "swd_16", key] and result["metrics"][key] > 0
    assert result["ppl_paths"] == 20 and result["ppl_features"]["accuracy"] > 0
    alone = measured(run, "--images", "20", "--metrics", "ppl-z-end")
    assert alone["metrics"] == {key: result["metrics"][key]}
    assert alone["deviations"] == {key: result["deviations"][key]}
    assert (alone["generated"], alone["features"]) == (20, None)
    assert not [name for name in measured(run, "--images", "20")["metrics"] if name.startswith("ppl")]


def test_evaluate_says_by_what_they_were_measured(run, capsys):
    assert evaluate.main([run, "--images", "10", "--metrics", "ppl-z-full"]) == 0
    out = capsys.readouterr().out
    assert "ppl of 10 paths, steps of 0.0001, features of digits-classifier-v1@16-maps: length 128" in out


def test_evaluate_refuses_what_has_no_paths(run, digits_folder, capsys):
    line = error_of(evaluate.main, [run, "--metrics", "ppl-w-full", "--images", "4"], capsys)
    assert f"and the generator of {run}/checkpoint_000000040.pt has none" in line
    line = error_of(evaluate.main, [digits_folder(0, 70), "--data", "digits", "--metrics", "ppl-z-full"], capsys)
    assert "ppl-z-full is of paths between latents" in line
    assert train("--metrics", "ppl-z-full", "--dry-run") == 2
    assert "ppl-z-full is of paths between latents: train.evaluate measures it" in capsys.readouterr().err


def test_a_classifier_compares_all_its_maps_at_the_size_that_it_sees():
    torch.manual_seed(0)
    classifier = Classifier(8, 3, 4).eval()
    found = classifier_features(classifier, {"name": "c", "weights": "0"}, CPU)
    perceptual = choose_perceptual("", 16, lambda: found, CPU)
    grey = 2 * torch.rand(2, 1, 16, 16) - 1
    x, expected = torch.nn.functional.avg_pool2d(grey, 2).expand(-1, 3, -1, -1), torch.zeros(())
    for layer in classifier.body:
        x = layer(x)
        unit = x / (x.norm(dim=1, keepdim=True) + 1e-10)
        expected = expected + (unit[0] - unit[1]).square().sum(0).mean()
    assert perceptual.label == "c-maps"
    torch.testing.assert_close(perceptual.distance(grey[:1], grey[1:])[0], expected)


def test_without_labels_and_weights_there_is_nothing_to_compare_by():
    def none():
        raise NotMeasurable("it has no labels")

    with pytest.raises(NotMeasurable, match="it has no labels; or name torchvision's weights of VGG-16 with --vgg16"):
        choose_perceptual("", 16, none, CPU)


def vgg16_state() -> dict[str, Tensor]:
    places = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512, 24: 512, 26: 512}
    state, inputs = {}, 3
    for place, width in {**places, 28: 512}.items():
        weight = torch.full((width, inputs, 3, 3), 0.001)
        state |= {f"features.{place}.weight": weight, f"features.{place}.bias": torch.arange(width) / width}
        inputs = width
    return state


def test_vgg16_is_named_by_its_file(tmp_path):
    torch.save(vgg16_state(), tmp_path / "vgg16.pth")
    perceptual = vgg16_perceptual(tmp_path / "vgg16.pth", 16, CPU)
    assert perceptual.label == perceptual.description["name"] == f"vgg16-{perceptual.description['weights']}"
    assert perceptual.distance(torch.ones(1, 3, 16, 16), -torch.ones(1, 3, 16, 16)).item() > 0


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of what others still write
def test_other_files_and_small_images_are_refused(tmp_path):
    torch.jit.save(torch.jit.script(nn.ReLU()), tmp_path / "script.pt")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save([1], tmp_path / "list.pth")
    reasons = {
        "script.pt": "script.pt is TorchScript, which is code: give the state dict of torchvision's vgg16",
        "other.pth": r"features\.0\.weight is \[1\], and of vgg16 \[64, 3, 3, 3\]",
        "list.pth": "holds no tensors by name",
        "none.pth": "none.pth is no file",
    }
    for name, reason in reasons.items():
        with pytest.raises(UsageError, match=reason):
            vgg16_perceptual(tmp_path / name, 16, CPU)
    with pytest.raises(UsageError, match="VGG-16 sees images of at least 16x16, not 8"):
        vgg16_perceptual(tmp_path / "other.pth", 8, CPU)
