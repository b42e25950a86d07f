"""What a result was measured on and with: hardware, system, versions, commit. No names of hosts or users, no paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import torch

import gan_ops
from gan_ops import _extension

ROOT = Path(__file__).parent.parent
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""What benchmarks run on: the GPU where there is one."""


def hardware() -> dict[str, str | int]:
    """Processor, usable cores, instruction set, threads that torch uses, GPU."""
    return {
        "processor": processor(),
        "cores": usable_cores(),
        "instruction_set": instruction_set(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if DEVICE.type == "cuda" else "none",
    }


def versions() -> dict[str, str]:
    """Of the system and of everything that computes."""
    try:
        compiler = _extension.load().compiler
    except _extension.BuildError:
        compiler = "none"
    return {
        "os": operating_system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "none",
        "gan_ops": gan_ops.__version__,
        "compiler": f"gcc {compiler}" if compiler[:1].isdigit() else compiler,
    }


def commit() -> str:
    """The commit, with "+changes" where files differ from it; $COMMIT where there is no git."""
    given = os.environ.get("COMMIT")
    if given:
        return given
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        # Results and tables change by measuring; sources are what counts.
        changed = _git("status", "--porcelain", "--", ".", ":!benchmarks/results", ":!benchmarks/README.md")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed else "")


def default_name(facts: dict[str, str | int]) -> str:
    """``cpu-2x-xeon-avx512-amx`` for two cores of such a processor; a GPU's machine is called after the GPU."""
    if facts["gpu"] != "none":
        return slug(str(facts["gpu"]))
    return f"cpu-{facts['cores']}x-{slug(str(facts['processor']))}-{facts['instruction_set']}"


def slug(text: str) -> str:
    """``Intel(R) Xeon(R) Platinum 8488C @ 2.40GHz`` → ``xeon-platinum-8488c``."""
    text = re.sub(r"\((r|tm)\)|@.*|\b\d+-core\b", " ", text.lower())
    noise = {"intel", "amd", "nvidia", "processor", "cpu", "core", "with", "radeon", "graphics"}
    return "-".join(word for word in re.findall(r"[a-z0-9]+", text) if word not in noise) or "processor"


def processor() -> str:
    """The processor's own name."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        info = ""
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def instruction_set() -> str:
    """``avx512-amx``, ``avx512``, ``avx2``, or the architecture where it is another."""
    if torch.cpu._is_avx512_supported():
        return "avx512-amx" if torch.cpu._is_amx_tile_supported() else "avx512"
    return "avx2" if torch.cpu._is_avx2_supported() else platform.machine()


def operating_system() -> str:
    """``Linux 6.1, Debian GNU/Linux 12 (bookworm)``."""
    kernel = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    try:
        return f"{kernel}, {platform.freedesktop_os_release()['PRETTY_NAME']}"
    except (OSError, KeyError):
        return kernel


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
