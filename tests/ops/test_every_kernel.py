"""What a sanitizer watches on a GPU: each family soon, and in time."""

from __future__ import annotations

import time

import every_kernel
import pytest
from every_kernel import Case
from families import FAMILIES


def test_every_family_comes_before_any_comes_again() -> None:
    families = every_kernel.distinct()
    flat = [family for family in families if len(family.sizes[0]) != 4]  # these have no channels_last
    foremost = list(every_kernel.cases())[: len(families) - len(flat)]
    assert len({str(case.family) for case in foremost}) == len(foremost)


def test_each_op_with_kernels_of_its_own_is_there() -> None:
    def op(name: str) -> str:
        return name.partition("(")[0].partition(" ")[0]

    assert {op(str(family)) for family in every_kernel.distinct()} == {op(str(family)) for family in FAMILIES} - {
        "conv2d"
    }


def test_cases_differ_and_are_few_enough_for_a_sanitizer() -> None:
    cases = list(map(str, every_kernel.cases()))
    assert len(set(cases)) == len(cases) < 500


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """The cases that have run; each of them takes no time."""
    found: list[Case] = []
    monkeypatch.setattr(Case, "run", lambda case, device: found.append(case))
    return found


def test_none_begins_when_time_is_up_and_the_rest_can_be_taken_up(ran: list[Case], monkeypatch, capsys) -> None:
    every = list(every_kernel.cases())
    end = time.time() + 60
    monkeypatch.setattr(every_kernel.time, "time", lambda: end + (1 if len(ran) >= 4 else -1))
    every_kernel.main(["--device", "cpu", "--until", str(end)])
    assert ran == every[:4] and capsys.readouterr().out.endswith(f"4 of {len(every)} cases\n")
    monkeypatch.undo()
    monkeypatch.setattr(Case, "run", lambda case, device: ran.append(case))
    every_kernel.main(["--device", "cpu", "--first", "4"])
    assert ran == every and capsys.readouterr().out.endswith(f"all {len(every)} cases\n")


def test_a_case_has_all_derivatives_in_its_type_and_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(every_kernel, "derivatives", lambda op, inputs: seen.append((inputs[0].dtype, inputs[0].shape)))
    case = next(case for case in every_kernel.cases() if case.wider == 8)
    case.run("cpu")
    assert seen == [(case.dtype, (4, 19, 24, 40))]
