"""Several processes train as one does whose microbatches are their shares."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import Any

import pytest
import torch

from train.engine import parallel

from .games import BATCH
from .shares import PLAYED, outcome, play

SEES_BATCH = (
    *("Weighed", "pggan", "dcgan", "vae-gan", "few labels", "few labels, adversarial", "pggan, cgan"),
    *("pggan, acgan, noise, r1,r2", "pggan, feature matching, noise", "pggan, minibatch discrimination"),
    *("sngan", "sngan, projection, three moves of D, more fakes for G"),
    *("biggan", "biggan, two moves of D, no labels, bounded singular values", "biggan-deep"),
    "sngan, wgan-gp, acgan, attention, self-modulation",
    *("pggan, projection, hinge", "pggan, infogan", "dcgan, cgan", "dcgan, acgan", "dcgan, projection, r1"),
    *("dcgan, infogan", "ebgan", "magan", "ebgan, mmd", "meg, three moves of D"),
    *("dcgan, virtual batch norm, K + 1 labels", "wgan-gp,dragan", "lazy dragan", "r1, lazy r2 and dragan"),
    *("dragan", "softmax", "relativistic(average=true)", "relativistic(of=least-squares)", "relativistic(of=hinge)"),
    *(
        "gradient norm, compared",
        "c-transform",
        "fisher",
        "mcgan(outputs=3)",
        "mmd(kernel=gaussian,outputs=3,weight=10)",
    ),
    "mmd, all penalties",
    *("dcgan, diffaugment, compared with images held out", "dcgan, all of ada, r1, r2"),
    "pggan, ada along a plan, lazy r1",
    *("stylegan", "stylegan, projection, no mixing", "stylegan2"),
    "stylegan2, projection, frozen layers, no path lengths",
    "stylegan2, ada, no mixing, no skips, r1 at every step",
    *("stylegan3", "stylegan3, r, blur, ada, r1 at every step", "stylegan3, projection, frozen layers, pointwise"),
)
"""Games whose losses are no means over samples: they have statistics of a batch, which are each share's own."""
KEEPS_OWN = ("Pooled", "cyclegan")
"""Games that remember what each process has seen."""


def torchrun(*args: str, count: int = 2, **options: Any) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "--standalone", *args]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, **options)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """What came of each game in two processes."""
    path = tmp_path_factory.mktemp("two") / "outcomes.pt"
    run = torchrun("-m", "tests.train.engine.shares", str(path))
    assert run.returncode == 0, run.stderr
    return torch.load(path)


@pytest.mark.parametrize("played", PLAYED, ids="-".join)
def test_two_processes_train_as_one_does_on_both_shares(played: tuple[str, str], outcomes: Any) -> None:
    first, second = outcomes[played]
    for part in ("weights", "averages", "state", "losses"):
        torch.testing.assert_close(first[part], second[part], rtol=0, atol=0, equal_nan=True)
    if played[0] in KEEPS_OWN:
        return
    parts = [BATCH // 2] if played[0] in SEES_BATCH else [BATCH // 2, BATCH]
    for microbatch in parts:
        alone = outcome(play(*played, microbatch=microbatch))
        assert first["images"] == alone["images"]
        for part in ("weights", "averages", "state"):
            torch.testing.assert_close(first[part], alone[part], rtol=0, atol=1e-9)
        torch.testing.assert_close(first["losses"], alone["losses"], rtol=1e-5, atol=1e-6)  # kept in float32


def test_messages_are_of_one_type_and_not_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "BUCKET", 10)
    sizes = [(4, torch.float32), (6, torch.float32), (3, torch.float64), (1, torch.float32), (20, torch.float32)]
    tensors = [torch.zeros(size, dtype=dtype) for size, dtype in sizes]
    assert list(parallel._buckets(tensors)) == [[0, 1], [3], [4], [2]]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors may show writes in another order")
@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no memory to share")
def test_processes_of_one_machine_share_memory(outcomes: Any) -> None:
    assert outcomes["shared memory"]


@pytest.mark.parametrize("update", ["alternating", "joint", "merged"])
def test_gloo_gives_what_shared_memory_gives(update: str, outcomes: Any) -> None:
    torch.testing.assert_close(outcomes["by gloo", update], outcomes["Toy", update], rtol=0, atol=0)
