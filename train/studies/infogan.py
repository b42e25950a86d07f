"""``python -m train.studies.infogan``: whether an InfoGAN's categories become the digits of glyphs without any labels.

Each training is a program in a process and a folder of its own, which resumes. Its Q then tells the categories of real
images that it has not seen, and categories are matched with digits one to one, so that most images are right.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import BinaryIO, NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from models.parts.codes import OfCodes
from train.base.errors import UsageError, run_program
from train.base.files import write_atomically
from train.base.values import Runs
from train.data import ImageSet, load_images, to_float
from train.dcgan import SYSTEM, build_trainer
from train.engine.trainer import Trainer
from train.measure.code_walks import code_walk
from train.measure.pictures import draw, grid, latents, save_png
from train.run import checkpoint
from train.run.options import from_dict, parse_options
from train.studies.processes import attempt
from train.studies.study import command_of, opened, page_file, table
from train.studies.trainings import METRICS, Planned, Scores, train_all

PROG = "python -m train.studies.infogan"
DATA = "glyphs-digits"
COMMON = ("--preset", "infogan", "--no-tensorboard", "--checkpoint-kimg", "20", "--keep", "1", "--image-kimg", "0")
"""Options of every training."""
HELD_OUT_SEED = 1000
"""Of the images that Q is tried on. Trainings have seeds from 1, of which their images are made."""
COLUMNS = 10


@dataclass(frozen=True)
class Options:
    """Trains InfoGANs on glyphs of ten digits and matches their categories with the digits; runs are continued."""

    out: Path = Path("runs/infogan")
    """Folder of the trainings and, without --page, of the table."""
    seeds: Runs = 5
    """Trainings, with seeds 1, 2, …"""
    kimg: float = 200.0
    """Thousands of images of each training: at most ten minutes of a core."""
    images: Runs = 2000
    """Number of real images that categories are told of, of samples, and of real images for fid."""
    jobs: Runs = 2
    """Trainings to run at once, each on one CPU thread."""
    page: Path | None = None
    """Markdown file to write; its picture goes into the same folder (default: infogan.md in --out)."""


class Task(NamedTuple):
    """One training."""

    seed: int
    kimg: float

    def __str__(self) -> str:
        return f"seed {self.seed}"

    def folder(self, out: Path) -> Path:
        return out / f"seed-{self.seed}-{self.kimg:g}"


class Matched(NamedTuple):
    """What came of it."""

    accuracy: float
    """Part of the real images whose likeliest category is the one matched with their digit."""
    distance: float | None
    """Fréchet distance of the samples; None if it is not finite."""
    features: str
    """That the distance is of."""


def main(args: Sequence[str] | None = None) -> int:
    options = parse(args)
    text = page_file(options.page, options.out / "infogan.md")
    tasks = [Task(seed, options.kimg) for seed in range(1, options.seeds + 1)]
    shared = {"images": options.images, "common": list(COMMON)}
    with opened(options.out, shared, Task, Matched) as study:
        code = study.complete(
            tasks,
            lambda missing: trained(missing, options, study.lock),
            lambda task, found: f"{found.accuracy:.1%} of real images match, fid {_number(found.distance)}",
            lambda task: task.folder(options.out).exists(),
        )
        if not code and (found := study.found(tasks)):
            _write(text, found, options)
    return code


def parse(args: Sequence[str] | None) -> Options:
    """The options; UsageError for a wrong one."""
    options = parse_options(Options, sys.argv[1:] if args is None else args, prog=PROG)
    if not 0 < options.kimg <= 1e6:
        raise UsageError(f"kimg={options.kimg:g} is not a positive number up to 1000000")
    return options


def planned(task: Task, options: Options) -> Planned:
    """The training of a task."""
    folder = task.folder(options.out)
    measured = ["--metrics", ",".join(METRICS), "--metrics-every", "0", "--metrics-images", str(options.images)]
    own = ["--kimg", f"{task.kimg:g}", "--seed", str(task.seed), "--out", str(folder)]
    return Planned("dcgan", folder, [*COMMON, *measured, *own])


def trained(tasks: Sequence[Task], options: Options, lock: BinaryIO) -> Iterator[tuple[int, Matched | Exception]]:
    """Indices of the tasks and what came of them, as they end."""
    for index, scores in train_all([planned(task, options) for task in tasks], options.jobs, lock):
        if isinstance(scores, Exception):
            yield index, scores
        else:
            yield index, attempt(judged, tasks[index].folder(options.out), scores, options.images)


def judged(folder: Path, scores: Scores, count: int) -> Matched:
    """How a finished training's Q tells real images that it has not seen."""
    images = load_images(DATA, 32, seed=HELD_OUT_SEED, size=count)
    accuracy = matching_accuracy(told_categories(restored(folder, images), images), images.labels)
    return Matched(accuracy, scores.distance, scores.features)


