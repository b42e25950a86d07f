"""The ablation's table and its page."""

from __future__ import annotations

import shlex
from typing import Any

from train.studies.study import spread, table


def summary(results: dict[str, Any]) -> str:
    """The paper's table, with its own numbers in the last column."""
    score, distance = results["names"]
    rows = [["", f"`{score}`", "each seed", "seeds", f"`{distance}`", "paper, CIFAR-10"]]
    gaps = False
    for row in results["rows"]:
        by_seed = dict(zip(row["trained"], row["is"]["values"], strict=True))
        each = [by_seed.get(seed) for seed in range(1, results["seeds"] + 1)]
        both = each, row["fid"]["values"]
        scores, distances = ([value for value in values if value is not None] for values in both)
        ones = ", ".join("–" if value is None else f"{value:.2f}" for value in each)
        cells = [spread(scores, 2), ones, str(len(scores)), spread(distances, 2), f"{row['paper']:.2f}"]
        rows.append([row["name"], *cells])
        gaps = gaps or None in each or (bool(row["flags"]) and None in row["fid"]["values"])
    note = "\n\n–: not finite, or the training failed. The means leave these out."
    return table(rows) + (note if gaps else "")


def page(results: dict[str, Any], command: str, picture: str, pictured: int) -> str:
    """The whole page in Markdown, of what :func:`train.studies.ablation.outcome` gives.

    Args:
        command: what gives these results.
        picture: file of a picture, as seen from the page; it shows samples of the trainings with seed ``pictured``.
    """
    features, size, kimg = results["features"], results["resolution"], f"{results['kimg']:g} kimg"
    seeds = "seed 1" if results["seeds"] == 1 else f"seeds 1 to {results['seeds']}, ± their standard deviation"
    common = shlex.join(["python", "-m", "train.dcgan", *results["options"], "--kimg", f"{results['kimg']:g}"])
    options = "\n".join(f"| {row['name']} | `{shlex.join(row['flags'])}` |" for row in results["rows"] if row["flags"])
    return f"""# What each technique adds

This is the ablation of Salimans et al. 2016 (arXiv 1606.03498, section 6.2, table 3), on
{results["data"]} at {size}×{size}.
This page is written by this command:

```sh
{command}
```

{summary(results)}

The table shows the Inception score (`is`, higher is better) of {results["images"]} samples of the averaged generator
after {kimg}, and the Fréchet distance (`fid`, lower is better) of these samples from {results["reals"]} real images.
Values are means over trainings with {seeds}.

Both are measured with {features["name"]} (weights {features["weights"]}). So compare the rows with each
other, not with the paper's scores: those are measured with Inception on 50 000 samples. Only the order of the rows can
be compared with the paper's.

The row of real data uses the same number of other real images. If there are not enough of them, it has no distance (–).

"All methods" is a DCGAN with virtual batch norm in G (VBN), minibatch features and labels for D, and one-sided label
smoothing. As in the paper, each other row removes one of these from "all methods"; the rows do not build on each other.
Batch norm (BN) replaces VBN where that is removed. HA is historical averaging; the paper does not give its weight.

![Samples of each method]({picture})

The samples come from the trainings with seed {pictured} and the same latents.

Each training is `{common}`, here in {results["precision"]}, with these options:

| | |
|---|---|
{options}
"""
