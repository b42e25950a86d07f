"""The page about objectives: which there are, and what they measure."""

from __future__ import annotations

from collections.abc import Mapping

from train.base.specs import listing
from train.gan.losses import LOSSES, PAPERS
from train.studies.divergences_table import Found, escaped, summary
from train.studies.study import table

# What D and G minimise; s is the score, a mean over a batch is E; and where it is from.
FORMULAS: Mapping[str, tuple[str, str, str]] = {
    "minimax": ("−E[log σ(s(x))] − E[log(1 − σ(s(G)))]", "E[log(1 − σ(s(G)))]", "1406.2661"),
    "non-saturating": ("as minimax", "−E[log σ(s(G))]", "1406.2661"),
    "boundary-seeking": ("as minimax", "½E[s(G)²]", "1702.08431"),
    "softmax": ("−E[s(x)] + log Σ exp s", "−E[s] + log Σ exp s, of reals and samples", "1704.06191"),
    "f": ("−E[g(s(x))] + E[f*(g(s(G)))]", "−E[f*(g(s(G)))]; trick: −E[g(s(G))]", "1606.00709"),
    "likelihood-ratio": ("−E[φ(D(x))] − E[ψ(D(G))], φ' = ρ, ψ' = −ω⁻¹ρ", "E[ψ(D(G))]", "2002.00865"),
    "lsgan": ("½E[(s(x) − b)²] + ½E[(s(G) − a)²]", "½E[(s(G) − c)²]", "1611.04076"),
    "hinge": ("E[max(0, 1 − s(x))] + E[max(0, 1 + s(G))]", "−E[s(G)]", "1802.05957"),
    "relativistic": (
        "E[h(s(x) − E s(G))] + E[h(E s(x) − s(G))]",
        "the same, reals and samples exchanged",
        "1807.00734",
    ),
    "r3gan": ("E[softplus(s(G) − s(x))] + R1 + R2", "E[softplus(s(x) − s(G))]", "2501.05441"),
    "qp": ("E[δ²/(2λd) − δ], δ = s(x) − s(G), d = |x − G|", "−E[s(G)]", "1811.07296"),
    "loss-sensitive": (
        "E[max(a, slope·a)], a = Δ + s(G) − s(x); paper: −E[s(x)] + λE[max(0, a)]",
        "−E[s(G)]",
        "1701.06264",
    ),
    "dragan": ("as minimax, + λE[(|∇s| − 1)²] around reals", "−E[log σ(s(G))]", "1705.07215"),
    "wgan": ("E[s(G)] − E[s(x)], weights clipped", "−E[s(G)]", "1701.07875"),
    "wgan-gp": ("as wgan, + λE[(|∇s(x̂)| − 1)²]", "−E[s(G)]", "1704.00028"),
    "wgan-div": ("as wgan, + kE[|∇s(x̂)|^p]", "−E[s(G)]", "1712.01026"),
    "c-transform": ("−E[s(x)] − E[min over x of d(x, G) − s(x)]", "E[min over x of d(x, G) − s(x)]", "1910.03875"),
    "fisher": ("−Ê − Λ(1 − Ω̂) + ρ/2·(Ω̂ − 1)²", "−E[s(G)]", "1705.09675"),
    "mcgan": ("−|E Φ(x) − E Φ(G)|, vectors Φ", "|E Φ(x) − E Φ(G)|", "1702.08398"),
    "mcgan-covariance": ("E[f(G)] − E[f(x)], f = Σ⟨u, Φ⟩⟨v, Φ⟩", "−E[f(G)]", "1702.08398"),
    "mmd": ("−MMD²(h(x), h(G)), vectors h", "MMD²(h(x), h(G))", "1705.08584, 1801.01401"),
}


def listed() -> str:
    """All objectives."""
    rows = [["`--loss`", "D minimises", "G minimises", "from (arXiv)"]]
    for name, objective in LOSSES.items():
        d, g, number = FORMULAS[name]
        source = f"{PAPERS[name].split(';')[0]}: {number}"
        rows.append([f"`{listing({name: objective})}`", escaped(d), escaped(g), source])
    return table(rows, names=4)


