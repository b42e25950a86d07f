"""How a machine and a commit are called."""

from __future__ import annotations

import pytest

from benchmarks import machine


@pytest.mark.parametrize(
    ("processor", "slug"),
    [
        ("Intel(R) Xeon(R) Processor", "xeon"),
        ("Intel(R) Xeon(R) Platinum 8488C @ 2.40GHz", "xeon-platinum-8488c"),
        ("AMD Ryzen 7 7840U with Radeon 780M Graphics", "ryzen-7-7840u-780m"),
        ("AMD EPYC 9654 96-Core Processor", "epyc-9654"),
        ("", "processor"),
    ],
)
def test_processors_have_short_names(processor: str, slug: str) -> None:
    assert machine.slug(processor) == slug


def test_a_machine_is_called_after_its_processor() -> None:
    facts = {"processor": "Intel(R) Xeon(R) Processor", "cores": 2, "instruction_set": "avx512-amx", "gpu": "none"}
    assert machine.default_name(facts) == "cpu-2x-xeon-avx512-amx"


def test_a_machine_with_a_gpu_is_called_after_that() -> None:
    assert machine.default_name({"gpu": "NVIDIA H200"}) == "h200"


def test_the_commit_can_be_given_where_there_is_no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMIT", "0123abc")
    assert machine.commit() == "0123abc"
