"""The page about a run that reconstructs images, and its tables."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from train.run.options import TrainConfig
from train.studies.study import table

COLUMNS = 16
"""Images in a line of the page's picture."""


class Distances(NamedTuple):
    """Means over held-out images of |Δ| over pixels, which are in [0, 255]."""

    reconstruction: float  # to their reconstructions
    mean_image: float  # to the mean of the training images
    images: int


class Measured(NamedTuple):
    """A row of the table of samples."""

    name: str
    kimg: float | None  # images that the run was shown, in thousands
    values: dict[str, float]


def summary(distances: Distances, rows: Sequence[Measured]) -> str:
    """Both tables in Markdown."""
    share = distances.reconstruction / distances.mean_image
    pixels = [
        ["compared with", "mean absolute difference", "share"],
        ["the mean of the training images", f"{distances.mean_image:.2f}", "1"],
        ["their reconstructions", f"{distances.reconstruction:.2f}", f"{share:.3f}"],
    ]
    names = list(rows[0].values)
    samples = [["", "kimg", *(f"`{name}`" for name in names)]]
    for row in rows:
        kimg = "–" if row.kimg is None else f"{row.kimg:.0f}"
        samples.append([row.name, kimg, *(f"{row.values[name]:.2f}" for name in names)])
    return f"{table(pixels)}\n\n{table(samples)}"


def page(
    distances: Distances,
    rows: Sequence[Measured],
    command: Sequence[str],
    trained: Sequence[str],
    config: TrainConfig,
    picture: str,
) -> str:
    """The whole page in Markdown.

    Args:
        command: what gives these results: the program, then its arguments.
        trained: what trains the networks, a command for each run.
        config: of the run.
        picture: file of the picture, as seen from the page.
    """
    data, size = " and ".join(config.lists().values()), config.resolution
    pixels, samples = summary(distances, rows).split("\n\n")
    rival = len(rows) > 2
    lines = ["1 and 3: images that were not trained on", "2 and 4: their reconstructions", "5 and 6: samples"]
    if rival:
        lines.append(f"7 and 8: samples of {rows[1].name}, for comparison")
    first = 5 + 2 * (1 + rival)
    lines.append(
        f"{first} to {first + 3}: from the encoding of the image on the left to that of the image on the right"
    )
    commands = "\n".join([*trained, shlex.join(command)])
    listed = "\n".join(f"- Line {line}." if line[1] == ":" else f"- Lines {line}." for line in lines)
    return f"""# VAE-GAN

`python -m train.vae_gan` trains an encoder E, a decoder G and a discriminator D (Larsen et al. 2016, arXiv
1512.09300). A run reconstructs images, draws new ones, and interpolates between pictures.

```sh
python -m train.vae_gan                                                          # letters and digits at 32×32
python -m train.generate RUN --input FOLDER --view reconstruct --out again       # the pictures of a folder
python -m train.generate RUN --input FOLDER --interpolate 4x8 --out between.png  # between encoded pictures
python -m train.generate RUN --out samples.png                                   # of latents of the prior
python -m train.evaluate RUN                                                     # measures samples
python -m train.evaluate RUN --view reconstruct                                  # measures reconstructions
```

## What comes of it

The images are {data} at {size}×{size}, and the networks are the averaged ones. The last of these commands writes
this page; the others train:

```sh
{commands}
```

![Images, reconstructions, samples and interpolations]({picture})

{listed}

### Reconstructions

{distances.images} images that were not trained on, compared pixel by pixel (values from 0 to 255):

{pixels}

### Samples

Distances of samples from real images: sliced Wasserstein and Fréchet. Less is better. The last row is other real
images; it shows what is possible.

{samples}

## What is minimised

E, G and D are moved from the same state by one pass. The gradients of each loss go to its own network alone.

| network | loss |
| ------- | ---- |
| E | prior_weight · L_prior + L_llike |
| G | gamma · L_llike − L_GAN |
| D | L_GAN |

- L_prior is the divergence of the posterior, which E gives, from the prior N(0, I): a sum over the latents.
- L_llike is half the squared distance of an image and its reconstruction in the maps of D of the height
  `--feature-height`: a sum over all values of the maps. `--pixel-weight` adds the same distance of pixels.
- L_GAN is that of `--loss`. D tells images from reconstructions and from samples.

Sums are not divided by the number of their terms, as in the paper and in its authors' code. More features thus
weigh more against the prior. `--prior-weight` makes up for that.

## What is not as in the paper

- All networks have Adam with β₁ = 0.5 instead of RMSProp.
- G and D are DCGAN's networks. E has the convolutions of such a D, down to 4×4, and no hidden dense layer.
- For D, reconstructions and samples together weigh as much as images. So it is in the authors' code; in the paper
  each of the three has the same weight.
- G's loss is −log D by default, which does not saturate. `--loss minimax` is the paper's.
- The preset `glyphs` has layer norm in D, a larger weight of the prior, and a distance of pixels. D's features
  alone say little about colours. With these options, longer runs draw sharper glyphs, but more and more of them light
  on dark: the Fréchet distance falls and the sliced Wasserstein distance rises.

In G, batch norm sees latents of the posterior and of the prior as one batch. In D, unless it has another norm, it
sees images, reconstructions and samples as one batch. The authors' code does the same. So in each step, each network
is one function: images and reconstructions are compared in features that are normalised alike.
"""
