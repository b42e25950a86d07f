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
    distances: Distances, rows: Sequence[Measured], command: Sequence[str], config: TrainConfig, picture: str
) -> str:
    """The whole page in Markdown.

    Args:
        command: what gives these results: the program, then its arguments.
        config: of the run.
        picture: file of the picture, as seen from the page.
    """
    program, *arguments = command
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
    listed = "\n".join(f"- Line {line}." if line[1] == ":" else f"- Lines {line}." for line in lines)
    return f"""# VAE-GAN

`python -m train.vae_gan` trains an encoder, a decoder and a discriminator (Larsen et al. 2016, arXiv 1512.09300). It
reconstructs images, draws new ones, and interpolates between pictures. Reconstructions are compared in features of the
discriminator instead of in pixels.

```sh
python -m train.vae_gan                                                            # letters and digits at 32×32
python -m train.generate RUN --input FOLDER --view reconstruct --out again         # the pictures of a folder
python -m train.generate RUN --input FOLDER --interpolate 4x8 --out between.png    # between encoded pictures
python -m train.generate RUN --out samples.png                                     # samples from the prior
python -m train.evaluate RUN                                                       # of samples
python -m train.evaluate RUN --view reconstruct                                    # of reconstructions
```

## What comes of it

Below is a run on {data} at {size}×{size}. This part of the page is written by this command:

```sh
{program} {shlex.join(arguments)}
```

![Images, reconstructions, samples and interpolations]({picture})

{listed}

### Reconstructions

{distances.images} images that were not trained on, compared pixel by pixel (values from 0 to 255):

{pixels}

### Samples

Sliced Wasserstein distance and Fréchet distance from real images; for both, less is better. The last row is other real
images, so it shows what is possible.

{samples}
"""
