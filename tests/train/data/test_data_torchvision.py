"""torchvision's sets, from small files in their real formats; only the tables of checksums are replaced."""

import gzip
import hashlib
import io
import pickle
import struct
import sys

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from train.data import DataError, load_images

RANDOM = np.random.default_rng(0)


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """The four gzipped IDX files, where torchvision downloads them to."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = RANDOM.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    labels = np.array([5, 0, 4, 1, 9, 2], dtype=np.uint8)
    resources = []
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            path = raw / f"{part}-{kind}-ubyte.gz"
            header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
            path.write_bytes(gzip.compress(header + array.tobytes()))
            resources.append((path.name, md5(path)))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    return tmp_path, pixels, labels


def test_mnist_is_framed_to_32(mnist):
    root, pixels, labels = mnist
    images = load_images("mnist", 32, data_root=root, download=True)
    assert np.array_equal(images.level(32)[:, 0, 2:30, 2:30], pixels)
    assert images.level(32).sum() == pixels.sum(dtype=np.int64)
    assert images.labels.tolist() == labels.tolist()
    assert (images.channels, images.num_classes, images.mirror) == (1, 10, False)


def test_mnist_smaller_and_larger(mnist):
    root = mnist[0]
    assert load_images("mnist", 16, data_root=root, download=True).level(16).shape == (6, 1, 16, 16)
    assert load_images("mnist", 64, data_root=root).level(64).shape == (6, 1, 64, 64)


def test_mnist_damaged(mnist):
    root = mnist[0]
    load_images("mnist", 32, data_root=root, download=True)
    unpacked = root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    unpacked.write_bytes(unpacked.read_bytes()[:1000])
    with pytest.raises(DataError, match="mnist is missing or damaged in"):
        load_images("mnist", 32, data_root=root)


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """The five pickled training batches, the test batch and the names."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = RANDOM.integers(0, 256, (5, 2, 3 * 32 * 32), dtype=np.uint8)
    for n, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        (folder / name).write_bytes(pickle.dumps({"data": pixels[n % 5], "labels": [n, 9 - n]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(n) for n in range(10)]}))
    checksums = [[name, md5(folder / name)] for name, _ in datasets.CIFAR10.train_list + datasets.CIFAR10.test_list]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", checksums[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", checksums[5:])
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", md5(folder / "batches.meta"))
    return tmp_path, pixels.reshape(10, 3, 32, 32)


def test_cifar10(cifar10):
    root, pixels = cifar10
    images = load_images("cifar10", 32, data_root=root)
    assert np.array_equal(images.level(32), pixels)
    assert images.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert (images.num_classes, images.mirror) == (10, True)


def test_cifar10_damaged(cifar10):
    root = cifar10[0]
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"half")
    with pytest.raises(DataError, match=r"cifar10 is missing or damaged in .*cifar-10-batches-py"):
        load_images("cifar10", 32, data_root=root)


def test_svhn(tmp_path, monkeypatch):
    scipy_io = pytest.importorskip("scipy.io")
    pixels = RANDOM.integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    path = tmp_path / "train_32x32.mat"
    scipy_io.savemat(path, {"X": pixels, "y": np.array([[1], [10], [3], [9]], dtype=np.uint8)})
    monkeypatch.setitem(datasets.SVHN.split_list, "train", ["", path.name, md5(path)])
    images = load_images("svhn", 32, data_root=tmp_path)
    assert np.array_equal(images.level(32), pixels.transpose(3, 2, 0, 1))
    assert images.labels.tolist() == [1, 0, 3, 9]  # the files say 10 for 0
    assert (images.num_classes, images.mirror) == (10, False)


@pytest.fixture
def stl10(tmp_path, monkeypatch):
    """The binary files of all parts, whose pixels stand column by column."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = RANDOM.integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
    for part in ("train", "test", "unlabeled"):
        (folder / f"{part}_X.bin").write_bytes(pixels.transpose(0, 1, 3, 2).tobytes())
    for part in ("train", "test"):
        (folder / f"{part}_y.bin").write_bytes(bytes([1, 10, 3]))
    (folder / "class_names.txt").write_text("\n".join(f"class {n}" for n in range(10)))
    for part in ("train_list", "test_list"):
        checksums = [[name, md5(folder / name)] for name, _ in getattr(datasets.STL10, part)]
        monkeypatch.setattr(datasets.STL10, part, checksums)
    return tmp_path, pixels


def test_stl10_has_images_without_labels_to_learn_from(stl10):
    root, pixels = stl10
    images = load_images("stl10", 96, data_root=root)
    assert np.array_equal(images.level(96), pixels) and sorted(images.levels) == [6, 12, 24, 48, 96]
    assert (images.labels, images.num_classes, images.mirror) == (None, 0, True)
    assert images.describe_labels() == "none (the data has none)"
    assert load_images("stl10", 48, data_root=root).level(48).shape == (3, 3, 48, 48)


def test_stl10_has_test_images_of_ten_classes(stl10):
    images = load_images("stl10", 96, data_root=stl10[0], test=True)
    assert images.labels.tolist() == [0, 9, 2] and images.num_classes == 10
    assert images.class_names[9] == "class 9"


@pytest.fixture
def celeba(tmp_path, monkeypatch):
    """Two aligned faces, one of each in the training and the test part, and the lists beside them."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = ["000001.jpg", "000002.jpg"]
    for n, name in enumerate(names):
        image = Image.new("RGB", (178, 218), (255, 255, 255))
        image.paste((50 + 100 * n,) * 3, (0, 20, 178, 198))  # the centre square
        image.save(folder / "img_align_celeba" / name, quality=95)
    lists = {
        "list_attr_celeba.txt": ["2", "Bald Smiling", *(f"{name} 1 -1" for name in names)],
        "identity_CelebA.txt": [f"{name} 7" for name in names],
        "list_bbox_celeba.txt": ["2", "image_id x y w h", *(f"{name} 1 2 3 4" for name in names)],
        "list_landmarks_align_celeba.txt": ["2", "x y", *(f"{name} 1 2" for name in names)],
        "list_eval_partition.txt": [f"{names[0]} 0", f"{names[1]} 2"],
    }
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    table = [("", "", "img_align_celeba.zip"), *(("", md5(folder / name), name) for name in lists)]
    monkeypatch.setattr(datasets.CelebA, "file_list", table)
    return tmp_path


