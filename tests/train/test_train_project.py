"""``python -m train.project``: images back to styles and noise."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from models.stylegan2 import Generator
from models.stylegan3 import Generator as StyleGan3
from train import project as program
from train import stylegan2
from train.base.seeds import stream_seed
from train.data import to_uint8
from train.measure.perceptual import Perceptual
from train.measure.pictures import latents, save_png
from train.measure.projection import correlation, learning_rate, mean_styles, normalised, project, style_noise
from train.run import checkpoint
from train.run.restoring import build_generator

from .runs import OUTPUT, error_of, flags

FLAT = Perceptual("flat", {"name": "flat"}, lambda images: images.flatten(1))
TINY = {**OUTPUT, "resolution": 16, "kimg": 0.016, "batch": "4", "latent": 6, "w_dim": 6, "mapping_layers": 1}
TINY |= {"channel_base": 64, "channel_max": 8, "data": "digits", "data_size": None, "image_kimg": "1"}


@pytest.fixture
def generator() -> nn.Module:
    torch.manual_seed(0)
    made = Generator([8, 8, 4], latent_dim=5, w_dim=6, mapping_layers=2).eval().requires_grad_(False)
    for convolution in made.convs:
        convolution.noise.strength.fill_(0.1)
    return made


def own_images(generator: nn.Module, count: int) -> Tensor:
    return generator(latents(count, generator.latent_dim, 7))


def test_the_learning_rate_rises_over_50_and_falls_over_250_of_1000_steps():
    rates = [learning_rate(step / 1000) for step in range(1001)]
    for step in range(50):
        assert rates[step] == pytest.approx(step / 50)
    assert rates[50:751] == [pytest.approx(1)] * 701
    for step in range(750, 1001):
        assert rates[step] == pytest.approx((1 + math.cos(math.pi * (step - 750) / 250)) / 2)


def test_noise_on_w_falls_as_a_square_over_750_of_1000_steps():
    assert style_noise(0) == 1 and style_noise(0.375) == pytest.approx(0.25)
    assert [style_noise(step / 1000) for step in (750, 751, 1000)] == [0, 0, 0]


def test_the_correlation_of_noise_is_that_of_neighbours_in_all_sizes_down_to_8():
    heights = (4, 16, 32)
    noise = torch.randn(2, sum(h**2 for h in heights), generator=torch.Generator().manual_seed(0)).double()
    expected = torch.zeros(2).double()
    for n in range(2):
        for height, values in zip(heights, noise[n].split([h**2 for h in heights]), strict=True):
            image = values.reshape(height, height)
            while True:
                size = len(image)
                right = sum(image[y, x] * image[y, x - 1] for y in range(size) for x in range(size)) / size**2
                below = sum(image[y, x] * image[y - 1, x] for y in range(size) for x in range(size)) / size**2
                expected[n] += right**2 + below**2
                if size <= 8:
                    break
                image = image.reshape(size // 2, 2, size // 2, 2).sum((1, 3)) / 2
    torch.testing.assert_close(correlation(noise, heights), expected)


def test_each_map_of_noise_is_made_of_mean_0_and_mean_square_1():
    noise = 3 * torch.randn(2, 16 + 64, generator=torch.Generator().manual_seed(0)).double() + 1
    for values in normalised(noise, (4, 8)).split([16, 64], 1):
        torch.testing.assert_close(values.mean(1), torch.zeros(2).double())
        torch.testing.assert_close(values.square().mean(1), torch.ones(2).double())


def test_the_search_begins_with_the_mean_of_10000_styles(generator):
    mean, deviation = mean_styles(generator, None, 2, seed=3)
    w = generator.mapping(latents(10_000, 5, stream_seed(3, "mean of w"))).double()
    expected = w.mean(0)
    torch.testing.assert_close(mean.double(), expected.expand(2, -1), rtol=1e-4, atol=1e-5)
    spread = (w - expected).norm(dim=1).square().mean().sqrt()
    torch.testing.assert_close(deviation.double(), spread.expand(2, 1), rtol=1e-4, atol=0)


def test_with_labels_the_mean_is_of_the_images_own():
    torch.manual_seed(0)
    generator = Generator([4, 4], latent_dim=5, w_dim=6, mapping_layers=1, num_classes=3).eval()
    mean, _ = mean_styles(generator, torch.tensor([2, 0, 2]), 3, seed=0)
    z = latents(10_000, 5, stream_seed(0, "mean of w"))
    with torch.no_grad():
        expected = [generator.mapping(z, torch.full((10_000,), label)).mean(0) for label in (2, 0, 2)]
    torch.testing.assert_close(mean, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_own_images_are_found_again(generator):
    targets = own_images(generator, 3)
    found = project(generator, targets, FLAT, steps=200)
    assert (found.distances < 0.15 * found.of_mean).all()
    styles = found.w[:, None].expand(-1, generator.layers, -1)
    torch.testing.assert_close(found.images, generator.synthesis(styles, found.noise))
    torch.testing.assert_close(found.distances, (found.images - targets).square().sum((1, 2, 3)))
    torch.testing.assert_close(found.of_mean, (found.strip[0] - targets).square().sum((1, 2, 3)))
    for values in found.noise.split([h**2 for h in generator.noise_heights], 1):
        torch.testing.assert_close(values.square().mean(1), torch.ones(3))
    apart = [(image - targets).square().sum((1, 2, 3)) for image in found.strip]
    assert len(apart) == 6 and (apart[-1] < apart[0]).all()


def test_the_first_image_shown_is_that_of_the_mean(generator):
    for convolution in generator.convs:
        convolution.noise.strength.zero_()
    mean, _ = mean_styles(generator, None, 2, seed=0)
    found = project(generator, own_images(generator, 2), FLAT, steps=1)
    torch.testing.assert_close(found.strip[0], generator.synthesis(mean[:, None].expand(-1, generator.layers, -1)))


def test_a_generator_without_noise_is_searched_by_its_styles_alone():
    torch.manual_seed(0)
    sizes = {"channel_base": 64, "channel_max": 4, "layers": 4, "critical": 1, "margin": 2}
    generator = StyleGan3(16, latent_dim=5, w_dim=6, **sizes).eval().requires_grad_(False)
    targets = own_images(generator, 2)
    found = project(generator, targets, FLAT, steps=60)
    assert found.noise is None and (found.distances < 0.2 * found.of_mean).all()
    styles = found.w[:, None].expand(-1, generator.layers, -1)
    torch.testing.assert_close(found.images, generator.synthesis(styles))


def test_images_are_found_side_by_side_as_if_alone(generator):
    targets = own_images(generator, 3)
    first, second = (project(generator, targets[pair], FLAT, steps=20) for pair in ([0, 1], [0, 2]))
    torch.testing.assert_close(first.w[0], second.w[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(first.w[1], second.w[1], atol=1e-2)


def test_noise_is_kept_from_carrying_the_image(generator):
    """What shows an image correlates: a search that is free to use the noise for it ends with far more of that."""
    random = torch.Generator().manual_seed(0)
    white = normalised(torch.randn(1, generator.noise_values, generator=random), generator.noise_heights)
    targets = torch.nn.functional.interpolate(torch.randn(1, 3, 2, 2, generator=random), 16, mode="bilinear")
    held = project(generator, targets, FLAT, steps=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.measure.projection.REGULARISATION", 0.0)
        free = project(generator, targets, FLAT, steps=100)
    alike = [correlation(noise, generator.noise_heights).item() for noise in (held.noise, free.noise, white)]
    assert alike[0] < 0.1 * alike[1] and alike[0] < alike[2]


@pytest.fixture
def run(shared_cache, shared) -> Path:
    """A run of StyleGAN2 on digits."""
    if not (shared / "run").exists():
        assert stylegan2.main(flags({**TINY, "out": shared / "run"})) == 0
    return shared / "run"


@pytest.fixture
def pictures(tmp_path) -> list[str]:
    """Two files of images of other sizes and forms."""
    random = np.random.default_rng(0)
    for name, shape in (("a.png", (24, 24)), ("b.jpg", (20, 40, 3))):
        Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(tmp_path / name)
    return [str(tmp_path / "a.png"), str(tmp_path / "b.jpg")]


def test_the_program_writes_images_their_progress_and_what_was_found(run, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    few = ["--steps", "20", "--scale", "2", "--out", str(out)]
    assert program.main([str(run), "--image", *pictures, *few]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "distances by digits-classifier-v1@16-maps"
    assert lines[1].startswith("a.png: ") and lines[2].startswith("b.png: ") and lines[1].endswith("of the mean of w")
    with np.load(out / "found.npz", allow_pickle=False) as found:
        assert found["names"].tolist() == ["a.png", "b.png"]
        assert found["w"].shape == (2, 6) and found["noise"].shape == (2, 16 + 2 * 64 + 2 * 256)
    with Image.open(out / "progress.png") as picture:
        assert picture.size == (7 * 32, 2 * 32)  # the targets, and six moments of each
        target = np.array(picture.crop((0, 0, 32, 32)))
        last = np.array(picture.crop((6 * 32, 0, 7 * 32, 32)))
    with Image.open(pictures[0]) as image:
        smaller = np.array(image.resize((16, 16), Image.Resampling.LANCZOS))
    assert np.array_equal(target[::2, ::2], smaller)
    assert np.array_equal(last, np.array(Image.open(out / "images" / "a.png")))
    assert sorted(path.name for path in (out / "images").iterdir()) == ["a.png", "b.png"]


def test_an_image_of_the_generator_itself_comes_nearer(run, tmp_path, capsys):
    own = build_generator(*checkpoint.find(run)[:2], torch.device("cpu"))
    save_png(tmp_path / "own.png", to_uint8(own_images(own, 1))[0])
    few = ["--steps", "150", "--out", str(tmp_path / "out")]
    assert program.main([str(run), "--image", str(tmp_path / "own.png"), *few]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert float(line.split(", ")[1].split("%")[0]) < 60


def test_what_cannot_be_projected_is_refused(run, shared_run, pictures, tmp_path, capsys):
    def refused(source: Path, *more: str) -> str:
        return error_of(program.main, [str(source), *more], capsys)

    plain = shared_run("plain", resolution=16, data="digits", data_size=None, kimg=0.04)
    assert "has no mapping network: there is no w to project an image to" in refused(plain, "--image", pictures[0])
    assert "--image: name at least one image" in refused(run)
    assert "none.png is no file" in refused(run, "--image", "none.png")
    (tmp_path / "text.png").write_text("text")
    assert "text.png cannot be read" in refused(run, "--image", str(tmp_path / "text.png"))
    assert "is not an empty folder" in refused(run, "--image", pictures[0], "--out", str(tmp_path))
    assert "classes=3: this generator was trained without labels" in refused(
        run, "--image", pictures[0], "--class", "3"
    )


def test_a_generator_with_labels_needs_the_classes_of_the_images(shared_cache, shared, pictures, tmp_path, capsys):
    run = shared / "labels"
    assert stylegan2.main(flags({**TINY, "condition": "projection", "out": run})) == 0
    given = [str(run), "--image", *pictures, "--steps", "2", "--out", str(tmp_path / "out")]
    line = error_of(program.main, given, capsys)
    assert "draws 10 classes: name that of the images with --class" in line
    assert "classes=1,2,3: 3 for 2 images" in error_of(program.main, [*given, "--class", "1,2,3"], capsys)
    assert program.main([*given, "--class", "3,7"]) == 0
