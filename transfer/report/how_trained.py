"""How a row's weights were trained, as far as its records tell it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backbones.zoo import zoo
from transfer.records.cells import SHUFFLED
from transfer.report.gains import GainRow

_PROXY = "proxy"


def tricks(row: GainRow) -> str:
    """The tricks that its weights were trained with; what else is known where that is not."""
    told = (_tricks(row.name, record.content["classifier"]) for record in row.records)
    return "; ".join(dict.fromkeys(told))


def proxies(rows: Iterable[GainRow]) -> list[str]:
    """Of some rows, those of the paper's whose weights are a near relative's, with what differs."""
    found = []
    for row in rows:
        classifiers = [record.content["classifier"] for record in row.records]
        notes = [_note(row.name, one) for one in classifiers if one.get("near") == _PROXY]
        if notes:
            found.append(f"{row.name} ({notes[0]})" if notes[0] else row.name)
    return found


def _tricks(row: str, classifier: dict[str, Any]) -> str:
    """Elder records give the row's tricks of any weights that were given for it."""
    source, near = classifier.get("source", ""), classifier.get("near")
    if near == _PROXY:
        note = _note(row, classifier)
        return "public weights near the row" + (f": {note}" if note else "")
    if not classifier["sha256"] or source.startswith(f"{SHUFFLED}:"):
        return "none"
    if near != "exact" and not classifier.get("training"):
        return "not told"
    if classifier.get("recipe"):
        return ", ".join(classifier["tricks"]) or "none"
    return "as published" if near == "exact" else "not told"


def _note(row: str, classifier: dict[str, Any]) -> str:
    """What the zoo says of how these very weights differ from the row; mostly nothing."""
    known = zoo.CATALOGUE.get(row)
    weights = known.weights if known else None
    return weights.note if weights and weights.source == classifier.get("source") else ""