def test_celeba_takes_the_centre_of_every_face(celeba):
    images = load_images("celeba", 16, data_root=celeba)
    assert len(images) == 2
    assert np.allclose(images.level(16)[0], 50, atol=3)
    assert np.allclose(images.level(16)[1], 150, atol=3)
    assert images.labels is None
    assert images.mirror


def test_celeba_squashed_shows_its_margin(celeba):
    images = load_images("celeba", 16, data_root=celeba, resize=True)
    assert images.level(16)[0, 0, 0].min() > 200


def test_celeba_image_that_is_not_there_is_skipped(celeba):
    (celeba / "celeba" / "img_align_celeba" / "000001.jpg").unlink()
    with pytest.warns(UserWarning, match=r"000001\.jpg \(No such file"):
        assert len(load_images("celeba", 16, data_root=celeba)) == 1


def write_lsun(lmdb, folder, shades):
    with lmdb.open(str(folder), map_size=2**20) as database, database.begin(write=True) as transaction:
        for n, shade in enumerate(shades):
            buffer = io.BytesIO()
            Image.new("RGB", (24, 16), (shade,) * 3).save(buffer, "WEBP", lossless=True)
            transaction.put(f"{n:040d}".encode(), buffer.getvalue())


def test_lsun_categories_are_classes(tmp_path, values):
    lmdb = pytest.importorskip("lmdb", reason="lmdb is not installed")
    write_lsun(lmdb, tmp_path / "bedroom_train_lmdb", [10, 20])
    write_lsun(lmdb, tmp_path / "tower_train_lmdb", [30])
    images = load_images("lsun", 16, data_root=tmp_path)
    assert values(images) == [10, 20, 30]
    assert images.labels.tolist() == [0, 0, 1]


def test_one_lsun_category_has_no_classes(tmp_path, values):
    lmdb = pytest.importorskip("lmdb", reason="lmdb is not installed")
    write_lsun(lmdb, tmp_path / "tower_train_lmdb", [30, 40])
    images = load_images("lsun", 16, data_root=tmp_path)
    assert values(images) == [30, 40]
    assert images.labels is None


def test_lsun_without_a_database_names_the_folder(tmp_path):
    pytest.importorskip("lmdb", reason="lmdb is not installed")
    with pytest.raises(DataError, match=f"bedroom_train_lmdb with a data.mdb in {tmp_path}"):
        load_images("lsun", 16, data_root=tmp_path, download=True)


def test_lsun_without_lmdb_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(DataError, match="pip install lmdb"):
        load_images("lsun", 16, data_root=tmp_path)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn", "stl10", "celeba"])
def test_an_absent_set_names_the_folder_and_the_option(name, tmp_path):
    with pytest.raises(DataError, match=rf"{name} is missing.* in {tmp_path}.*--download") as error:
        load_images(name, 32, data_root=tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn", "stl10", "celeba", "lsun"])
def test_nothing_is_looked_for_without_a_data_root(name):
    with pytest.raises(DataError, match=f"{name} needs --data-root"):
        load_images(name, 32)


def test_nothing_is_downloaded_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "download", lambda self: pytest.fail("downloads"))
    with pytest.raises(DataError):
        load_images("mnist", 32, data_root=tmp_path)


def test_a_download_that_fails_says_so(tmp_path, monkeypatch):
    def offline(self):
        raise RuntimeError("Error downloading train-images:\nTried a mirror, got:\nno route to host")

    monkeypatch.setattr(datasets.MNIST, "download", offline)
    with pytest.raises(DataError, match=r"mnist could not be downloaded to .*no route to host") as error:
        load_images("mnist", 32, data_root=tmp_path, download=True)
    assert "\n" not in str(error.value)
