"""How many fine-tunings a classifier are worth their cost, from the records of earlier runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from transfer.records.cells import Cell
from transfer.records.comparable import RANDOM, Setting, classifier, comparable
from transfer.records.records import Record
from transfer.stats.components import of_classifiers
from transfer.stats.rows import Observation
from transfer.stats.total import best_fine_tunings


def advice(cells: Iterable[Cell], records: Sequence[Record], baseline: str) -> list[str]:
    """A sentence for each task of a plan whose spreads and times are recorded.

    Args:
        cells: The planned runs.
        records: All records of the plan's data sets.
        baseline: The plan's baseline, or empty.
    """
    lines = []
    for task, data, protocol in dict.fromkeys((c.task, c.data, c.protocol) for c in cells):
        alike = [
            r
            for r in records
            if (r.cell["task"], r.cell["data"], r.cell["protocol"]) == (task, data, protocol)
            and classifier(r) != RANDOM
        ]
        for setting in dict.fromkeys(map(Setting.of, alike)):
            members = [r for r in alike if Setting.of(r) == setting]
            lines += _of_setting(setting, comparable(members, baseline)[0])
    return lines


def _of_setting(setting: Setting, records: Sequence[Record]) -> list[str]:
    rows: dict[str, list[Observation]] = {}
    for r in records:
        seen = Observation(r.cell["backbone"], classifier(r), r.cell["seed"], r.value)
        rows.setdefault(seen.row, []).append(seen)
    several = [own for own in rows.values() if len({one.classifier for one in own}) > 1]
    ratio = _cost_ratio(records)
    found = of_classifiers(several)
    if not found or ratio is None:
        return []
    between, within = found
    known = f"{setting.task}: between classifiers {between.sd:.2f}, fine-tunings {within.sd:.2f}"
    cost = f"a classifier costs as much as {ratio:.1f} fine-tunings"
    if not between.sd:
        return [f"{known} points; classifiers add nothing measurable, so fine-tune one more often."]
    best = max(1, round(best_fine_tunings(within.sd, between.sd, ratio)))
    return [f"{known} points; {cost}: {best} of each classifier are worth their cost."]


def _cost_ratio(records: Sequence[Record]) -> float | None:
    """Cost of training a classifier in fine-tunings; None if it is not recorded."""
    trainings = {
        classifier(r): float(seconds)
        for r in records
        if (seconds := (r.content["classifier"].get("training") or {}).get("seconds"))
    }
    runs = [sum(seconds.values()) for r in records if (seconds := r.content.get("seconds"))]
    if not trainings or not runs or not sum(runs):
        return None
    return float(np.mean(list(trainings.values())) / np.mean(runs))
