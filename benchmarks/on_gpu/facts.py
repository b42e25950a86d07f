"""``python -m benchmarks.on_gpu.facts``: prints, as JSON, what a result file says of a machine and of its software.

A program of its own, for it imports what has just been built. Exit code 1 where that does not load.
"""

from __future__ import annotations

import json

from benchmarks import machine
from gan_ops import _extension

if __name__ == "__main__":
    _extension.load()
    facts = machine.hardware()
    found = {"name": machine.default_name(facts), "hardware": facts, "versions": machine.versions()}
    print(json.dumps({**found, "commit": machine.commit()}))
