"""Learning from few labels: splits, losses, trainings, presets, the program, and the study of them."""

from __future__ import annotations

import copy
import dataclasses
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
from torch import Tensor, nn
from torchvision import datasets

from gan_ops.objectives import Scores
from models.semi_supervised import NETWORKS, Convolutional, Dense
from train import semi_supervised
from train.base.errors import TrainingError, UsageError, run_program
from train.data import load_images, to_float
from train.data.few_labels import SemiData, balanced_labels, load_semi_data
from train.semi_supervised import PRESETS, SemiOptions, new_trainer, probabilities, train_and_test
from train.studies import few_labels
from train.studies.few_labels import STUDIES, Errors, Task
from train.studies.processes import in_processes

CPU, DIGITS = torch.device("cpu"), NETWORKS["digits"]
OPTIONS = dataclasses.replace(PRESETS["digits"], epochs=2, batch=8, device="cpu")


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch):
    """Of the papers' kinds."""
    small = {"digits": Dense((12, 8), (6,)), "mnist": Dense((12, 8), (6,))}
    small |= {name: Convolutional(4, 8) for name in ("glyphs", "svhn", "cifar10")}
    for name, networks in small.items():
        monkeypatch.setitem(NETWORKS, name, networks)


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
    trainer = new_trainer(options, data, labelled, 0, adversary=adversary)
    while not trainer.done:
        trainer.step()
    return trainer.averages["D"]


def weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


