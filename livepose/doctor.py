"""`livepose doctor`: what of this machine livepose can use, and the command that mends the rest.

Each line is a `Finding`. Packages that may take the process down with them are imported in
another process.
"""

import ctypes
import glob
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from livepose import __version__
from livepose.errors import LivePoseError, first_line
from livepose.runtime.hardware import (
    cpu_features,
    has_nvidia_gpu,
    output,
    physical_cores,
    read,
)

State = Literal["found", "missing", "broken"]

IMPORT_TIMEOUT_S = 60.0
CAMERA_PROBE_S = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked for, how it is, and what to do where it is not found."""

    topic: str
    state: State
    detail: str
    fix: str = ""


def check_python() -> Finding:
    text = f"{platform.python_version()} on {platform.platform(terse=True)}, livepose {__version__}"
    return Finding("Python", "found", text)


def check_opencv() -> Finding:
    import cv2

    toolkit = re.search(r"^\s*GUI:\s+(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    gui = toolkit[1] if toolkit else "NONE"
    if gui == "NONE":
        from livepose.window import MEND_OPENCV

        return Finding("OpenCV", "broken", f"{cv2.__version__} without windows", MEND_OPENCV)
    return Finding("OpenCV", "found", f"{cv2.__version__}, windows by {gui}")


def check_display() -> Finding:
    from livepose.window import display_available

    reason = display_available()
    if reason is None:
        return Finding("display", "found", "a window can be opened")
    return Finding("display", "missing", reason, "livepose --headless --save out.mp4")


def check_cameras() -> Iterable[Finding]:
    """Every camera opened for a moment: its mode, and the rate that it really gives."""
    if not sys.platform.startswith("linux"):
        text = "cameras cannot be listed on this system"
        yield Finding("cameras", "missing", text, "livepose --camera 0 tries the first")
        return
    paths = sorted(glob.glob("/dev/video*"))
    if not paths:
        yield Finding("cameras", "missing", "no /dev/video*", "livepose --source test needs none")
    for path in paths:
        name = Path("/sys/class/video4linux") / Path(path).name / "name"
        topic = f"camera {path}"
        try:
            yield Finding(topic, "found", f"{read(name)}: {probe_camera(path)}")
        except LivePoseError as e:
            # Many cameras have a second device, for metadata, which gives no pictures.
            yield Finding(
                topic,
                "broken",
                f"{read(name)}: {e}",
                "close programs that use it, then livepose doctor",
            )


def probe_camera(path: str) -> str:
    """The camera's mode as it was obtained, and its measured rate."""
    from livepose.sources import open_source

    source = open_source(path)
    try:
        stamps_s = []
        end_s = time.monotonic() + CAMERA_PROBE_S
        while time.monotonic() < end_s:
            frame = source.read()
            if frame is None:
                break
            stamps_s.append(frame.captured_s)
    finally:
        source.close()
    if len(stamps_s) < 3:
        return f"{source.info.description}, rate not measured"
    # The first frame waited from the opening on.
    fps = (len(stamps_s) - 2) / (stamps_s[-1] - stamps_s[1])
    return f"{source.info.description}, measured {fps:.1f} fps"


def check_cpu() -> Finding:
    found = re.search(r"^model name\s*:\s*(.*)$", read(Path("/proc/cpuinfo")), re.MULTILINE)
    name = found[1] if found else platform.processor() or platform.machine()
    cores = physical_cores()
    count = f", {cores} core{'s' if cores > 1 else ''}" if cores else ""
    features = ", ".join(sorted(cpu_features())) or "features unknown"
    return Finding("CPU", "found", f"{name}{count}, {features}")


def check_gpu() -> Finding:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    told = output(query)
    if told:
        return Finding("GPU", "found", "; ".join(told.splitlines()))
    if has_nvidia_gpu():
        fix = "nvidia-smi says more; reinstall the driver and restart"
        return Finding("GPU", "broken", "a driver is there, but nvidia-smi fails", fix)
    return Finding("GPU", "missing", "no NVIDIA GPU or driver; the CPU is used")


