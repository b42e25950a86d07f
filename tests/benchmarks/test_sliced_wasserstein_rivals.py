"""The plain versions that the sliced Wasserstein distance races against compute the same."""

from __future__ import annotations

import pytest

from benchmarks.test_sliced_wasserstein import versions


def test_all_versions_give_the_same_distances() -> None:
    results = {name: version() for name, version in versions(48, 32, patches=32, directions=16).items()}
    ours = {size: distance for size, distance in results["ours"].items() if size != "average"}
    assert results["numpy"] == pytest.approx(ours, rel=1e-4)
    assert results["torch"] == pytest.approx(ours, rel=1e-4)
