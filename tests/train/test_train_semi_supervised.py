"""Learning from few labels: splits, losses, averaging, results that stay, the table, presets, and what is refused."""

from __future__ import annotations

import dataclasses
import fcntl
import gzip
import hashlib
import json
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import datasets

from models.semi_supervised import DenseClassifier, DenseGenerator
from train.base.errors import UsageError, run_program
from train.data import load_images
from train.data.few_labels import SemiData, balanced_labels, load_semi_data
from train.studies import few_labels as semi_supervised
from train.studies.few_labels_options import NETWORKS, PRESETS, Dense, SemiOptions
from train.studies.few_labels_results import Results, Task, summary
from train.studies.few_labels_training import (
    Learner,
    as_input,
    discriminator_loss,
    generator_loss,
    probabilities,
    train_classifier,
)

CPU = torch.device("cpu")
TINY = Dense(hidden=(12, 8), generator_hidden=(6,))
OPTIONS = dataclasses.replace(PRESETS["digits"], epochs=2, batch=8, device="cpu")


@pytest.fixture
def blobs() -> SemiData:
    """Three classes of 2x2 images, 30 to learn from and 12 to test."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(42) % 3
    images = 80 * labels[:, None, None, None] + torch.randint(0, 60, (42, 1, 2, 2), generator=random)
    images = images.to(torch.uint8)
    return SemiData("blobs", images[:30], labels[:30], images[30:], labels[30:], 3)


def train(data: SemiData, labelled: Tensor, *, adversary: bool = True, **changes) -> nn.Module:
    options = dataclasses.replace(OPTIONS, **changes)
    return train_classifier(options, TINY, data, labelled, 0, adversary=adversary, device=CPU)


def weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


class TestSplits:
    def test_digits_are_parted_once_and_for_all(self):
        data, again = (load_semi_data("digits", Path("data"), False) for _ in range(2))
        assert (len(data.pool), len(data.test)) == (1000, 797)
        assert torch.equal(data.pool, again.pool) and torch.equal(data.test_labels, again.test_labels)
        whole = load_images("digits", 8)
        parts = zip(torch.cat([data.pool, data.test]), torch.cat([data.pool_labels, data.test_labels]), strict=True)
        assert sorted((x.tolist(), int(y)) for x, y in parts) == sorted(
            (x.tolist(), int(y)) for x, y in zip(whole.level(8), whole.labels, strict=True)
        )

    def test_labels_are_counted_in_total_and_balanced(self):
        labels = torch.arange(60) % 5
        chosen = balanced_labels(labels, 20, 5, seed=3)
        assert len(set(chosen.tolist())) == 20
        assert labels[chosen].bincount().tolist() == [4] * 5

    def test_labels_depend_on_the_seed_alone_and_more_of_them_include_fewer(self):
        labels = torch.arange(60) % 5
        few, same, other = (set(balanced_labels(labels, 10, 5, seed).tolist()) for seed in (3, 3, 4))
        assert few == same != other
        assert few < set(balanced_labels(labels, 20, 5, 3).tolist())

    @pytest.mark.parametrize(
        ("count", "message"),
        [(7, "labels=7 cannot be shared equally by 5 classes"), (0, "labels=0"), (65, "class 0 has 12")],
    )
    def test_labels_that_cannot_be_balanced_are_refused(self, count, message):
        with pytest.raises(UsageError, match=message):
            balanced_labels(torch.arange(60) % 5, count, 5, 0)


class TestLosses:
    """Of networks without noise, in float64."""

    @pytest.fixture(autouse=True)
    def _players(self):
        torch.manual_seed(0)
        self.classifier = DenseClassifier(4, 3, hidden=(6, 5)).double().eval()
        self.generator = DenseGenerator((1, 2, 2), hidden=(6,)).double()
        self.images, self.unlabelled = torch.rand(2, 8, 1, 2, 2, dtype=torch.float64)
        self.labels = torch.arange(8) % 3

    def fake(self) -> Tensor:
        """What the generator draws next."""
        with torch.random.fork_rng(devices=[]):
            return self.generator(torch.rand(8, 100).double())

    @pytest.fixture(autouse=True)
    def _float64(self, monkeypatch):
        monkeypatch.setattr(
            "train.studies.few_labels_training._latents", lambda generator, like: torch.rand(8, 100).double()
        )

    def log_p(self, x: Tensor) -> Tensor:
        """Logarithms of the probabilities of the classes and of "generated", whose logit is 0: [N, 4]."""
        return F.log_softmax(F.pad(self.classifier(x).logits, (0, 1)), dim=1)

    def test_discriminator_loss_is_that_of_four_classes(self):
        loss = discriminator_loss
        labelled = self.log_p(self.images)
        given_real = labelled[:, :3] - labelled[:, 3:].exp().mul(-1).log1p()
        wanted = -given_real[torch.arange(8), self.labels].mean()
        wanted = wanted - 0.7 * 0.5 * self.log_p(self.unlabelled)[:, 3].exp().mul(-1).log1p().mean()
        wanted = wanted - 0.7 * 0.5 * self.log_p(self.fake())[:, 3].mean()
        options = dataclasses.replace(OPTIONS, unlabelled_weight=0.7)
        found = loss(self.classifier, self.generator, self.images, self.labels, self.unlabelled, options)
        torch.testing.assert_close(found, wanted)

    def test_generator_matches_mean_features(self):
        features = (self.classifier(x).features.mean(0) for x in (self.unlabelled, self.fake()))
        wanted = F.mse_loss(*features, reduction="sum")
        torch.testing.assert_close(generator_loss(self.classifier, self.generator, self.unlabelled, OPTIONS), wanted)

    def test_adversarial_generator_wants_to_be_taken_for_real(self):
        wanted = -self.log_p(self.fake())[:, 3].exp().mul(-1).log1p().mean()
        options = dataclasses.replace(OPTIONS, generator_loss="adversarial")
        found = generator_loss(self.classifier, self.generator, self.unlabelled, options)
        torch.testing.assert_close(found, wanted)


class TestTraining:
    def test_the_classifier_is_seeded(self, blobs):
        labelled = balanced_labels(blobs.pool_labels, 6, 3, 0)
        assert torch.equal(weights(train(blobs, labelled)), weights(train(blobs, labelled)))

    def test_labels_that_are_not_given_are_not_used(self, blobs):
        labelled = balanced_labels(blobs.pool_labels, 6, 3, 0)
        hidden = torch.full_like(blobs.pool_labels, 2)
        hidden[labelled] = blobs.pool_labels[labelled]
        blind = dataclasses.replace(blobs, pool_labels=hidden)
        assert torch.equal(weights(train(blobs, labelled)), weights(train(blind, labelled)))

    @pytest.mark.parametrize("adversary", [True, False])
    def test_the_gan_learns_from_images_without_labels_and_the_supervised_network_does_not(self, blobs, adversary):
        labelled = balanced_labels(blobs.pool_labels, 6, 3, 0)
        other = torch.zeros_like(blobs.pool)
        other[labelled] = blobs.pool[labelled]
        changed = dataclasses.replace(blobs, pool=other)
        before, after = (weights(train(data, labelled, adversary=adversary)) for data in (blobs, changed))
        assert torch.equal(before, after) == (not adversary)

    def test_both_take_a_step_for_each_batch_of_the_pool(self, blobs, monkeypatch):
        steps = []
        monkeypatch.setattr(Learner, "step", lambda self, loss: steps.append(loss.item()))
        labelled = balanced_labels(blobs.pool_labels, 6, 3, 0)
        for adversary in (True, False):
            steps.clear()
            train(blobs, labelled, adversary=adversary)
            assert len(steps) == 2 * (30 // 8)

    def test_weights_are_averaged_over_all_steps_until_the_rate_is_reached(self):
        network = nn.Linear(1, 1, bias=False)
        learner = Learner(network, dataclasses.replace(OPTIONS, averaging=0.25, lr_decay=0.0), 10)
        seen = []
        for _ in range(6):
            learner.step(network.weight.sum())
            seen.append(network.weight.detach().clone())
        expected = torch.stack(seen[:4]).mean(0)
        for weight in seen[4:]:
            expected = 0.75 * expected + 0.25 * weight
        torch.testing.assert_close(learner.average.weight.detach(), expected)

    def test_the_learning_rate_falls_to_0_over_the_last_part(self):
        network = nn.Linear(1, 1, bias=False)
        learner = Learner(network, dataclasses.replace(OPTIONS, lr=0.1, lr_decay=0.5), 8)
        moves = []
        for _ in range(8):
            before = network.weight.item()
            learner.step(network.weight.sum())
            moves.append(before - network.weight.item())
        assert moves == pytest.approx([0.1] * 5 + [0.075, 0.05, 0.025], rel=1e-3)

    def test_batches_to_test_are_all_of_one_size(self, blobs):
        sizes = []

        class Network(nn.Linear):
            def forward(self, x):
                sizes.append(len(x))
                return type("Classified", (), {"logits": super().forward(x.flatten(1))})

        network = Network(4, 3)
        images = as_input(blobs.test, TINY)
        found = probabilities(network, images, 5)
        assert sizes == [5, 5, 5]
        torch.testing.assert_close(found, network(images).logits.softmax(1).detach())

    def test_images_are_in_the_networks_range(self, blobs):
        pixels = torch.tensor([0, 255], dtype=torch.uint8)
        assert as_input(pixels, NETWORKS["mnist"]).tolist() == [0, 1]
        assert as_input(pixels, NETWORKS["cifar10"]).tolist() == [-1, 1]


@pytest.fixture
def run(tmp_path, capsys):
    """run(options…) → exit code, what it printed, and the last line on stderr; the folder is tmp_path / "out"."""

    def start(*args: str) -> tuple[int, str, str]:
        quick = ("--device", "cpu", "--out", str(tmp_path / "out"))
        code = run_program(lambda: semi_supervised.main([*quick, *args]))
        captured = capsys.readouterr()
        return code, captured.out, captured.err.strip().split("\n")[-1]

    return start


QUICK = ("--labels", "20", "100", "--repeats", "2", "--epochs", "1")


@pytest.fixture
def trainings(monkeypatch) -> list[int]:
    """The labels of each network that is trained."""
    calls: list[int] = []

    def counted(options, networks, data, labelled, *args, **more):
        calls.append(len(labelled))
        return train_classifier(options, networks, data, labelled, *args, **more)

    monkeypatch.setattr(semi_supervised, "train_classifier", counted)
    return calls


class TestProgram:
    def test_twelve_epochs_beat_chance_by_far(self, run):
        code, out, _ = run("--labels", "100", "--repeats", "1", "--epochs", "12", "--json")
        (result,) = json.loads(out)["results"]
        assert code == 0 and result["error"] < 0.2

    def test_json_has_every_error(self, run):
        _, out, _ = run(*QUICK, "--baselines", "--ensemble", "2", "--json")
        report = json.loads(out)
        assert (report["pool"], report["test"], report["ensemble"]) == (1000, 797, 2)
        assert report["options"]["epochs"] == 1
        found = {(r["method"], r["labels"], r["seed"], r["member"]) for r in report["results"]}
        singles = ("gan", "supervised", "label-spreading", "logistic-regression", "ensemble")
        wanted = {(method, labels, seed, 0) for method in singles for labels in (20, 100) for seed in (0, 1)}
        assert found == wanted | {("gan", labels, seed, 1) for labels in (20, 100) for seed in (0, 1)}
        for result in report["results"]:
            assert result["tested"] == 797
            assert result["error"] == pytest.approx(result["wrong"] / 797)
        for row in report["summary"]:
            errors = [
                r["error"]
                for r in report["results"]
                if (r["method"], r["labels"], r["member"]) == (row["method"], row["labels"], 0)
            ]
            assert row["repeats"] == 2
            assert row["mean"] == pytest.approx(np.mean(errors))
            assert row["deviation"] == pytest.approx(np.std(errors, ddof=1))

    def test_the_table_has_a_row_for_each_method_and_a_column_for_each_number(self, run):
        _, out, _ = run(*QUICK, "--baselines", "--ensemble", "2")
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.strip().split("\n")]
        assert [line[0] for line in lines[:1] + lines[2:]] == [
            "labels",
            "GAN",
            "GAN, ensemble of 2",
            "same network, labels alone",
            "LabelSpreading",
            "LogisticRegression",
        ]
        assert lines[0][1:] == ["20", "100"]
        assert all(" ± " in cell for line in lines[2:] for cell in line[1:])

    def test_baselines_are_far_better_than_chance(self, run):
        _, out, _ = run(*QUICK, "--baselines", "--json")
        means = {(row["method"], row["labels"]): row["mean"] for row in json.loads(out)["summary"]}
        assert means["label-spreading", 100] < 0.06 < means["logistic-regression", 100] < 0.14

    def test_what_is_finished_is_not_done_again(self, run, trainings):
        first = run(*QUICK, "--baselines")
        assert trainings == [20, 20, 100, 100] * 2
        trainings.clear()
        assert run(*QUICK, "--baselines")[1] == first[1]
        assert trainings == []
        run("--labels", "20", "--repeats", "3", "--epochs", "1")
        assert trainings == [20]

    def test_a_run_that_was_interrupted_goes_on(self, run, trainings, monkeypatch, tmp_path):
        counted = semi_supervised.train_classifier

        def interrupted(*args, **more):
            if len(trainings) == 2:
                raise KeyboardInterrupt
            return counted(*args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(semi_supervised, "train_classifier", interrupted)
            code, out, message = run(*QUICK)
        assert (code, out, message) == (130, "", "interrupted: the same command continues from here")
        assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 2
        assert run(*QUICK)[0] == 0
        assert len(trainings) == 4

    def test_results_do_not_depend_on_where_a_run_was_interrupted(self, run, tmp_path):
        whole = run(*QUICK)[1]
        path = tmp_path / "out" / "results.jsonl"
        path.write_text(path.read_text().splitlines(keepends=True)[1])
        assert run(*QUICK)[1] == whole

    def test_an_ensembles_members_know_the_same_labels_and_their_probabilities_are_averaged(self, run, tmp_path):
        _, out, _ = run("--labels", "20", "--repeats", "1", "--epochs", "1", "--ensemble", "3", "--json")
        members = [np.load(tmp_path / "out" / "probabilities" / f"gan-20-0-{member}.npy") for member in range(3)]
        assert members[0].shape == (797, 10) and not np.array_equal(members[0], members[1])
        truth = load_semi_data("digits", Path("data"), False).test_labels.numpy()
        (result,) = [r for r in json.loads(out)["results"] if r["method"] == "ensemble"]
        assert result["wrong"] == (np.mean(members, axis=0).argmax(1) != truth).sum()

    def test_several_jobs_give_the_same_results_with_as_many_threads_each(self, run, tmp_path, one_thread):
        serial = json.loads(run(*QUICK, "--json")[1])["results"]
        parallel = json.loads(run(*QUICK, "--json", "--jobs", "2", "--out", str(tmp_path / "other"))[1])["results"]
        assert [{**result, "seconds": None} for result in parallel] == [
            {**result, "seconds": None} for result in serial
        ]
        for file in (tmp_path / "out" / "probabilities").iterdir():
            assert file.read_bytes() == (tmp_path / "other" / "probabilities" / file.name).read_bytes()

    @pytest.mark.parametrize(
        "damage",
        [
            lambda file: file.unlink(),
            lambda file: file.write_bytes(b""),
            lambda file: file.write_bytes(file.read_bytes()[:-1]),
            lambda file: file.write_bytes(b"dear" * 100),
            lambda file: file.write_bytes(file.read_bytes().replace(b"'fortran_order'", b"'fortran_order")),
            lambda file: np.save(file, np.load(file)[:-1]),
            lambda file: np.save(file, np.load(file)[:, 1:]),
            lambda file: np.save(file, np.full_like(np.load(file), np.nan)),
        ],
        ids=["gone", "empty", "truncated", "other bytes", "header", "other length", "other classes", "not a number"],
    )
    def test_a_gan_whose_probabilities_are_lost_is_trained_again(self, run, trainings, tmp_path, damage):
        ensemble = ("--labels", "20", "--repeats", "1", "--epochs", "1", "--ensemble", "2")
        first = run(*ensemble)[1]
        damage(tmp_path / "out" / "probabilities" / "gan-20-0-1.npy")
        trainings.clear()
        assert run(*ensemble)[:2] == (0, first)
        assert trainings == [20]

    def test_a_network_that_diverged_is_no_result_but_an_error_with_its_name(self, run, tmp_path):
        code, _, message = run("--labels", "20", "--repeats", "1", "--epochs", "1", "--lr", "1e30")
        assert code == 1 and message.startswith("error: gan, 20 labels, seed 0: the network diverged")
        assert not (tmp_path / "out" / "results.jsonl").exists()

    def test_missing_scikit_learn_is_said_before_anything_is_trained(self, run, trainings, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "sklearn", None)
        code, _, message = run("--preset", "glyphs", "--baselines")
        assert code == 2 and "baselines need scikit-learn" in message
        assert trainings == [] and not (tmp_path / "out").exists()

    def test_two_at_work_in_one_folder_are_refused(self, run, tmp_path):
        (tmp_path / "out").mkdir()
        with open(tmp_path / "out" / "lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert run(*QUICK)[::2] == (2, f"error: another training is already running in {tmp_path / 'out'}")
        assert run(*QUICK, "--repeats", "1")[0] == 0

    def test_adversarial_generator_with_minibatch_discrimination(self, run):
        code, out, _ = run(*QUICK, "--repeats", "1", "--generator-loss", "adversarial", "--json")
        assert code == 0
        assert all(result["error"] < 0.7 for result in json.loads(out)["results"])

    def test_results_of_other_options_are_refused(self, run):
        run(*QUICK, "--repeats", "1")
        code, _, message = run(*QUICK, "--lr", "0.1")
        assert code == 2 and "holds results with lr=0.003, not lr=0.1: choose another --out" in message

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda options: options.update(dropout=None), "results with dropout=None, not no dropout"),
            (lambda options: options.pop("lr"), "results with no lr, not lr=0.003"),
        ],
    )
    def test_results_of_an_option_more_or_less_are_refused(self, run, tmp_path, change, message):
        run(*QUICK, "--repeats", "1")
        path = tmp_path / "out" / "config.json"
        options = json.loads(path.read_text())
        change(options)
        path.write_text(json.dumps(options))
        code, _, line = run(*QUICK)
        assert code == 2 and message in line

    def test_a_folder_of_other_things_is_refused(self, run, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "letter.txt").write_text("dear")
        assert run(*QUICK)[2].endswith("is not empty and holds no results: choose another folder")

    def test_damaged_results_are_named(self, run, tmp_path):
        run(*QUICK, "--repeats", "1")
        (tmp_path / "out" / "results.jsonl").write_text('{"method": "gan"}\n')
        code, _, message = run(*QUICK)
        assert code == 2 and message.startswith(f"error: the results in {tmp_path / 'out'} are damaged")

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["--preset", "imagenet"], "unknown preset 'imagenet': there are digits, glyphs, mnist, svhn, cifar10"),
            (["--label", "20"], "unknown option --label"),
            (["--labels", "25"], "labels=25 cannot be shared equally by 10 classes"),
            (["--labels", "20", "2000"], "labels=2000 takes 200 images of each class, but class"),
            (["--labels", "20", "20"], "labels: 20 20 contains a number twice"),
            (["--labels"], "labels"),
            (["--repeats", "0"], "repeats=0 is less than 1"),
            (["--jobs", "0"], "jobs=0"),
            (["--batch", "1"], "batch=1: batch norm in the generator needs at least 2 images"),
            (["--ensemble", "1"], "ensemble=1: an ensemble has at least 2 members"),
            (["--unlabelled-weight", "0"], "--baselines has the network on the labels alone"),
            (["--unlabelled-weight", "inf"], "unlabelled_weight=inf is not a finite number"),
            (["--lr", "inf"], "lr=inf is not a finite number"),
            (["--lr", "nan"], "lr=nan is not a finite number"),
            (["--seed", "-1"], "seed=-1 is less than 0"),
            (["--lr-decay", "2"], "lr_decay=2.0 is out of range"),
            (["--averaging", "0"], "averaging=0.0 is out of range"),
            (["--generator-loss", "hinge"], "'hinge'"),
            (["--download"], "download: preset 'digits' needs no download"),
            (["--device", "tpu"], "device='tpu'"),
            (["--preset", "mnist", "--data-root", "nowhere"], "mnist is missing or damaged in nowhere"),
        ],
    )
    def test_what_makes_no_sense_is_refused_in_one_line(self, run, args, message):
        code, _, line = run(*args)
        assert code == 2 and message in line

    def test_help_names_the_papers_section_for_every_choice_of_the_method(self, capsys):
        with pytest.raises(SystemExit):
            semi_supervised.main(["--preset", "cifar10", "--help"])
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        for field in dataclasses.fields(SemiOptions):
            assert f"--{field.name.replace('_', '-')} " in text.replace(",", " ")
        assert "1000 2000 4000 8000" in text
        for section in ("§3.1", "§3.2", "§5", "§6.1", "§6.2", "§6.3"):
            assert section in text


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def fake_mnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 training and 20 test images in gzipped IDX files, where torchvision downloads them to."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    resources = []
    for part, count in (("train", 40), ("t10k", 20)):
        pixels = np.full((count, 28, 28), count, dtype=np.uint8)
        for kind, array in (("images-idx3", pixels), ("labels-idx1", np.arange(count, dtype=np.uint8) % 10)):
            path = raw / f"{part}-{kind}-ubyte.gz"
            header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
            path.write_bytes(gzip.compress(header + array.tobytes()))
            resources.append((path.name, md5(path)))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)


def fake_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five pickled training batches of 8 images, a test batch of 20 and the names."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for name, count, value in [*((f"data_batch_{n}", 8, 40) for n in range(1, 6)), ("test_batch", 20, 20)]:
        labels = [(8 * int(name[-1]) + i) % 10 if count == 8 else i % 10 for i in range(count)]
        pixels = np.full((count, 3 * 32 * 32), value, dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(n) for n in range(10)]}))
    checksums = [[name, md5(folder / name)] for name, _ in datasets.CIFAR10.train_list + datasets.CIFAR10.test_list]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", checksums[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", checksums[5:])
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", md5(folder / "batches.meta"))


def fake_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 training and 20 test images in Matlab's format, in which 10 stands for 0."""
    scipy_io = pytest.importorskip("scipy.io")
    for part, count in (("train", 40), ("test", 20)):
        path = root / f"{part}_32x32.mat"
        labels = np.arange(count)[:, None] % 10
        pixels = np.full((32, 32, 3, count), count, dtype=np.uint8)
        scipy_io.savemat(path, {"X": pixels, "y": np.where(labels == 0, 10, labels).astype(np.uint8)})
        monkeypatch.setitem(datasets.SVHN.split_list, part, ["", path.name, md5(path)])


