"""Inception features: the numbers of torch-fidelity's program with its network; errors where there are no weights."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gan_ops.metrics import frechet_distance, inception_score, kernel_distance, precision_recall
from gan_ops.metrics.inception import Inception, InceptionUnavailable

# torch-fidelity starts as many processes for its data as it likes.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

REAL, FAKE, SUBSETS, SUBSET_SIZE, SPLITS = 12, 11, 3, 9, 2


# ---- Equal to torch-fidelity's program, with random weights ----


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random ones, in a file like the published one."""
    network = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3").FeatureExtractorInceptionV3
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({}, path)

    class Unloaded(network):
        def load_state_dict(self, state: dict) -> None:
            pass

    torch.manual_seed(0)
    torch.save(Unloaded("random", ["2048"], feature_extractor_weights_path=str(path)).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def inception(weights: Path) -> Inception:
    return Inception(weights)


class Images(Dataset):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        return self.images[i]


def fidelity(weights: Path, fake: Tensor, real: Tensor, **options) -> dict[str, float]:
    """The program as its users call it."""
    fixed = {
        "feature_extractor": "inception-v3-compat",
        "feature_extractor_weights_path": str(weights),
        "cuda": False,
        "cache": False,
        "verbose": False,
    }
    import torch_fidelity

    return torch_fidelity.calculate_metrics(
        input1=Images(fake), input2=Images(real), rng_seed=2020, batch_size=8, **fixed, **options
    )


def test_score_kernel_distance_precision_and_recall_are_torch_fidelitys(weights: Path, inception, draw_images) -> None:
    real, fake = draw_images(REAL, 32), draw_images(FAKE, 32, seed=1)
    theirs = fidelity(
        weights,
        fake,
        real,
        isc=True,
        kid=True,
        prc=True,
        isc_splits=SPLITS,
        kid_subsets=SUBSETS,
        kid_subset_size=SUBSET_SIZE,
    )
    of_real, of_fake = inception(real), inception(fake)
    score = inception_score(of_fake.logits, splits=SPLITS, seed=2020)
    assert score.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert score.deviation == pytest.approx(theirs["inception_score_std"], rel=1e-6)
    distance = kernel_distance(of_fake.features, of_real.features, subsets=SUBSETS, subset_size=SUBSET_SIZE, seed=2020)
    assert distance.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)
    assert distance.deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-6)
    result = precision_recall(of_real.features, of_fake.features)
    assert result.precision == pytest.approx(theirs["precision"], rel=1e-6)
    assert result.recall == pytest.approx(theirs["recall"], rel=1e-6)


def test_frechet_distance_is_torch_fidelitys(weights: Path, draw_images) -> None:
    """On the first 64 features, of more images than features: with fewer its eigenvalues that should be 0 are noise."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    real, fake = draw_images(70, 16), draw_images(66, 16, seed=1)
    theirs = fidelity(weights, fake, real, fid=True, feature_layer_fid="64")
    network = FeatureExtractorInceptionV3("64", ["64"], feature_extractor_weights_path=str(weights))
    features = [torch.cat([network(part)[0] for part in images.split(8)]) for images in (real, fake)]
    assert frechet_distance(*features) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)


def test_grey_images_and_floats_are_taken(inception, draw_images) -> None:
    grey = draw_images(2, 16, channels=1)
    expected = inception(grey.repeat(1, 3, 1, 1))
    assert expected.features.shape == (2, 2048) and expected.logits.shape == (2, 1008)
    assert torch.equal(inception((grey.float() - 127.5) / 127.5).features, expected.features)


def test_other_weights_than_the_published_have_another_name(inception) -> None:
    assert inception.name.startswith("inception-") and inception.name != "inception-2015-12-05"


# ---- No weights, no features ----


def test_without_weights_the_error_names_both_ways_to_give_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAN_OPS_INCEPTION", raising=False)
    with pytest.raises(InceptionUnavailable, match="--inception-weights PATH or GAN_OPS_INCEPTION=PATH"):
        Inception()


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_OPS_INCEPTION", "nowhere.pth")
    with pytest.raises(InceptionUnavailable, match=r"no file nowhere\.pth of Inception weights .*GAN_OPS_INCEPTION"):
        Inception()


def test_without_torch_fidelity_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    path.touch()
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(InceptionUnavailable, match="pip install torch-fidelity"):
        Inception(path)


def test_weights_that_are_a_program_are_not_run(tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity")
    path, trace = tmp_path / "weights.pth", tmp_path / "trace"

    class Program:
        def __reduce__(self):
            return os.mkdir, (str(trace),)

    torch.save({"fc.bias": Program()}, path)
    with pytest.raises(InceptionUnavailable, match="could run code"):
        Inception(path)
    assert not trace.exists()


def test_importing_gan_ops_or_its_metrics_brings_nothing_heavy(run_python) -> None:
    result = run_python("-c", "import sys, gan_ops; print('gan_ops.metrics' in sys.modules)")
    assert result.stdout == "False\n"
    result = run_python("-c", "import sys, gan_ops.metrics, gan_ops.metrics.inception; print(*sys.modules)")
    heavy = {"torch._dynamo", "torchvision", "torch_fidelity", "torchmetrics", "scipy", "sklearn", "PIL", "matplotlib"}
    assert not heavy & set(result.stdout.split())
