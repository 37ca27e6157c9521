"""Where it was measured: hardware, versions, memory, and how much others used the processor."""

import os
import platform
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    *("livepose", "numpy", "opencv-python", "av"),
    *("onnxruntime", "openvino", "torch"),
    *("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "pycuda"),
)


def memory_mib(process: int | str = "self") -> dict[str, float]:
    """Resident memory of a process now and at its peak, where the system says."""
    found: dict[str, float] = {}
    status = Path(f"/proc/{process}/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        for key, name in (("VmRSS", "rss_mib"), ("VmHWM", "peak_rss_mib")):
            if key in lines:
                found[name] = int(lines[key].split()[0]) / 1024
    return {name: round(value, 1) for name, value in found.items()}


class Neighbours:
    """How much of the processor others took since this was made, as far as Linux tells.

    children: processes that run all the while and are no others.
    """

    def __init__(self, *children: int, stat: Path = Path("/proc/stat")) -> None:
        self._children, self._stat = children, stat
        self._begin_s = self._now()

    def share(self) -> float | None:
        """Of the time of all cores, 0..1: other processes, and a hypervisor that stole it."""
        begin, end = self._begin_s, self._now()
        if begin is None or end is None or end[0] <= begin[0]:
            return None
        all_s, others_s = (after - before for before, after in zip(begin, end, strict=True))
        return min(max(others_s / all_s, 0.0), 1.0)

    def _now(self) -> tuple[float, float] | None:
        """Seconds since some beginning: of all cores, and of those the ones others had."""
        if not self._stat.exists():
            return None
        # user nice system idle iowait irq softirq steal, in ticks.
        ticks = [int(word) for word in self._stat.read_text().split("\n", 1)[0].split()[1:9]]
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        own = os.times()
        own_s = own.user + own.system + own.children_user + own.children_system
        own_s += sum(map(cpu_s, self._children))
        return sum(ticks) * tick_s, (sum(ticks) - ticks[3] - ticks[4]) * tick_s - own_s


def cpu_s(process: int) -> float:
    """The processor time that a process has had; Linux only."""
    # Behind its name, which is in brackets: utime and stime are the 14th and 15th.
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    """Hardware, versions, date and the command line: what a number needs to be trusted."""
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "os": platform.platform(),
        "python": platform.python_version(),
        **{name: version for name in PACKAGES if (version := version_of(name)) is not None},
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def cpu_name() -> str:
    """The processor as its maker calls it, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def version_of(package: str) -> str | None:
    """The installed version; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
