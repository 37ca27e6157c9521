"""What this machine offers, found without importing an engine: CPU features, cores, a GPU."""

import os
import re
import shutil
import subprocess
import sys
from ctypes.util import find_library
from functools import cache
from pathlib import Path

FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8")
"""CPU features that engines make use of, by Linux's names."""

BF16_FEATURES = frozenset({"avx512_bf16", "amx_bf16"})
"""With one of these the CPU multiplies bf16 in hardware, twice as fast as fp32 or more."""

TOPOLOGY = Path("/sys/devices/system/cpu")


@cache
def cpu_features() -> frozenset[str]:
    """Those of FEATURES that the CPU has; empty where the system does not tell."""
    if sys.platform.startswith("linux"):
        words = re.findall(r"^flags\s*:(.*)$", read(Path("/proc/cpuinfo")), re.MULTILINE)
        return frozenset(FEATURES) & frozenset(words[0].split() if words else ())
    if sys.platform == "darwin":
        told = output(["sysctl", "-n", "machdep.cpu.leaf7_features"]).lower().split()
        return frozenset(FEATURES) & frozenset(told)
    return frozenset()


def physical_cores() -> int:
    """Cores that this process may use, two threads of one core counted once; 0 if unknown."""
    if not sys.platform.startswith("linux"):
        return 0
    cpus = os.sched_getaffinity(0)
    siblings = {
        read(TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in cpus
    }
    return len(siblings)


@cache
def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA driver is there: cheap, and true does not promise a working GPU."""
    if Path("/dev/nvidiactl").exists() or Path("/dev/nvidia0").exists():
        return True
    if sys.platform == "win32":
        return find_library("nvcuda") is not None
    # WSL has no device nodes, but this.
    return Path("/dev/dxg").exists() and shutil.which("nvidia-smi") is not None


def read(path: Path) -> str:
    """A small file of the system, or nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def output(command: list[str], timeout_s: float = 5.0) -> str:
    """What a command prints, or nothing where it cannot be run or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