def page(found: Mapping[tuple[str, str], Found], command: str, picture: str) -> str:
    """The whole page in Markdown.

    Args:
        command: what gives these results.
        picture: its file, as seen from the page.
    """
    measured, *ratios = summary(found).split("\n\n")
    minutes = sum(one.seconds for one in found.values()) / 60
    return f"""# Objectives

An objective is what D and G minimise. `--loss` chooses it, with its values: `--loss "f(divergence=kl)"`. In your own
code it is a class of `gan_ops.objectives` ([ops.md](ops.md#objectives)). This page lists them, and shows that they
measure what they claim.

{listed()}

E is a mean over the batch, x a real sample, G a generated one, s a score, σ the logistic function, x̂ a point between
x and G. λ and k are `weight`, p is `power`, and Δ is `distance` · |x − G|. g and f* are those of the divergence, ω and
ρ those of the family. h(y) is softplus(−y), (y − 1)² or max(0, 1 − y). Ê is E[s(x)] − E[s(G)], and Ω̂ is
½E[s(x)²] + ½E[s(G)²].

The docstrings have the equations' numbers, what each option is, and what to beware of. Energies (BEGAN, EBGAN, MAGAN,
MEG) have [a page of their own](energies.md); `--penalty`, `--d-norm` and `--pack` are in [training.md](training.md).

What to choose depends on data and networks. A few things follow from the formulas:

- With an optimal D, `minimax` and `f` minimise a divergence. If p and q hardly overlap, most of them are flat or
  very steep, as the picture shows. That is why G has other losses: `non-saturating`, the trick of `f`,
  `boundary-seeking`.
- `wgan`, `wgan-gp`, `wgan-div`, `qp`, `c-transform` and `mmd` also see how far p and q are from each other.
- `relativistic`, `r3gan` and `softmax` compare real and generated samples, and have no value that is known in closed
  form.
- `f` with `kl`, `reverse-kl`, `pearson`, `neyman` or `alpha` weighs samples by p/q or q/p: a few of them can dominate
  a gradient.

## What they measure

A critic (1 → 128 → 128 → 1, tanh) is trained on p and q that are known, until it is at its optimum. Then its loss
says the divergence or distance. Beside it is the value from the definition, by quadrature. This writes the page:

```sh
{command}
```

The pairs are:

- two normals: N(0, 1) and N(1, 1.2²)
- normal and mixture: N(0, 1) and ½N(−1.5, 0.8²) + ½N(1.5, 0.8²)
- hardly overlapping: N(0, 1) and N(5, 1.1²)

{measured}

- The first number of a pair is the value by quadrature, the second (D) what the critic measured. "Off by" is the
  largest relative deviation of the three. Values above 10³ are compared by their logarithms.
- All must lie within 3 %, those of W₁ within 10 %; else the command fails. The rows with `--d-norm` have no
  tolerance: there the first number is not the value, but stands beside it.
- f-divergences are in the scale of Nowozin et al. (1606.00709): `js` is twice the usual one, `gan` that minus log 4,
  `hellinger` has no ½. For `minimax` log 2 − L_D/2 is shown, for `lsgan` 2 − 8·L_D, for `hinge` 1 − L_D/2. For
  `lsgan(a=-1, b=1, c=0)` it is twice G's loss with its term for real samples. For the others it is −L_D; in `wgan-gp`
  without the penalty.
- h = |F_p − F_q| is the distance of the cumulative distribution functions, u the density of x̂. WGAN-GP does not
  measure W₁: where few x̂ lie, exceeding the slope of 1 costs little.
- For Fisher, the ratio Ê/√Ω̂ does not depend on the scale of D. `qp` is compared with the solution of As = b, linear
  equations for D on a grid (`train/studies/known_values.py`).

{ratios[0] if ratios else ""}

This table has how far D is from ω(p/q), the best D of a likelihood ratio: the integral of |D − ω| over that of |ω|,
with weights p + q. For log-likelihood the weights are q, so it is ∫ |q·D − p|. For hinge they are |p − q|, so it is
how far L_D is from its minimum.

## As two normals part

![Values of the objectives over the distance of two normals]({picture})

Curves are by quadrature, points were measured by critics.

- On the left, JS and the others have a largest value, and are flat from a distance of about 5 on. D tells p and q apart
  without fail, and hardly anything changes when q moves.
- In the middle, W₁ is the distance itself, and does not go flat. MMDs do where the distance is beyond their kernels'
  widths.
- On the right, the axis is logarithmic: KL is half the square of the distance, and χ² grows exponentially with that
  square.

## How it is done

- Expectations are sums over a grid, in training too: no sample is drawn. For objectives that judge each sample alone,
  the loss at each point of the grid comes from `objective.d`, and is weighted with p or q. Penalties are weighted with
  u.
- Other objectives get 256 quantiles of p and 256 of q, as samples of equal weight (`fisher`, `c-transform`), 2048
  (`mmd`), or all pairs of grid points (`qp`).
- Integrals end where p, q and the integrands of all divergences vanish: at −12 and 14, −12 and 12, −12 and 18. That
  of p²/q is largest far from both means.
- Everything is in float64. Adam and then L-BFGS minimise the loss; of values above 10³ the logarithm.
- A critic begins with the minimum of an easier loss where it would otherwise stop in a local minimum, as the last
  column says. For the penalty of WGAN-GP, a slope of −1 is as good as one of 1.
- This took {minutes:.0f} minutes of one core. The same command continues if it is stopped.
"""
