"""Options that every trainer has, and the command line made from a dataclass of options.

A trainer's options are one frozen dataclass; a preset is an instance of it. ``--preset`` chooses the instance whose
values the other options replace, ``--resume`` takes them from the run's own ``config.json``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import itertools
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import tyro

from train.base.errors import UsageError
from train.base.tables import Number, parse_table
from train.base.values import Range, Seed, check_values
from train.engine.schedule import Schedule, growing_schedule
from train.measure.metric_names import KID_SUBSET
from train.run.older import options_of_today

Config = TypeVar("Config", bound="TrainConfig")
# One value, or values by resolution: see train.base.tables.parse_table.
Table = Annotated[str, tyro.conf.arg(metavar="TABLE")]


@dataclass(frozen=True)
class TrainConfig:
    """Options of every trainer."""

    preset: str = "glyphs"
    """Set of default values; other options override single values."""
    data_root: Path = Path("data")
    """Folder of torchvision's datasets, also for downloads."""
    download: bool = False
    """Download a torchvision dataset that is not in data-root."""
    resize: bool = False
    """Resize images that are not square to a square, instead of cropping them to the central square."""
    data_size: int = 0
    """Number of images to use, or of glyphs to draw (0: all images, 20 000 glyphs)."""
    mirror: bool = True
    """Mirror images at random if the data allows it."""
    resolution: int = 32
    """Final height and width of the images, a power of two, or three times one."""
    kimg: float = 0.0
    """Thousands of images to train on; extends the last phase or ends the run early (0: the sum of the phases)."""
    batch: Table = "16"
    """Images in a step."""
    microbatch: Table = "0"
    """Images to process at once; gradients are summed; batch statistics are of these only (0: the whole batch)."""
    lr: Table = "0.002"
    """Learning rate of all networks."""
    ema_kimg: Table = "1"
    """Half-life of the averaged generator, in thousands of images."""
    init_from: str = ""
    """Run folder or checkpoint to start from: a new run takes the weights whose names and shapes match."""
    seed: Seed = 0
    """Seed of all random numbers."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N (auto: a GPU if there is one)."""
    precision: Literal["auto", "float32", "bf16", "fp16"] = "float32"
    """Type that the networks compute in; parameters stay float32 (auto: bf16 if the device is built for it)."""
    deterministic: bool = True
    """Use only repeatable algorithms on a GPU (on the CPU all are)."""
    compile: bool = False
    """Compile each phase's steps (takes tens of seconds for each phase; needs a C++ compiler)."""
    cuda_graphs: Literal["auto", "on", "off"] = "auto"
    """Capture each phase's steps as CUDA graphs (auto: on a GPU, up to 64x64)."""
    log_kimg: Table = "1"
    """Thousands of images between progress lines."""
    image_kimg: Table = "10"
    """Thousands of images between grids of samples."""
    checkpoint_kimg: Table = "10"
    """Thousands of images between checkpoints."""
    keep: int = 2
    """Number of checkpoints to keep."""
    grid: str = "8x8"
    """Rows and columns of the sample grids."""
    tensorboard: bool = True
    """Also write TensorBoard events."""
    metrics: str = ""
    """Metrics to measure, such as swd,fid, or auto: all possible ones; the best checkpoint by the first one is kept."""
    metrics_every: Table = "10"
    """Thousands of images between evaluations."""
    metrics_images: int = 2000
    """Generated images of an evaluation, and the maximum number of real ones."""
    kid_subset: Annotated[int, Range(2)] = KID_SUBSET
    """Images in each of the subsets over which kid is averaged (published results: 1000)."""
    inception_weights: str = ""
    """Inception weights for is, fid, kid, pr, birthday (default: GAN_OPS_INCEPTION, or a classifier of the data)."""

    SIZES: ClassVar[tuple[str, ...]] = ()  # options that decide on the shapes of the networks' tensors
    FIXED: ClassVar[tuple[str, ...]] = ()  # those that a resumed run must keep, although all shapes would fit
    BEGUN: ClassVar[Mapping[str, Any]] = {}  # values for a run that starts with another one's networks, unless told

    def check(self) -> None:
        """UsageError for an option out of range and for two that exclude each other, with the reason."""
        check_values(self)
        self.table("ema_kimg")

    def table(self, option: str, kind: type[Number] = float) -> dict[int, Number]:
        """The values of a TABLE by resolution; UsageError if it is none."""
        return parse_table(getattr(self, option), kind, option)

    def schedule(self) -> Schedule:
        """The phases that the options describe; UsageError as in :meth:`check`, which it calls."""
        raise NotImplementedError

    def lists(self) -> dict[str, str]:
        """The lists of images that a run has: by name, what ``load_images`` is asked for."""
        raise NotImplementedError

    def one_phase(self, lr_decay: float = 0.0) -> Schedule:
        """The schedule of networks of one resolution; the learning rate falls to 0 over a last part of it."""
        if not self.kimg > 0:
            raise UsageError(f"kimg={self.kimg:g} is not a positive number")
        size, images = self.resolution, {name: self.table(name, int) for name in ("batch", "microbatch")}
        lengths = {"fade": {4: 0.0}, "stable": {4: self.kimg}}
        return growing_schedule(size, size, **lengths, **images, lr=self.table("lr"), lr_decay=lr_decay)

    def begun_at(self: Config, resolution: int) -> Config:
        """The options for networks that have reached a resolution already."""
        return self


@dataclass(frozen=True)
class OneList:
    """The option that names images."""

    data: str = "glyphs"
    """Images: glyphs, digits, a folder, a zip, or mnist, cifar10, svhn, stl10, celeba, lsun."""