def check_cuda() -> Finding:
    """The driver's CUDA, which packages bring the rest for."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    number = ctypes.c_int()
    try:
        failed = ctypes.CDLL(library).cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        fix = "install NVIDIA's driver" if has_nvidia_gpu() else ""
        return Finding("CUDA", "missing", f"no {library}, which the driver brings", fix)
    if failed:
        return Finding("CUDA", "broken", f"the driver answers with error {failed}", "nvidia-smi")
    return Finding("CUDA", "found", f"{number.value // 1000}.{number.value % 1000 // 10} (driver)")


def check_torch() -> Finding:
    fix = "pip install 'livepose[train]'"
    try:
        build = version("torch")
    except PackageNotFoundError:
        return Finding("torch", "missing", "only training and the torch engine need it", fix)
    if "+cpu" in build or not has_nvidia_gpu():
        kind = "a build for the CPU" if "+cpu" in build else "not tried, no NVIDIA GPU"
        wrong = "+cpu" in build and has_nvidia_gpu()
        fix = "pip install --force-reinstall torch" if wrong else ""
        return Finding("torch", "broken" if wrong else "found", f"{build}, {kind}", fix)
    code = "import torch; print(torch.version.cuda, torch.cuda.is_available())"
    told, error = in_python(code)
    if error or not told.endswith("True"):
        reason = error or f"built for CUDA {told.split()[0]}, finds no GPU"
        return Finding("torch", "broken", f"{build}, {reason}", "pip install -U torch")
    return Finding("torch", "found", f"{build}, CUDA {told.split()[0]}")


def check_onnxruntime() -> Finding:
    code = "from livepose.runtime.onnx import import_onnxruntime as get; print(get().__version__)"
    return imported("onnxruntime", code, "pip install --force-reinstall onnxruntime")


def check_openvino() -> Finding:
    code = "from livepose.runtime.openvino import import_openvino as get; print(get().__version__)"
    return imported("openvino", code, "pip install openvino")


def check_tensorrt() -> Finding:
    code = "import tensorrt; print(tensorrt.__version__)"
    return imported("TensorRT", code, gpu_fix(), ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"))


def check_pycuda() -> Finding:
    code = "import pycuda, pycuda.driver; print(pycuda.VERSION_TEXT)"
    return imported("PyCUDA", code, gpu_fix(), ("pycuda",))


def gpu_fix() -> str:
    return "pip install 'livepose[tensorrt]'" if has_nvidia_gpu() else "of no use without a GPU"


def check_engine() -> Finding:
    """What `--engine auto` takes, opened and tested."""
    from livepose.runtime import open_engine
    from livepose.runtime.choice import suited_model

    try:
        model = suited_model()
        engine = open_engine(model)
    except LivePoseError as e:
        return Finding("engine", "broken", str(e), "the lines above say what is missing")
    engine.close()
    choice = f" ({engine.info.choice})" if engine.info.choice else ""
    return Finding("engine", "found", f"{model.name} runs with {engine.info}{choice}")


def imported(topic: str, code: str, fix: str, names: tuple[str, ...] = ()) -> Finding:
    """Whether a package is installed under one of its names, and what importing it prints."""
    if not any(map(installed, names or (topic,))):
        return Finding(topic, "missing", "not installed", fix)
    told, error = in_python(code)
    if error:
        return Finding(topic, "broken", f"cannot be imported: {error}", fix)
    return Finding(topic, "found", told)


def installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def in_python(code: str) -> tuple[str, str]:
    """The last line that code prints in a Python of its own, and why it failed or nothing."""
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return "", f"takes longer than {IMPORT_TIMEOUT_S:.0f} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return "", lines[-1] if lines else f"it ended with code {done.returncode}"
    return (done.stdout.strip().splitlines() or [""])[-1], ""


CHECKS: tuple[Callable[[], Finding | Iterable[Finding]], ...] = (
    check_python,
    check_opencv,
    check_display,
    check_cameras,
    check_cpu,
    check_gpu,
    check_cuda,
    check_onnxruntime,
    check_openvino,
    check_torch,
    check_tensorrt,
    check_pycuda,
    check_engine,
)


def examine() -> list[Finding]:
    """All findings, in the order they are shown."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            found = check()
        except Exception as e:
            # Whatever is broken, the other lines are wanted all the more.
            topic = check.__name__.removeprefix("check_").replace("_", " ")
            found = Finding(topic, "broken", f"{type(e).__name__}: {first_line(e)}")
        findings += [found] if isinstance(found, Finding) else found
    return findings


def show(findings: list[Finding]) -> None:
    """A table on a terminal, plain lines elsewhere."""
    from rich.table import Table
    from rich.text import Text

    from livepose.console import Printing

    colours = {"found": "green", "missing": "yellow", "broken": "red"}
    console = Printing()
    if not console.is_terminal:
        for f in findings:
            print(f"{f.topic}: {f.state}: {f.detail}" + (f"; {f.fix}" if f.fix else ""))
        return
    table = Table("", "", "what", "what to do", box=None, pad_edge=False)
    for f in findings:
        table.add_row(f.topic, Text(f.state, colours[f.state]), Text(f.detail), Text(f.fix))
    console.print(table)


def main(words: list[str]) -> None:
    """`livepose doctor [--json]`."""
    from livepose.cli import Parser

    parser = Parser(
        prog="livepose doctor",
        description="Says what of this machine livepose can use, and how to mend the rest.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    arguments = parser.parse_args(words)
    if not arguments.json:
        show(examine())
        return
    print(json.dumps({"findings": [asdict(f) for f in examine()]}, indent=2))
