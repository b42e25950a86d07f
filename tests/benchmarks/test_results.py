"""From seconds to the result file."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import results

MEASURED = {
    "params": {"resolution": 8},
    "subject": "ours",
    "seconds": {"ours": [1.0, 2.0, 3.0], "textbook": [4.0, 4.0, 6.0]},
    "units": {"images": 16},
    "memory": {"ours": 1000},
}


def entry(resolution: int, median: float = 1.0) -> results.Row:
    seconds = {"ours": [median] * 3}
    return results.row("training_step", {**MEASURED, "params": {"resolution": resolution}, "seconds": seconds})


def test_an_alternative_has_its_median_and_quartiles() -> None:
    assert results.row("step", MEASURED)["seconds"]["ours"] == {"median": 2.0, "q1": 1.5, "q3": 2.5}


def test_a_ratio_is_of_the_medians_with_the_quartiles_of_the_rounds() -> None:
    # Within rounds: 4, 2 and 2.
    assert results.row("step", MEASURED)["ratios"] == {"textbook": {"of_medians": 2.0, "q1": 2.0, "q3": 3.0}}


def test_rates_are_units_a_second() -> None:
    assert results.row("step", MEASURED)["rates"] == {"ours": {"images": 8.0}, "textbook": {"images": 4.0}}


def test_a_benchmark_is_called_after_its_folder_and_function() -> None:
    assert results.name_of("benchmarks/test_training_step.py::test_training_step[8-bf16]") == "training_step"
    assert results.name_of("benchmarks/ops/test_op.py::test_op[4x4-forward]") == "ops/op"


def test_what_kind_an_alternative_is_stays_with_it() -> None:
    assert results.row("step", {**MEASURED, "roles": {"textbook": "eager"}})["roles"] == {"textbook": "eager"}


def test_a_new_measurement_replaces_the_one_of_the_same_parameters() -> None:
    first = results.merged(None, "m", {}, {"commit": "a"}, [entry(4), entry(8)])
    second = results.merged(first, "m", {}, {"commit": "b"}, [entry(8, 2.0)])
    found = {
        row["params"]["resolution"]: (row["seconds"]["ours"]["median"], row["run"]) for row in second["benchmarks"]
    }
    assert found == {4: (1.0, 0), 8: (2.0, 1)}
    assert second["runs"] == [{"commit": "a"}, {"commit": "b"}]


def test_runs_of_which_nothing_is_left_are_dropped() -> None:
    first = results.merged(None, "m", {}, {"commit": "a"}, [entry(4)])
    second = results.merged(first, "m", {}, {"commit": "b"}, [entry(4)])
    assert second["runs"] == [{"commit": "b"}]
    assert second["benchmarks"][0]["run"] == 0


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    content = results.merged(None, "m", {"cores": 2}, {"commit": "a"}, [entry(4), entry(8)])
    results.save(content, tmp_path)
    assert results.load("m", tmp_path) == content
    assert results.load_all(tmp_path) == [content]


def test_a_file_has_a_line_for_each_benchmark(tmp_path: Path) -> None:
    content = results.merged(None, "m", {}, {"commit": "a"}, [entry(4), entry(8)])
    lines = results.save(content, tmp_path).read_text().splitlines()
    assert sum("training_step" in line for line in lines) == 2


def test_a_machine_not_measured_yet_has_no_results(tmp_path: Path) -> None:
    assert results.load("m", tmp_path) is None


@pytest.mark.parametrize(("number", "kept"), [(123.456789, 123.46), (1.23456789e-4, 1.2346e-4)])
def test_numbers_keep_five_digits(number: float, kept: float) -> None:
    measured = {**MEASURED, "seconds": {"ours": [number]}}
    assert results.row("step", measured)["seconds"]["ours"]["median"] == kept


def test_a_file_from_another_machine_adds_its_runs() -> None:
    first = results.merged(None, "m", {}, {"commit": "a"}, [entry(4), entry(8)])
    elsewhere = results.merged(None, "m", {}, {"commit": "b"}, [entry(8, 2.0)])
    both = results.taken(first, elsewhere)
    assert [run["commit"] for run in both["runs"]] == ["a", "b"]
    assert [(row["params"]["resolution"], row["run"]) for row in both["benchmarks"]] == [(4, 0), (8, 1)]
    assert results.taken(both, elsewhere) == both
    assert results.taken(None, elsewhere) == elsewhere


def test_the_checks_of_a_machine_stay_until_there_are_new_ones() -> None:
    checked = {**results.merged(None, "m", {}, {"commit": "a"}, [entry(4)]), "checks": {"passed": 3}}
    assert results.merged(checked, "m", {}, {"commit": "b"}, [entry(8)])["checks"] == {"passed": 3}
    assert results.taken(checked, {**checked, "checks": {"passed": 4}})["checks"] == {"passed": 4}


def test_what_a_gpu_s_commands_find_of_one_commit_is_joined() -> None:
    first = {"commit": "a", "passed": 3, "sanitizer": {"memcheck": "clean"}}
    second = {"commit": "a", "build": "done", "sanitizer": {"racecheck": "clean"}}
    both = {"commit": "a", "passed": 3, "build": "done", "sanitizer": {"memcheck": "clean", "racecheck": "clean"}}
    assert results.joined_checks(first, second) == both
    assert results.joined_checks(first, {"commit": "b", "passed": 4}) == {"commit": "b", "passed": 4}