FAKES = {"mnist": fake_mnist, "cifar10": fake_cifar10, "svhn": fake_svhn}


@pytest.mark.parametrize("name", FAKES)
class TestPapersPresets:
    def test_pool_and_test_are_the_sets_own_parts(self, name, tmp_path, monkeypatch):
        FAKES[name](tmp_path, monkeypatch)
        data = load_semi_data(name, tmp_path, name == "mnist")
        shape = (1, 28, 28) if name == "mnist" else (3, 32, 32)
        assert data.pool.shape == (40, *shape) and data.test.shape == (20, *shape)
        assert data.pool.unique().tolist() == [40] and data.test.unique().tolist() == [20]
        assert data.pool_labels.bincount().tolist() == [4] * 10 and data.test_labels.bincount().tolist() == [2] * 10

    @pytest.mark.parametrize("loss", ["feature-matching", "adversarial"])
    def test_a_run_on_files_in_the_real_format(self, name, loss, run, tmp_path, monkeypatch):
        root = tmp_path / "data"
        root.mkdir()
        FAKES[name](root, monkeypatch)
        few = ("--labels", "10", "--repeats", "1", "--epochs", "1", "--batch", "20", "--generator-loss", loss)
        download = ["--download"] if name == "mnist" else []
        code, out, line = run("--preset", name, "--data-root", str(root), *download, *few, "--json")
        assert code == 0, line
        (result,) = json.loads(out)["results"]
        assert result["tested"] == 20


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("mnist", (0.003, 0.0, 300, (20, 50, 100, 200))),
        ("cifar10", (0.0003, 1 / 3, 1200, (1000, 2000, 4000, 8000))),
        ("svhn", (0.0003, 1 / 3, 900, (500, 1000, 2000))),
    ],
)
def test_the_papers_settings(preset, expected):
    options = PRESETS[preset]
    assert (options.lr, options.lr_decay, options.epochs, options.labels) == expected
    assert (options.batch, options.averaging, options.unlabelled_weight, options.repeats) == (100, 0.0001, 1, 10)


def test_glyphs_have_36_classes_for_the_labels_to_be_shared_by():
    assert all(labels % 36 == 0 for labels in PRESETS["glyphs"].labels)


def test_a_summary_of_one_repeat_has_no_deviation(tmp_path):
    results = Results(tmp_path / "new", OPTIONS)
    truth = torch.tensor([0, 1, 1])
    np.save(results.probabilities_file(Task("gan", 20, 0, 0)), np.float32([[0.9, 0.1], [0.6, 0.4], [0.6, 0.4]]))
    np.save(results.probabilities_file(Task("gan", 20, 0, 1)), np.float32([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4]]))
    (row,) = summary([results.ensemble(Task("gan", 20, 0), 2, truth)])
    assert row == {"method": "ensemble", "labels": 20, "repeats": 1, "mean": pytest.approx(1 / 3), "deviation": None}
