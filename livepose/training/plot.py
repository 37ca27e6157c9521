"""Pictures of a training run's curve and of how far a model's scores can be trusted."""

import json
from collections.abc import Mapping
from pathlib import Path

from livepose.errors import OutputError
from livepose.training.evaluate import Scores


def plot_curve(folder: Path) -> Path:
    """Draw `curve.png` from `log.jsonl`: loss and PCK@0.2, or the finder's recall, by step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
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
    figure.savefig(path, dpi=120)
    plt.close(figure)
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
    try:
        figure.savefig(path, dpi=100)
    except (OSError, ValueError) as e:
        raise OutputError(f"{path}: cannot be written ({e})") from e
    finally:
        plt.close(figure)