@dataclass(frozen=True)
class ImagesConfig(TrainConfig, OneList):  # in this order --help begins with the images
    """Options of a trainer that learns from one list of images."""

    def lists(self) -> dict[str, str]:
        return {"images": self.data}


@dataclass(frozen=True)
class RunOptions:
    """Options of one start of a program, not of its run: they are not saved."""

    out: Path | None = None
    """Folder for the run, new or empty (default: runs/<preset or data>-<resolution>-<n>)."""
    resume: Path | None = None
    """Run folder or checkpoint to continue; other options given here change the run's own."""
    dry_run: bool = False
    """Print the resolved options and the schedule, then stop."""


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """The options as plain types, as ``config.json`` and the checkpoints hold them."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(config).items()}


def from_dict(kind: type[Config], values: Mapping[str, Any], source: str) -> Config:
    """The options that :func:`to_dict` wrote.

    Raises:
        UsageError: naming ``source``, for an unknown option and for a value that is not of its option's type.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"{source} is damaged: it is not an object that holds options")
    hints, values = typing.get_type_hints(kind), options_of_today(values)
    names = {field.name for field in dataclasses.fields(kind)}
    if unknown := [name for name in values if name not in names]:
        raise UsageError(f"{source}: unknown option {unknown[0]!r}")
    config = kind(**{k: Path(v) if hints[k] is Path and isinstance(v, str) else v for k, v in values.items()})
    check_values(config, source)
    return config


def read_config(kind: type[Config], path: Path, program: str) -> Config:
    """The options in the ``config.json`` of a run of a program, such as ``python -m train.pggan``.

    Raises:
        UsageError: if there is none, or it is damaged, of another program or of an older version of this one.
    """
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: --resume takes the folder of a run") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is damaged: {error}") from None
    if isinstance(values, Mapping):
        whose = values.get("program")
        if whose is None:
            raise UsageError(f"{path} is of a version before this one, and its run cannot be continued here")
        if whose != program:
            raise UsageError(f"{path} is of a run of {whose}, not of {program}")
        values = {name: value for name, value in values.items() if name != "program"}
    return from_dict(kind, values, str(path))


def parse_command_line(
    presets: Mapping[str, Config],
    args: Sequence[str],
    *,
    prog: str,
    description: str,
    inherited: Mapping[str, Any] | None = None,
) -> tuple[Config, RunOptions]:
    """The options in force; exits with 0 for ``--help``.

    The first of ``presets`` is the default; ``inherited`` are values that replace those of the preset where ``args``
    do not name others.

    Raises:
        UsageError: for an unknown option, a bad value or an unknown preset.
    """
    start = dataclasses.replace(_starting_point(presets, args, prog), **(inherited or {}))
    kind = type(start)
    # One flat class of both kinds of options makes a flat command line.
    command = dataclasses.make_dataclass("Options", [], bases=(RunOptions, kind), frozen=True)
    command.__doc__ = description
    options = parse_options(command, args, prog=prog, default=command(**values_of(start, kind)))
    return kind(**values_of(options, kind)), RunOptions(**values_of(options, RunOptions))


def values_of(options: Any, kind: type) -> dict[str, Any]:
    """Those of the fields that ``kind`` has."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(kind)}


Options = TypeVar("Options")


def parse_options(kind: type[Options], args: Sequence[str], *, prog: str, default: Options | None = None) -> Options:
    """An instance of a dataclass from command-line options; whatever is wrong is a UsageError of one line."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            options, unknown = tyro.cli(
                kind,
                args=list(args),
                default=tyro.MISSING_NONPROP if default is None else default,
                prog=prog,
                description=kind.__doc__,
                return_unknown_args=True,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(_first_paragraph(complaint.getvalue())) from None
    if unknown:
        names = ["--" + field.name.replace("_", "-") for field in dataclasses.fields(kind)]
        close = difflib.get_close_matches(unknown[0].split("=")[0], names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"{prog} --help lists them all"
        raise UsageError(f"unknown option {unknown[0]} ({hint})")
    check_values(options)
    return options


def _starting_point(presets: Mapping[str, Config], args: Sequence[str], prog: str) -> Config:
    """The defaults that ``--preset`` or ``--resume`` in ``args`` asks for."""
    preset, resume = option_value(args, "--preset"), option_value(args, "--resume")
    first = next(iter(presets))
    if resume is None:
        if preset is not None and preset not in presets:
            raise UsageError(f"unknown preset {preset!r}: there are {', '.join(presets)}")
        return presets[preset or first]
    for option in ("--preset", "--out", "--init-from"):
        if option_value(args, option) is not None:
            raise UsageError(
                f"{option} cannot be given with --resume: the run continues in its folder, with its options"
            )
    run = Path(resume)
    if not run.exists():
        raise UsageError(f"--resume {run} does not exist")
    return read_config(type(presets[first]), (run if run.is_dir() else run.parent) / "config.json", prog)


def option_value(args: Sequence[str], option: str) -> str | None:
    """The last value that ``args`` gives an option, as ``--option value`` or ``--option=value``."""
    value = None
    for i, here in enumerate(args):
        if here == option and i + 1 < len(args):
            value = args[i + 1]
        elif here.startswith(option + "="):
            value = here.split("=", 1)[1]
    return value


def _first_paragraph(box: str) -> str:
    """What tyro says in a box of several lines, without the box and the advice below its first rule."""
    lines = [line.strip("│╭╮╰╯ \n") for line in box.splitlines()]
    body = itertools.takewhile(lambda line: set(line) != {"─"}, lines[1:])
    return " ".join(" ".join(body).split()) or " ".join(box.split())
