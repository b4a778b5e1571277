"""How a row's weights were trained, as far as its records say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backbones.zoo import zoo
from transfer.records.cells import SHUFFLED
from transfer.report.gains import GainRow

_PROXY = "proxy"


def tricks(row: GainRow) -> str:
    """The tricks that its weights were trained with, or what else is known."""
    texts = (_tricks(row.name, record.content["classifier"]) for record in row.records)
    return "; ".join(dict.fromkeys(texts))


def proxies(rows: Iterable[GainRow]) -> list[str]:
    """The rows of the paper whose weights are only a close relative, with the difference."""
    found = []
    for row in rows:
        classifiers = [record.content["classifier"] for record in row.records]
        notes = [_note(row.name, one) for one in classifiers if one.get("near") == _PROXY]
        if notes:
            found.append(f"{row.name} ({notes[0]})" if notes[0] else row.name)
    return found


def _tricks(row: str, classifier: dict[str, Any]) -> str:
    """Older records list the row's tricks for any weights that were given for it."""
    source, near = classifier.get("source", ""), classifier.get("near")
    if near == _PROXY:
        note = _note(row, classifier)
        return "public weights close to the row" + (f": {note}" if note else "")
    if not classifier["sha256"] or source.startswith(f"{SHUFFLED}:"):
        return "none"
    if near != "exact" and not classifier.get("training"):
        return "not recorded"
    if classifier.get("recipe"):
        return ", ".join(classifier["tricks"]) or "none"
    return "as published" if near == "exact" else "not recorded"


def _note(row: str, classifier: dict[str, Any]) -> str:
    """The zoo's note on how these weights differ from the row; usually empty."""
    known = zoo.CATALOGUE.get(row)
    weights = known.weights if known else None
    return weights.note if weights and weights.source == classifier.get("source") else ""