def restored(folder: Path, images: ImageSet) -> Trainer:
    """The newest checkpoint's networks, in a trainer of any images that takes no step."""
    path, state, _ = checkpoint.find(folder)
    config = from_dict(SYSTEM.options, state["config"], str(path))
    trainer, _ = build_trainer(config, {"images": images}, torch.device("cpu"))
    with checkpoint.reading(path):
        for part, networks in (("networks", trainer.game.networks), ("averages", trainer.averages)):
            for name, network in networks.items():
                network.load_state_dict(state["trainer"][part][name])
    return trainer


@torch.no_grad()
def told_categories(trainer: Trainer, images: ImageSet) -> Tensor:
    """The likeliest value of the first categorical code of each image, int64 [N]."""
    categories = trainer.game.conditioning.codes.categorical[0]
    discriminator = trainer.game.networks["D"].eval()
    batches = to_float(images.level(images.resolution)).split(100)
    return torch.cat([discriminator(batch).logits[:, :categories].argmax(1) for batch in batches])


def matching_accuracy(told: Tensor, labels: Tensor) -> float:
    """The part of ``labels`` that agrees with the classes matched with ``told``, both int64 [N]: the best matching of
    one to one (Kuhn 1955, the Hungarian method)."""
    count = 1 + int(max(told.max(), labels.max()))
    table = torch.zeros(count, count, dtype=torch.int64)
    table.index_put_((told, labels), torch.ones_like(told), accumulate=True)
    return table.numpy()[linear_sum_assignment(table.numpy(), maximize=True)].sum().item() / len(labels)


def codes_picture(trainer: Trainer) -> Tensor:
    """Each code's walk, as ``train.generate --codes`` has it, side by side: uint8 [C, H, W]."""
    generator = trainer.averages["G"].eval()
    codes, width = generator.codes, generator.resolution // 2
    z = latents(COLUMNS * COLUMNS, generator.latent_dim, seed=0)
    walks = []
    for number in range(1, 1 + len(codes.categorical) + codes.continuous):
        walk = torch.cat(list(draw(OfCodes(generator), code_walk(codes, number, z, COLUMNS))))
        walks.append(grid(walk, COLUMNS))
    gap = torch.full_like(walks[0][:, :, :width], 255)
    return torch.cat([part for walk in walks for part in (gap, walk)][1:], dim=2)


def _write(text: Path, found: Mapping[Task, Matched], options: Options) -> None:
    picture = text.with_suffix(".png")
    text.parent.mkdir(parents=True, exist_ok=True)
    middle = sorted(found, key=lambda task: found[task].accuracy)[len(found) // 2]
    trainer = restored(middle.folder(options.out), load_images(DATA, 32, size=100))
    save_png(picture, codes_picture(trainer))
    write_atomically(text, lambda file: file.write(page(found, middle, picture.name, options).encode()))
    print(summary(found), flush=True)
    print(f"{text} and {picture}", file=sys.stderr)


def summary(found: Mapping[Task, Matched]) -> str:
    """The table."""
    rows = [["seed", "real images that match %", f"`fid[{next(iter(found.values())).features}]`"]]
    rows += [[str(t.seed), f"{100 * m.accuracy:.1f}", _number(m.distance)] for t, m in found.items()]
    rows.append(["median", f"{100 * median(m.accuracy for m in found.values()):.1f}", ""])
    return table(rows)


def page(found: Mapping[Task, Matched], middle: Task, picture: str, options: Options) -> str:
    """The whole page in Markdown."""
    command = command_of(PROG, options, "seeds", "kimg", "images")
    anything = torch.randint(10, (options.images,), generator=torch.Generator().manual_seed(0))
    chance = matching_accuracy(anything, torch.arange(options.images) % 10)
    return f"""# InfoGAN on the digits of glyphs

`train.dcgan --condition infogan` learns from glyphs of the ten digits without their labels: white on black, in all
typefaces. A categorical code of ten values and two continuous ones are among its latents, and Q, on D's layers, tells
them of images (Chen et al. 2016, arXiv 1606.03657). This page is written by this command:

```sh
{shlex.join(command)}
```

{summary(found)}

After {options.kimg:g} kimg Q told the categories of {options.images} real images that it
had not seen. Each category is matched with one digit, so that as many images as possible are of the digit that their
likeliest category is matched with; of categories told at random {chance:.0%} would be. `fid` is of as many samples.

All trainings have the options `{shlex.join(COMMON)}`. In this preset only three latents are noise. With many, as the
paper's 62, it is the noise that says the digit, and categories are of other things.

![Walks through the codes]({picture})

The samples are of seed {middle.seed}, whose part is the median. On the left, each row has a value of the categorical
code, and each column the same latents otherwise. In the middle and on the right, a continuous code goes from −2 to 2
along each row; it was trained on [−1, 1]. Rows have the ten categories.
"""


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(run_program(main))
