"""From the result file to the tables of single ops and the count of targets met."""

from __future__ import annotations

from benchmarks import op_rows, op_tables, op_targets, results


def entry(
    family: str = "pixel_norm",
    mode: str = "forward",
    *,
    ours: float = 1.0,
    eager: float = 3.0,
    compiled: float = 2.0,
    kernel: float = 1.5,
    limit: float = 0.5,
    size: str = "64x512x4x4",
    nbytes: int = 2_000_000,
) -> results.Row:
    seconds = {"ours": ours, "definition": eager, "compiled": compiled, "compiled kernel": kernel, "copy": limit}
    roles = {"definition": "eager", "compiled": "compiled", "compiled kernel": "in-graph kernel", "copy": "limit"}
    measured = {
        "params": {"mode": mode, "size": size, "bytes": nbytes},
        "subject": "ours",
        "seconds": {name: [1e-3 * value] * 3 for name, value in seconds.items()},
        "units": {"bytes": 2 * nbytes},
        "memory": {"ours": 2_000_000, "compiled": 4_000_000},
        "roles": roles,
    }
    return results.row(f"ops/{family}", measured)


def line(lines: list[str], *words: str) -> list[str]:
    """The cells of the only line with all these words."""
    (found,) = [line for line in lines if all(word in line for word in words)]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_family_has_a_line_for_each_mode_and_size() -> None:
    assert op_tables.family_table([entry()]) == [
        "| mode | size | ours, ms | vs. op by op | vs. compiled | times the limit | MB, ours | MB, fastest rival |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
        "| forward | 64x512x4x4 | 1 | 3.00 definition | **2.00** compiled | 2.00 | 2 | 4 |",
    ]


def test_the_mean_over_families_is_geometric() -> None:
    lines = op_targets.summary([entry(compiled=1.0), entry("virtual_batch_norm", compiled=4.0, eager=5.0)])
    assert line(lines, "| forward |")[-2:] == ["**2.00**", "yes"]


def test_a_target_is_met_by_its_ratio_or_near_the_limit_or_not_at_all() -> None:
    entries = [
        entry(compiled=1.2),
        entry(compiled=1.0, limit=0.9, size="near"),
        entry(compiled=1.0, limit=0.5, size="far"),
    ]
    lines = op_targets.summary(entries)
    assert line(lines, "| forward |")[3:6] == ["1 of 3", "1", "1"]
    assert line(lines, "- ") == [
        "- pixel_norm, forward, far: 1.00 (target 1.1) against the fastest, 2.00 times the limit"
    ]


def test_a_double_backward_is_compared_with_both_kinds_of_rivals_apart() -> None:
    lines = op_targets.summary([entry(mode="double backward", eager=5.0, compiled=0.9)])
    assert line(lines, "double backward", "op by op")[3] == "1 of 1"
    assert line(lines, "double backward", "one compiled graph")[3] == "1 of 1"


def test_linear_ops_have_no_target_for_double_backward() -> None:
    lines = op_targets.summary([entry("fade_in", "double backward"), entry(mode="double backward")])
    assert line(lines, "double backward", "op by op")[3] == "1 of 1"


def test_inputs_under_a_megabyte_do_not_count() -> None:
    lines = op_targets.summary([entry(), entry(nbytes=900_000)])
    assert line(lines, "| forward |")[3] == "1 of 1"


def test_minibatch_discrimination_has_targets_of_its_own_from_128_samples_on() -> None:
    entries = [entry("minibatch_discrimination", size=f"{n}x100x5", nbytes=1000) for n in (64, 128)]
    lines = op_targets.summary([entry(), *entries])
    assert line(lines, "| forward |", "| 4 |")[3:6] == ["0 of 1", "0", "1"]


def test_distances_of_pairs_have_targets_of_their_own_at_every_size() -> None:
    entries = [entry("pair_distances", size=f"64x64x16 {metric}", nbytes=1000) for metric in ("l1", "l2")]
    lines = op_targets.summary([entry(), *entries])
    assert line(lines, "| forward |", "| 1.5 |")[3:6] == ["2 of 2", "0", "0"]
    assert line(lines, "| forward |", "| 1.1 |")[3] == "1 of 1"


def test_a_family_of_its_own_targets_may_have_one_for_the_mean_alone() -> None:
    entries = [entry("upfirdn2d", eager=9.0, compiled=8.0), entry("upfirdn2d", eager=2.0, compiled=2.0, size="slow")]
    lines = op_targets.summary([entry(), *entries])
    assert line(lines, "| forward |", "| 4 |") == ["forward", "the fastest", "4", "**4.00**", "yes"]
    assert "No case misses its target." in lines


def test_a_target_for_memory_is_a_share_of_the_fastest_rivals() -> None:
    lines = op_targets.summary([entry("filtered_lrelu", compiled=3.0, eager=4.0)])
    assert (
        "Peak memory, as a share of the fastest rival's: at most 0.50 (target: at most 0.4; reached: **no**)." in lines
    )


def test_the_limit_is_the_largest_of_those_measured() -> None:
    found = entry()
    found["seconds"]["arithmetic"] = {"median": 0.8e-3}
    found["roles"]["arithmetic"] = "limit"
    assert op_rows.times_limit(found) == 1 / 0.8


def test_small_calls_must_be_faster_unless_the_definition_is_one_op() -> None:
    small = {"nbytes": 1000, "ours": 0.011, "eager": 0.010}
    lines = op_tables.small_calls([entry(**small), entry("interpolate", **small), entry()])
    assert line(lines, "pixel_norm")[-1] == "**no**"
    assert line(lines, "| interpolate |")[-1] == "yes"


def test_compiled_graphs_show_the_kernel_against_the_definition_and_the_choice() -> None:
    other = entry(compiled=6.0)
    lines = op_tables.compiled_graphs([entry(compiled=1.5), other, entry("minibatch_discrimination")])
    assert line(lines, "pixel_norm") == ["pixel_norm", "forward", "**2.00**", "1.00–4.00", "definition"]
    assert line(lines, "minibatch_discrimination")[-1] == "kernel"


def test_without_ops_there_are_no_tables() -> None:
    assert op_tables.render([]) == []
