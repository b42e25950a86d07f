"""Which trainings the study of all objectives has: a row of its table each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

COMMON = (
    *("--data", "glyphs", "--resolution", "16", "--no-tensorboard", "--checkpoint-kimg", "50", "--keep", "1"),
    *("--image-kimg", "0", "--grid", "2x24"),
)
"""Options of every training, before those of its row."""


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        options: of the program, beside COMMON.
        kimg: thousands of images; what a core manages in about two minutes.
        settings: where the options come from.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    kimg: float = 240.0
    settings: str = ""
    system: str = "dcgan"


ROWS: tuple[Row, ...] = (Row("non-saturating", {"loss": "non-saturating"}),)
