"""Pictures of a training run's curve and of how far a model's scores can be trusted."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from livepose.errors import OutputError
from livepose.training.evaluate import Scores


def plot_curve(folder: Path) -> Path:
    """Draw `curve.png` from `log.jsonl`: loss and PCK@0.2, or the finder's recall, by step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    lines = []
    for text in (folder / "log.jsonl").read_text().splitlines():
        with suppress(ValueError):  # half a line, of a disk that was full
            lines.append(json.loads(text))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    losses = [(line["step"], line["loss"]) for line in lines if line["loss"] is not None]
    left.plot(*zip(*losses, strict=True) if losses else ((), ()))
    left.set(xlabel="step", ylabel="loss", yscale="log" if losses else "linear")
    steps = [line["step"] for line in lines]
    if "recall" in lines[0]["scores"]:
        curves = {"recall": [line["scores"]["recall"] for line in lines]}
    else:
        groups = ("all14", "head", "shoulders", "elbows", "wrists", "hips", "knees", "ankles")
        curves = {g: [line["scores"]["pck"][g] for line in lines] for g in groups}
    for name, values in curves.items():
        style = {"linewidth": 2.5, "color": "black"} if name in ("all14", "recall") else {}
        right.plot(steps, values, label=name, **style)
    right.set(xlabel="step", ylabel="recall" if "recall" in curves else "PCK@0.2", ylim=(0, 1))
    right.grid(alpha=0.3)
    right.legend(fontsize="small")
    path = folder / "curve.png"
    save(figure, path, 120)
    return path


def plot_reliability(scored: Mapping[str, Scores], path: Path) -> None:
    """By data set, how many joints of a score are right (PCK@0.2), and how many joints there are.

    Honest scores lie on the diagonal.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    left.plot((0, 1), (0, 1), color="grey", linewidth=1, label="score = share")
    for spec, scores in scored.items():
        mean, share, count = zip(*scores.reliability, strict=True)
        (line,) = left.plot(mean, share, marker="o", label=spec)
        right.plot(mean, count, marker="o", color=line.get_color())
    left.set(xlabel="score", ylabel="share of joints that is right", xlim=(0, 1), ylim=(0, 1))
    right.set(xlabel="score", ylabel="joints", xlim=(0, 1), yscale="log")
    left.legend(fontsize="small")
    left.grid(alpha=0.3)
    right.grid(alpha=0.3)
    save(figure, path, 100)


def save(figure: Any, path: Path, dpi: int) -> None:
    """Write a figure, and close it."""
    from matplotlib import pyplot as plt

    try:
        figure.savefig(path, dpi=dpi)
    except (OSError, ValueError) as e:
        raise OutputError(f"{path}: cannot be written ({e})") from e
    finally:
        plt.close(figure)
