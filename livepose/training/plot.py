"""The curve of a training run as a picture."""

import json
from pathlib import Path


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
