"""What growing saves: a run that grows to 64 px against one at 64 px throughout, over the same number of images.

Phases are equally long, as in the paper, and two steps short: nothing in a step depends on a phase's length, so the
ratio is that of a long run. The networks are the paper's at a sixteenth of their width. Each call is a whole run of the
schedule by the trainer itself, with its data, growth and fades, without checkpoints and grids, which both would need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.machine import DEVICE
from benchmarks.race import race
from train.data import ImageSet, load_images
from train.pggan import PgganConfig, build_trainer

RESOLUTION, BATCH, STEPS_PER_PHASE = 64, 16, 2
PHASE_KIMG = STEPS_PER_PHASE * BATCH / 1000

GROWING = PgganConfig(
    resolution=RESOLUTION,
    fade_kimg=f"{PHASE_KIMG}",
    stable_kimg=f"{PHASE_KIMG}",
    batch=f"{BATCH}",
    data_size=256,
    latent=32,
    fmap_base=512,
    fmap_max=32,
)
IMAGES = GROWING.schedule().total
FULL = replace(GROWING, start_resolution=RESOLUTION, stable_kimg=f"{IMAGES / 1000}")


def run_of(config: PgganConfig, images: ImageSet) -> Callable[[], None]:
    """Trains through the whole schedule, every time from its start."""
    trainer, _ = build_trainer(config, {"images": images}, DEVICE)

    def run() -> None:
        trainer.images = 0
        while not trainer.done:
            trainer.step()

    return run


def test_growing(benchmark: BenchmarkFixture) -> None:
    images = load_images(GROWING.data, RESOLUTION, data_root=None, size=GROWING.data_size)
    assert FULL.schedule().total == IMAGES
    race(
        benchmark,
        "growing",
        {"full resolution": run_of(FULL, images), "growing": run_of(GROWING, images)},
        params={"resolution": RESOLUTION, "channels": "32, 16 at 64 px", "batch": BATCH},
        budget=60.0,
        rounds=(5, 30),
        units={"images": IMAGES},
    )
