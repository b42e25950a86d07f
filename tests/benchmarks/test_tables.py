"""From the result file to the README's tables."""

from __future__ import annotations

import pytest

from benchmarks import results, tables


def entry(resolution: int, units: dict[str, int], memory: dict[str, int]) -> results.Row:
    return results.row(
        "training_step",
        {
            "params": {"resolution": resolution, "batch": 16},
            "subject": "ours",
            "seconds": {"textbook": [0.2, 0.3, 0.4], "ours": [0.1, 0.2, 0.2]},
            "units": units,
            "memory": memory,
        },
    )


def test_a_table_has_what_varies_in_columns_and_what_does_not_above() -> None:
    entries = [entry(resolution, {"images": 16}, {"ours": 12_000_000}) for resolution in (4, 8)]
    assert tables.table(entries) == [
        "Batch 16; images per second.",
        "",
        "| resolution | textbook | ours | ours vs. textbook | MB, ours |",
        "|---:|---:|---:|---:|---:|",
        "| 4 | 53.3 | 80 | **1.50** (1.75–2.00) | 12 |",
        "| 8 | 53.3 | 80 | **1.50** (1.75–2.00) | 12 |",
    ]


def test_without_units_a_table_shows_milliseconds() -> None:
    caption, *_, last = tables.table([entry(4, {}, {})])
    assert caption == "Resolution 4, batch 16; milliseconds."
    assert last == "| 300 | 200 | **1.50** (1.75–2.00) |"


def test_benchmarks_with_other_alternatives_get_a_table_of_their_own() -> None:
    one, other = entry(4, {}, {}), entry(4, {}, {})
    other["params"]["precision"] = "bf16"
    other["seconds"]["more"] = other["seconds"]["ours"]
    machine = results.merged(None, "m", HARDWARE, RUN, [one, other])
    assert tables.section(machine).count("### training_step") == 2


HARDWARE = {"processor": "P", "cores": 2, "instruction_set": "avx2", "threads": 2, "gpu": "none"}
RUN = {"commit": "abc", "date": "2030-01-31", "command": "python -m benchmarks", "versions": {"os": "L", "torch": "2"}}


def test_a_machine_is_described_above_its_tables() -> None:
    text = tables.render([results.merged(None, "my-machine", HARDWARE, RUN, [entry(4, {}, {})])])
    assert text.startswith("## my-machine\n\nP, 2 cores, avx2; torch uses 2 threads.\n")
    assert "- 2030-01-31, commit abc: `python -m benchmarks` on L; torch 2\n" in text


def test_only_what_lies_between_the_marks_is_replaced() -> None:
    text = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
    assert tables.rewritten(text, "new\n") == f"before\n{tables.BEGIN}\n\nnew\n\n{tables.END}\nafter\n"


def test_tables_can_be_made_again_and_again() -> None:
    once = tables.rewritten(f"{tables.BEGIN}\n{tables.END}\n", "new\n")
    assert tables.rewritten(once, "new\n") == once


def test_a_missing_mark_is_an_error() -> None:
    with pytest.raises(ValueError, match="lacks the line"):
        tables.rewritten("nothing", "new")


def test_the_readme_shows_the_committed_results() -> None:
    text = tables.README.read_text()
    assert tables.rewritten(text, tables.render(results.load_all())) == text


def test_checks_say_what_there_is_of_them() -> None:
    machine = results.merged(None, "h200", HARDWARE, RUN, [])
    about = {"commit": "abc", "date": "2030-01-31"}
    machine["checks"] = {**about, "sanitizer": {"racecheck": "clean"}}
    assert "Tests on 2030-01-31, commit abc: racecheck: clean.\n" in tables.section(machine)
    counts = {"passed": 5, "skipped": 0, "failed": 1, "unended": 2}
    machine["checks"] = {**about, **counts, "doctor": "agrees"}
    assert "commit abc: 5 passed, 0 skipped, 1 failed, 2 not ended; doctor: agrees.\n" in tables.section(machine)