class TestSplits:
    def test_digits_are_parted_once_and_for_all(self):
        data, again = (load_semi_data("digits", Path("data"), False) for _ in range(2))
        assert (len(data.pool), len(data.test)) == (1000, 797)
        assert torch.equal(data.pool, again.pool) and torch.equal(data.test_labels, again.test_labels)
        whole = load_images("digits", 8)
        parts = zip(torch.cat([data.pool, data.test]), torch.cat([data.pool_labels, data.test_labels]), strict=True)
        assert sorted((x.numpy().tobytes(), int(y)) for x, y in parts) == sorted(
            (x.numpy().tobytes(), int(y)) for x, y in zip(whole.level(8), whole.labels, strict=True)
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

    @pytest.mark.parametrize("adversary", [True, False])
    def test_a_training_has_a_step_for_each_batch_of_the_pool_and_can_be_resumed(self, blobs, adversary):
        labelled = balanced_labels(blobs.pool_labels, 6, 3, 0)
        whole, resumed = (new_trainer(OPTIONS, blobs, labelled, seed, adversary=adversary) for seed in (0, 1))
        for _ in range(3):
            whole.step()
        state = copy.deepcopy(whole.state_dict())
        while not whole.done:
            whole.step()
        assert whole.steps == 2 * (30 // 8)
        resumed.load_state_dict(state)
        while not resumed.done:
            resumed.step()
        assert torch.equal(weights(resumed.averages["D"]), weights(whole.averages["D"]))

    def test_weights_are_averaged_over_all_steps_until_the_rate_is_reached(self, blobs):
        options = dataclasses.replace(OPTIONS, averaging=0.25, lr_decay=0.0)
        trainer = new_trainer(options, blobs, torch.arange(6), 0, adversary=True)
        seen = []
        for _ in range(6):
            trainer.step()
            seen.append(weights(trainer.game.networks["D"]))
        expected = torch.stack(seen[:4]).mean(0)
        for weight in seen[4:]:
            expected = 0.75 * expected + 0.25 * weight
        torch.testing.assert_close(weights(trainer.averages["D"]), expected)

    def test_the_learning_rate_falls_to_0_over_the_last_part(self, blobs):
        options = dataclasses.replace(OPTIONS, epochs=8, batch=30, lr=0.1, lr_decay=0.5)
        schedule = new_trainer(options, blobs, torch.arange(6), 0, adversary=False).schedule
        assert [schedule.position(30 * i).lr for i in range(8)] == pytest.approx([0.1] * 5 + [0.075, 0.05, 0.025])
        assert schedule.total == 240

    def test_a_training_that_diverges_is_an_error(self, blobs):
        with pytest.raises(TrainingError, match="the network diverged"):
            train_and_test(dataclasses.replace(OPTIONS, labels=6, lr=1e30), blobs, adversary=True)

    def test_batches_to_test_are_all_of_one_size(self, blobs):
        sizes = []

        class Network(nn.Linear):
            def forward(self, x):
                sizes.append(len(x))
                return Scores(None, super().forward(x.flatten(1)))

        network = Network(4, 3)
        images = NETWORKS["digits"].input_of(to_float(blobs.test))
        found = probabilities(network, images, 5)
        assert sizes == [5, 5, 5]
        torch.testing.assert_close(found, network(images).logits.softmax(1).detach())

    def test_images_are_in_the_networks_range(self):
        pixels = torch.tensor([0, 255], dtype=torch.uint8)
        assert NETWORKS["mnist"].input_of(to_float(pixels)).tolist() == [0, 1]
        assert NETWORKS["cifar10"].input_of(to_float(pixels)).tolist() == [-1, 1]


@pytest.fixture
def run(tmp_path, capsys):
    """run(options…) → exit code, what the study printed, the last line on stderr; the folder is tmp_path / "out"."""

    def start(*args: str) -> tuple[int, str, str]:
        quick = ("--device", "cpu", "--out", str(tmp_path / "out"))
        code = run_program(lambda: few_labels.main([*quick, *args]))
        captured = capsys.readouterr()
        return code, captured.out, captured.err.strip().split("\n")[-1]

    return start


QUICK = ("--labels", "20", "100", "--repeats", "2", "--epochs", "1", "--batch", "100")
ONE = ("--labels", "20", "--repeats", "1", "--epochs", "1", "--batch", "100")


@pytest.fixture
def trainings(monkeypatch) -> list[int]:
    """The labels of each network that is trained."""
    calls: list[int] = []

    def counted(options, *args, **more):
        calls.append(options.labels)
        return train_and_test(options, *args, **more)

    train_and_test = few_labels.train_and_test
    monkeypatch.setattr(few_labels, "train_and_test", counted)
    return calls


class TestProgram:
    def test_a_training_gives_the_error_that_the_study_has_of_it(self, run, capsys):
        assert (
            semi_supervised.main(["--device", "cpu", "--epochs", "1", "--batch", "100", "--seed", "3", "--json"]) == 0
        )
        alone = json.loads(capsys.readouterr().out)
        (studied,) = json.loads(run(*ONE, "--labels", "100", "--seed", "3", "--json")[1])["results"]
        assert alone == {name: studied[name] for name in ("labels", "seed", "wrong", "tested", "error")}

    def test_a_line_says_how_many_are_wrong(self, capsys):
        semi_supervised.main(["--device", "cpu", "--epochs", "1", "--labels", "20"])
        out = capsys.readouterr().out
        assert out.startswith("20 labels: ") and "of 797 test images wrong" in out

    def test_the_presets_training_beats_chance_by_far(self, monkeypatch, capsys):
        monkeypatch.setitem(NETWORKS, "digits", Dense((100, 50), (50,), input_noise=0.2, noise=0.15))
        semi_supervised.main(["--device", "cpu", "--epochs", "4", "--json"])
        assert json.loads(capsys.readouterr().out)["error"] < 0.25


class TestStudy:
    def test_json_and_table_have_every_error(self, run, trainings):
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
        means = {(row["method"], row["labels"]): row["mean"] for row in report["summary"]}
        assert means["label-spreading", 100] < 0.06 < means["logistic-regression", 100] < 0.14

        trainings.clear()
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
        mean, deviation = ([row[name] for row in report["summary"]] for name in ("mean", "deviation"))
        cells = [f"{100 * m:.2f} ± {100 * d:.2f}" for m, d in zip(mean, deviation, strict=True)]
        assert [cell for line in lines[2:] for cell in line[1:]] == cells
        assert trainings == []

    def test_an_ensembles_members_know_the_same_labels_and_their_probabilities_are_averaged(self, run, tmp_path):
        _, out, _ = run(*ONE, "--ensemble", "3", "--json")
        members = [np.load(tmp_path / "out" / "probabilities" / f"gan-20-0-{member}.npy") for member in range(3)]
        assert members[0].shape == (797, 10) and not np.array_equal(members[0], members[1])
        truth = load_semi_data("digits", Path("data"), False).test_labels.numpy()
        (result,) = [r for r in json.loads(out)["results"] if r["method"] == "ensemble"]
        assert result["wrong"] == (np.mean(members, axis=0).argmax(1) != truth).sum()

    def test_an_ensemble_that_lacks_a_member_is_left_out(self, tmp_path):
        found = {Task("gan", 20, seed, member): Errors(1, 2, 0.5, None, None) for seed in (0, 1) for member in (0, 1)}
        del found[Task("gan", 20, 1, 1)]
        (tmp_path / "probabilities").mkdir()
        for task, rows in zip(found, ([[0.9, 0.1], [0.6, 0.4]], [[0.9, 0.1], [0.1, 0.9]], [[1, 0]]), strict=True):
            np.save(few_labels.probabilities_file(tmp_path, task), np.float32(rows))
        ensembles = few_labels.ensembles(tmp_path, found, 2, torch.tensor([0, 0]))
        assert ensembles == {Task("ensemble", 20, 0): Errors(1, 2, 0.5, None, None)}

    def test_several_jobs_give_the_same_results_with_as_many_threads_each(self, tmp_path, one_thread, monkeypatch):
        monkeypatch.setitem(NETWORKS, "digits", DIGITS)  # what other processes have
        options = dataclasses.replace(STUDIES["digits"], epochs=1, batch=500, device="cpu")
        calls = [(Task(method, 20, 0), options, tmp_path, False) for method in ("gan", "supervised")]
        (tmp_path / "probabilities").mkdir()
        found = [dict(in_processes(jobs, few_labels.perform, calls)) for jobs in (1, 2)]
        serial, beside = ([errors._replace(seconds=None) for _, errors in sorted(some.items())] for some in found)
        assert serial == beside

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
    def test_a_gan_whose_probabilities_are_lost_has_no_result(self, tmp_path, damage):
        task = Task("gan", 20, 0, 1)
        file = few_labels.probabilities_file(tmp_path, task)
        file.parent.mkdir()
        np.save(file, np.full((7, 10), 0.1, np.float32))
        assert few_labels.has_probabilities(tmp_path, task, (7, 10))
        damage(file)
        assert not few_labels.has_probabilities(tmp_path, task, (7, 10))

    def test_what_is_missing_is_trained_and_the_table_is_the_same(self, run, trainings, tmp_path):
        first = run(*ONE, "--ensemble", "2", "--baselines")
        assert trainings == [20, 20, 20]
        (tmp_path / "out" / "probabilities" / "gan-20-0-1.npy").unlink()
        assert run(*ONE, "--ensemble", "2", "--baselines")[:2] == first[:2]
        assert trainings == [20] * 4
        run(*ONE, "--repeats", "2")
        assert trainings == [20] * 5

    def test_a_network_that_diverged_is_no_result_but_an_error_with_its_name(self, run, tmp_path):
        code, out, message = run(*ONE, "--lr", "1e30")
        assert code == 1 and message.startswith("error: 1 training failed") and not out
        assert "gan, 20 labels, seed 0: the network diverged" in message
        assert not (tmp_path / "out" / "results.jsonl").exists()

    def test_missing_scikit_learn_is_said_before_anything_is_trained(self, run, trainings, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "sklearn", None)
        code, _, message = run("--preset", "glyphs", "--baselines")
        assert code == 2 and "baselines need scikit-learn" in message
        assert trainings == [] and not (tmp_path / "out").exists()

    def test_adversarial_generator_with_minibatch_discrimination(self, run):
        code, out, _ = run(*ONE, "--labels", "100", "--epochs", "2", "--generator-loss", "adversarial", "--json")
        assert code == 0
        assert all(result["error"] < 0.85 for result in json.loads(out)["results"])

    def test_results_of_other_options_are_refused(self, run):
        run(*ONE)
        code, _, message = run(*ONE, "--lr", "0.1")
        assert code == 2 and "holds results with lr=0.003, not lr=0.1: choose another --out" in message

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
            (["--unlabelled-weight", "0"], "unlabelled_weight=0.0 is out of range"),
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

    @pytest.mark.parametrize(
        ("main", "kind"), [(semi_supervised.main, SemiOptions), (few_labels.main, few_labels.Options)]
    )
    def test_help_names_the_papers_section_for_every_choice_of_the_method(self, main, kind, capsys):
        with pytest.raises(SystemExit):
            main(["--preset", "cifar10", "--help"])
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        for field in dataclasses.fields(kind):
            assert f"--{field.name.replace('_', '-')} " in text.replace(",", " ")
        assert ("1000 2000 4000 8000" in text) == (kind is few_labels.Options)
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
    def test_a_training_on_files_in_the_real_format(self, name, loss, tmp_path, monkeypatch, capsys):
        FAKES[name](tmp_path, monkeypatch)
        few = (
            "--labels",
            "10",
            "--epochs",
            "1",
            "--batch",
            "20",
            "--generator-loss",
            loss,
            "--device",
            "cpu",
            "--json",
        )
        download = ["--download"] if name == "mnist" else []
        assert semi_supervised.main(["--preset", name, "--data-root", str(tmp_path), *download, *few]) == 0
        assert json.loads(capsys.readouterr().out)["tested"] == 20


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("mnist", (0.003, 0.0, 300, (20, 50, 100, 200))),
        ("cifar10", (0.0003, 1 / 3, 1200, (1000, 2000, 4000, 8000))),
        ("svhn", (0.0003, 1 / 3, 900, (500, 1000, 2000))),
    ],
)
def test_the_papers_settings(preset, expected):
    options = STUDIES[preset]
    assert (options.lr, options.lr_decay, options.epochs, options.labels) == expected
    assert (options.batch, options.averaging, options.unlabelled_weight, options.repeats) == (100, 0.0001, 1, 10)


def test_glyphs_have_36_classes_for_the_labels_to_be_shared_by():
    assert all(labels % 36 == 0 for labels in (*STUDIES["glyphs"].labels, PRESETS["glyphs"].labels))
