"""What shows overfitting: D's scores of images that it learns from, of others that it does not, and of fakes."""

from __future__ import annotations

from torch import Tensor

from gan_ops.objectives import Objective
from train.engine.game import Batch, Stats


def report_scores(
    objective: Objective, real: Tensor, fake: Tensor, held_out: Tensor | None, batch: Batch, stats: Stats
) -> None:
    """Reports mean scores, and mean signs where an objective gives them a meaning.

    Args:
        real, fake, held_out: scores [N] or [N, …].
        batch: that D saw; its column "D/p" is how probable its images' augmentation was.
        stats: gets "real_score", …; "real_sign" and "held_out_sign" where a score's sign says what D takes the image
            for; "pair_sign", of real and generated images, where that of a difference does; and "augment_p".
    """
    scores = {"real": real.detach(), "fake": fake.detach()} | ({} if held_out is None else {"held_out": held_out})
    for name, score in scores.items():
        stats[f"{name}_score"] = score.mean()
        if objective.verdict == "score" and name != "fake":
            stats[f"{name}_sign"] = score.sign().mean()
    if objective.verdict == "difference":
        stats["pair_sign"] = (scores["real"] - scores["fake"]).sign().mean()
    if "D/p" in batch:
        stats["augment_p"] = batch["D/p"].mean()
