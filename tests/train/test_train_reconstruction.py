"""``python -m train.studies.reconstruction``: its numbers, and the page that says them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from train import dcgan, pggan, vae_gan
from train.data import ImageSet, load_images
from train.measure.pictures import save_png
from train.studies import reconstruction
from train.studies.reconstruction import measure_distances
from train.studies.reconstruction_page import COLUMNS, Distances, Measured, summary

from .runs import TINY_DCGAN, TINY_VAE_GAN, error_of, flags

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture(autouse=True)
def _few_glyphs(monkeypatch):
    monkeypatch.setattr("train.data.load.GLYPHS", 1000)


@pytest.fixture
def runs(shared: Path) -> tuple[Path, Path]:
    """Finished runs of a VAE-GAN and of a DCGAN, on glyphs."""
    both = shared / "vae_gan", shared / "dcgan"
    if not both[0].exists():
        assert vae_gan.main(flags({**TINY_VAE_GAN, "out": both[0]})) == 0
        assert dcgan.main(flags({**TINY_DCGAN, "out": both[1]})) == 0
    return both


def images(pixels: Tensor) -> ImageSet:
    return ImageSet.from_images(pixels.to(torch.uint8))


class Darker(nn.Module):
    """Takes 5 of 255 from each pixel."""

    resolution, image_channels = 4, 1

    def forward(self, x: Tensor) -> Tensor:
        return x - 5 / 127.5


def test_distances_are_those_of_pixels() -> None:
    training = images(torch.tensor([100, 110]).view(2, 1, 1, 1).expand(2, 1, 4, 4))
    unseen = images(torch.tensor([100, 120, 205]).view(3, 1, 1, 1).expand(3, 1, 4, 4))
    distances = measure_distances(Darker(), unseen, training, torch.device("cpu"))
    assert distances.reconstruction == pytest.approx(5) and distances.images == 3
    assert distances.mean_image == pytest.approx((5 + 15 + 100) / 3)


def test_the_table_says_which_share_of_the_distance_is_left() -> None:
    text = summary(
        Distances(20.0, 80.0, 3), [Measured("VAE-GAN", 1.0, {"swd": 2.0}), Measured("x", None, {"swd": 1.0})]
    )
    assert "| 20.00 | 0.250 |" in " ".join(text.split()) and "| VAE-GAN | 1 | 2.00 |" in " ".join(text.split())


def test_a_page_holds_the_numbers_that_are_printed_and_its_picture(runs, tmp_path, capsys) -> None:
    own, rival = runs
    page = tmp_path / "page.md"
    args = [str(own), "--dcgan", str(rival), "--images", "100", "--out", str(page)]
    assert reconstruction.main(args) == 0
    printed, text = capsys.readouterr().out, page.read_text()
    assert all(table in text for table in printed.strip().split("\n\n"))
    assert f"python -m train.studies.reconstruction {own}" in text and "](page.png)" in text
    command = next(line for line in text.splitlines() if line.startswith("python -m train.vae_gan --"))
    assert {"--resolution 16", "--latent 6", "--kimg 0.024", f"--out {own}"} <= {
        f"--{words}".strip() for words in command.split(" --")
    }
    # Images and reconstructions, samples of both, interpolations.
    assert Image.open(tmp_path / "page.png").size == (COLUMNS * 16, (4 + 4 + 4) * 16)


def test_unseen_images_are_glyphs_of_another_seed_unless_others_are_named(runs, tmp_path, capsys) -> None:
    for i, image in enumerate(load_images("glyphs", 16, seed=1, size=40).level(16)):
        save_png(tmp_path / f"{i:02d}.png", image)
    tables = []
    for more in ([], ["--held-out", str(tmp_path)]):
        assert reconstruction.main([str(runs[0]), "--images", "40", *more]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    (tmp_path / "00.png").unlink()
    few = ["--images", "40", "--held-out", str(tmp_path)]
    assert reconstruction.main([str(runs[0]), *few]) == 0
    for i in range(1, 10):
        (tmp_path / f"{i:02d}.png").unlink()
    assert "has 30 images, and 32 are shown" in error_of(reconstruction.main, [str(runs[0]), *few], capsys)
    line = error_of(reconstruction.main, [str(runs[0]), "--held-out", "digits"], capsys)
    assert "--held-out digits has 1 channels, and the run's images 3" in line


def test_what_does_not_reconstruct_is_refused(runs, tiny_options, tmp_path, capsys) -> None:
    assert "does not reconstruct" in error_of(reconstruction.main, [str(runs[1])], capsys)
    assert pggan.main(tiny_options(out=tmp_path / "pggan")) == 0
    line = error_of(reconstruction.main, [str(runs[0]), "--dcgan", str(tmp_path / "pggan"), "--images", "100"], capsys)
    assert "draws 8x8" in line


def test_a_page_nowhere_is_refused(runs, capsys) -> None:
    assert "there is no folder" in error_of(reconstruction.main, [str(runs[0]), "--out", "missing/page.md"], capsys)
