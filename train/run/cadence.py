"""How often a run logs, draws, measures and saves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from train.base.capacity import check_fits
from train.base.errors import UsageError
from train.base.tables import lookup, parse_grid
from train.run.options import TrainConfig


@dataclass(frozen=True)
class Cadence:
    """Thousands of images between the things a loop does beside training, by resolution, and their sizes."""

    log: dict[int, float]
    image: dict[int, float]
    checkpoint: dict[int, float]
    metrics: dict[int, float]
    keep: int
    rows: int
    columns: int

    @staticmethod
    def of(config: TrainConfig) -> Cadence:
        """UsageError for a value that makes no sense."""
        tables = [config.table(name) for name in ("log_kimg", "image_kimg", "checkpoint_kimg", "metrics_every")]
        if config.keep < 1:
            raise UsageError(f"keep={config.keep}: at least 1 checkpoint must be kept")
        rows, columns = parse_grid(config.grid)
        # The picture takes this much memory; its latents and its images take more.
        check_fits(3 * rows * columns * config.resolution**2, torch.device("cpu"), f"grid={config.grid}")
        return Cadence(*tables, config.keep, rows, columns)


def due(table: Mapping[int, float], before: int, after: int, resolution: int) -> bool:
    """Whether the step from ``before`` to ``after`` images reached a multiple of the table's interval (0: never)."""
    every = round(1000 * lookup(dict(table), resolution))
    return every > 0 and before // every != after // every
