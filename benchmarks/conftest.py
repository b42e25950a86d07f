from __future__ import annotations

import pytest

from benchmarks.machine import DEVICE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On a GPU, where time is short, what matters most runs first."""
    if DEVICE.type == "cuda":
        items.sort(key=lambda item: getattr(item.get_closest_marker("rank"), "args", ()))
