"""Small image files."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _no_shared_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))


@pytest.fixture
def draw():
    """draw(path, n, mode) writes an 8 x 8 image all of value n."""

    def write(path: Path, value: int, mode: str = "RGB") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, (8, 8), value if mode == "L" else (value,) * 3).save(path)
        return path

    return write


@pytest.fixture
def pictures(tmp_path, draw):
    """A folder of four images, their values 10, 20, 30, 40 in the order of their names, in two sub-folders."""
    root = tmp_path / "pictures"
    for n, name in enumerate(["cats/1.png", "cats/deep/2.png", "dogs/2.png", "dogs/3.bmp"]):
        draw(root / name, 10 * (n + 1))
    return root


@pytest.fixture
def zipped(tmp_path):
    """zipped(folder, prefix) → a zip file of what is in the folder."""

    def pack(folder: Path, prefix: str = "") -> Path:
        path = tmp_path / f"{folder.name}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*"), reverse=True):
                archive.write(file, prefix + file.relative_to(folder).as_posix())
        return path

    return pack


@pytest.fixture
def values():
    """values(images) → each image's value, from an ImageSet of images of one value."""
    return lambda images: np.asarray(images.level(4))[:, 0, 0, 0].tolist()
