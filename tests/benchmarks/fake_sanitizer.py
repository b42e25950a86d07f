"""Stands in for compute-sanitizer: runs the program, and says what FAKE wants of it (fake_python.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

if sys.argv[1:] == ["--help"]:
    print("  --kernel-name arg     what to check\n  --kernel-name-exclude arg")
    sys.exit()
tool = sys.argv[sys.argv.index("--tool") + 1]
wish = json.loads(os.environ.get("FAKE", "{}")).get(tool, "good")
with open(os.environ["FAKE_CALLS"], "a") as calls:
    calls.write(json.dumps({"part": tool, "arguments": sys.argv[1:], "began": time.time(), "pid": os.getpid()}) + "\n")
if wish == "crashes":
    print("========= Error: Device not supported")
    sys.exit(1)
program = next(i for i, argument in enumerate(sys.argv) if "python" in os.path.basename(argument))
subprocess.run(sys.argv[program:], check=True)
if wish == "hangs":
    time.sleep(60)
kind = "RACECHECK SUMMARY: 1 hazard displayed" if tool == "racecheck" else "ERROR SUMMARY: 2 errors"
if wish == "bad":
    print(f"========= Invalid __global__ write of size 4\n=========     at gan_ops::k\n========= {kind}")
else:
    print(
        "========= RACECHECK SUMMARY: 0 hazards displayed"
        if tool == "racecheck"
        else "========= ERROR SUMMARY: 0 errors"
    )
time.sleep(0.3)
with open(os.environ["FAKE_CALLS"], "a") as calls:
    calls.write(json.dumps({"part": tool, "ended": time.time()}) + "\n")
sys.exit(9 if wish == "bad" else 0)
