"""Which techniques and objectives the study of mode collapse has: a row of its table each."""

from __future__ import annotations

from typing import Any

OLD: dict[str, Any] = {
    "batch": 64,
    "beta1": 0.5,
    "beta2": 0.999,
    "ema_kimg": 0.0,
    "layers": 2,
    "scaled": False,
    "ttur": 0.2,
    "width": 64,
}
"""Networks and rates with which the baseline collapses, as that of Metz et al. 2017 does."""

# What each row changes of MixtureConfig's defaults. Values are the papers' where they fit networks of this size;
# docs/mixture.md says where they do not.
TECHNIQUES: dict[str, dict[str, Any]] = {
    "small networks, slow D": OLD,
    "baseline": {},
}
