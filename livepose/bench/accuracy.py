"""Accuracy beside speed: what the contenders score on labelled people."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from livepose.bench.contender import Contender
from livepose.bench.measure import Row

if TYPE_CHECKING:
    from livepose.training.datasets import Person
    from livepose.training.evaluate import Scores


def score(data: str | None, rows: Sequence[Row], contenders: Mapping[str, Contender]) -> None:
    """Put a contender's accuracy on that data beside every row of its name."""
    if data is None:
        return
    for name, contender in contenders.items():

        def evaluated(people: "Sequence[Person]", contender: Contender = contender) -> "Scores":
            from livepose.training.evaluate import evaluate

            return evaluate(contender.engine.run, contender.model.size, people)

        own = [row for row in rows if row.name == name]
        for row in own[:1]:
            note_score(row, data, evaluated)
        for row in own[1:]:
            row.facts |= {key: own[0].facts[key] for key in ("pck", "oks", "accuracy")}


def people_of(data: str) -> "list[Person]":
    """The labelled people of that data set."""
    from livepose.training.datasets import read_once

    return read_once(data).people


def note_score(row: Row, data: str, evaluated: "Callable[[Sequence[Person]], Scores]") -> None:
    """PCK@0.2 and mean OKS of the limbs on labelled people, one crop for each true box."""
    scores = evaluated(people_of(data))
    row.facts |= {"pck": scores.pck["limbs"], "oks": scores.oks}
    row.facts["accuracy"] = {"data": data} | scores.as_dict()
