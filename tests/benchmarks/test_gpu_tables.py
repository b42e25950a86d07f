"""From a GPU's result file to GB/s, shares of the copy's speed and the targets there."""

from __future__ import annotations

from benchmarks import gpu_tables, results, tables

HARDWARE = {"processor": "P", "cores": 16, "instruction_set": "avx512", "threads": 16, "gpu": "NVIDIA H200"}
RUN = {
    "commit": "abc",
    "date": "2030-01-31",
    "command": "python -m benchmarks benchmarks/ops",
    "versions": {"os": "L", "torch": "2"},
    "copy_bandwidth": 4.2e12,
}


def entry(
    family: str = "pixel_norm",
    mode: str = "forward",
    rivals: str = "op_by_op",
    *,
    ours: float = 1.0,
    size: str = "128x128x64x64",
    nbytes: int = 268_000_000,
    **seconds: float,
) -> results.Row:
    kinds = {"op_by_op": "eager", "compiled": "compiled", "in_graphs": "in-graph kernel"}
    roles = dict.fromkeys(seconds, kinds[rivals]) | {"copy": "limit"}
    measured = {
        "params": {"mode": mode, "size": size, "bytes": nbytes, "rivals": rivals},
        "subject": "ours",
        "seconds": {name: [1e-3 * s] * 3 for name, s in {"ours": ours, "copy": 0.9, **seconds}.items()},
        "units": {"bytes": 2 * nbytes},
        "memory": {name: 300_000_000 for name in ("ours", *seconds)},
        "roles": roles,
    }
    return results.row(f"ops/{family}", measured)


def cells(lines: list[str], *words: str) -> list[str]:
    """Those of the only line with all these words."""
    (found,) = [line for line in lines if all(word in line for word in words)]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_family_has_its_gigabytes_a_second_and_share_of_the_copy() -> None:
    found = cells(gpu_tables.render([entry(definition=3.0)]), "| forward | 128x128x64x64 |")
    assert found == ["forward", "128x128x64x64", "1", "536", "90%", "**3.00** definition", "", "300", "300"]


def test_races_against_each_kind_of_rivals_are_one_line() -> None:
    both = [entry(definition=3.0), entry(rivals="compiled", ours=2.0, compiled=3.0)]
    found = cells(gpu_tables.render(both), "| forward | 128x128x64x64 |")
    # Against the compiled definition 3/2, as in that race; ours is the first race's.
    assert found[2:7] == ["1", "536", "90%", "3.00 definition", "**1.50** compiled"]


def test_joining_changes_no_entry() -> None:
    first, second = entry(definition=3.0), entry(rivals="compiled", compiled=3.0)
    before = list(first["seconds"])
    gpu_tables.joined([first, second])
    assert list(first["seconds"]) == before


def test_passes_below_the_share_of_the_copy_are_listed() -> None:
    entries = [entry(definition=1.0), entry("bias_act", ours=1.5, definition=1.0)]
    lines = gpu_tables.summary(entries)
    assert "1 of 2 forward and forward+backward passes reach 85% of the copy's speed" in lines[0]
    assert "- bias_act, forward, 128x128x64x64: 60%" in lines


def test_means_are_geometric_and_of_large_inputs_alone() -> None:
    mode = "double backward"
    entries = [
        entry(mode=mode, definition=2.0),
        entry("gradient_penalty", mode, definition=32.0),
        entry("virtual_batch_norm", mode, definition=1.0, nbytes=200_000_000),
        entry("fade_in", mode, definition=1.0),  # linear: no target
    ]
    assert cells(gpu_tables.summary(entries), "op by op")[-3:] == ["2", "**8.00**", "yes"]


def test_minibatch_discrimination_counts_at_its_own_size() -> None:
    entries = [
        entry("minibatch_discrimination", size=size, nbytes=512_000, cdist=ratio)
        for size, ratio in (("256x100x5", 9.0), ("64x100x5", 20.0))
    ]
    assert cells(gpu_tables.summary(entries), "256x100x5")[-3:] == ["1", "**9.00**", "**no**"]


def test_a_terminal_gets_the_large_cases_and_whole_steps() -> None:
    step = {
        "params": {"resolution": 4},
        "subject": "ours",
        "seconds": {"ours": [0.1], "textbook": [0.2]},
        "units": {"images": 16},
        "memory": {},
    }
    rows = [entry(definition=3.0), entry(size="4x16x4x4", nbytes=4096, definition=2.0), results.row("step", step)]
    text = "\n".join(gpu_tables.short(rows, RUN))
    assert "commit abc; a large copy moves 4200 GB/s" in text
    assert "step, resolution 4: ours 160, textbook 80 images/s" in text
    assert "128x128x64x64" in text and "4x16x4x4" not in text


def test_a_terminal_has_a_line_for_each_family_and_size_of_which_the_type_is_named() -> None:
    rows = [
        entry(definition=3.0),
        entry(mode="double backward", ours=0.5, definition=2.0),
        entry(size="256x128x64x64-channels_last-bf16", definition=2.0),
    ]
    lines = gpu_tables.short(rows, RUN)
    assert cells(lines, "| 128x128x64x64 |")[2:] == ["1 / – / 0.5", "90% / – / 180%", "3.00 / – / 4.00", "– / – / –"]
    assert cells(lines, "channels_last-bf16")[4] == "2.00 / – / –"


def test_a_terminal_is_not_flooded() -> None:
    families = [f"virtual_batch_norm_{i}" for i in range(11)]
    sizes = [f"{n}x128x64x64-channels_last-bf16" for n in (128, 256, 512)]
    modes = gpu_tables.MODES
    rows = [entry(f, mode, size=s, ours=2.0, definition=3.0) for f in families for s in sizes for mode in modes]
    text = "\n".join(gpu_tables.short(rows, RUN))
    assert len(text) < 8000 and "- and 54 more" in text


def test_a_machine_with_a_gpu_has_these_tables_and_its_tests() -> None:
    checks = {"commit": "abc", "date": "2030-01-31", "passed": 900, "skipped": 20, "failed": 0}
    machine = results.merged(None, "h200", HARDWARE, RUN, [entry(definition=3.0)])
    machine["checks"] = {**checks, "sanitizer": {"memcheck": "clean", "racecheck": "clean"}}
    text = tables.section(machine)
    assert "P, 16 cores, avx512, NVIDIA H200; torch uses 16 threads." in text
    assert "torch 2; a large copy moves 4200 GB/s\n" in text
    assert "900 passed, 20 skipped, 0 failed; memcheck: clean; racecheck: clean." in text
    assert "| of copy |" in text
