"""Stands in for the Python of a machine with a GPU: does, for each program of benchmarks/on_gpu, what FAKE says.

FAKE is JSON: for "build", "gpu", "facts", "doctor", "tests", "ops", "steps" and the sanitizers' names one of "good"
(the default), "bad", "hangs" and "crashes". What each call was goes, as lines of JSON, into the file that FAKE_CALLS
names.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

RESULT = """{
  "machine": "h200",
  "hardware": {"gpu": "NVIDIA H200"},
  "runs": [{"commit": "abc"}],
  "benchmarks": []%s
}
"""


def main(arguments: list[str]) -> int:
    name = part(arguments)
    start = time.time()
    with open(os.environ["FAKE_CALLS"], "a") as calls:
        calls.write(json.dumps({"part": name, "arguments": arguments, "began": start, "pid": os.getpid()}) + "\n")
    wish = json.loads(os.environ.get("FAKE", "{}")).get(name, "good")
    code = globals()[name](arguments, wish) or 0
    time.sleep({"hangs": 60, "good": 0.2}.get(wish, 0))
    with open(os.environ["FAKE_CALLS"], "a") as calls:
        calls.write(json.dumps({"part": name, "ended": time.time()}) + "\n")
    return code


def part(arguments: list[str]) -> str:
    text = " ".join(arguments)
    for sign, name in (
        ("setup.py", "build"),
        ("import torch", "gpu"),
        ("on_gpu.facts", "facts"),
        ("-m gan_ops.doctor", "doctor"),
        ("-m pytest", "tests"),
        ("benchmarks/ops", "ops"),
        ("training_step", "steps"),
        ("every_kernel", "every_kernel"),
    ):
        if sign in text:
            return name
    raise SystemExit(f"no program of benchmarks/on_gpu: {text}")


def after(arguments: list[str], option: str) -> str:
    return arguments[arguments.index(option) + 1]


def build(arguments: list[str], wish: str) -> int:
    print("kernel.cu(7): error: no such thing" if wish == "bad" else "")
    return wish in ("bad", "crashes")


def gpu(arguments: list[str], wish: str) -> int:
    return wish == "bad"


def facts(arguments: list[str], wish: str) -> int:
    if wish == "good":
        hardware = {"processor": "P", "cores": 16, "instruction_set": "avx512", "threads": 16, "gpu": "NVIDIA H200"}
        print(json.dumps({"name": "h200", "hardware": hardware, "versions": {"torch": "2.11.0"}, "commit": "abc"}))
        return 0
    print("BuildError: gan_ops._C was built from other sources")
    return 1


def doctor(arguments: list[str], wish: str) -> int:
    print("cuda:           pixel_norm                agrees with its definition")
    if wish == "bad":
        print("cuda:           bias_act                  torch.float32 is off by 2.0e-01")
    return {"bad": 1, "crashes": 139}.get(wish, 0)


def tests(arguments: list[str], wish: str) -> int:
    (report,) = [a.partition("=")[2] for a in arguments if a.startswith("--report=")]
    lines = [{"collected": 3}, {"id": f"test_one[{os.getpid()}]", "outcome": "passed", "seconds": 0.1}]
    last = {"id": f"test_two[{os.getpid()}]", "outcome": "passed", "seconds": 0.2}
    if wish == "bad":
        last |= {"outcome": "failed", "message": "assert 1 == 2"}
    lines += [last] if wish != "crashes" else []
    skipped = {"id": f"test_three[{os.getpid()}]", "outcome": "skipped", "seconds": 0, "message": "none here"}
    lines += [skipped] if wish in ("good", "bad") else []
    with open(report, "a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))
    return {"bad": 1, "crashes": 139}.get(wish, 0)


def measured(arguments: list[str], wish: str) -> int:
    folder = Path(after(arguments, "--results"))
    path = folder / "h200.json"
    content = json.loads(path.read_text())
    content["benchmarks"].append({"name": "ops/x", "params": {}, "run": 0})
    path.write_text(json.dumps(content))
    print("....\n--- The table ---\n| pixel_norm | 91% |")
    if wish in ("bad", "crashes"):
        print("FAILED benchmarks/ops/test_x.py: CUDA error")
    return {"bad": 1, "crashes": 139}.get(wish, 0)


ops = steps = measured


def every_kernel(arguments: list[str], wish: str) -> int:
    print("case 0: pixel_norm\nall 290 cases")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
