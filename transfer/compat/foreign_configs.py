"""Checks which configs from untrusted data may be built: overrides of suites, configs of records.

A config names what is built from it, and MMEngine imports and calls whatever a name reaches:
``mmengine.call_command`` as a ``type`` runs a command, and ``proposal_file`` unpickles. Config
files are programs and may do so; data may not. In a tree from data

- a ``type`` is one of :data:`~transfer.compat.allowed_names.CLASSES`, by its plain name;
- numbers, true, false and null are allowed anywhere, since they cannot name a thing; numbers
  are bounded;
- a text is one of the words listed for its key, and no other key has a text;
- nothing else is allowed: no function, module, class or object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backbones.common.near_names import suggestion
from transfer.compat.allowed_names import CLASSES, FORMER, KINDS, RECORDED, REPLACED, TEXTS

_DEEPEST = 40  # nested tables and lists; runs have at most 12
_LARGEST = 1 << 32  # of any number; seeds have 32 bits
_LARGEST_WITHIN = {"model": 1 << 17, "data_preprocessor": 1 << 13, "pipeline": 1 << 14}


@dataclass(frozen=True)
class _Vocabulary:
    """The names that a tree may use.

    Attributes:
        classes: Allowed classes of a ``type``.
        words: Allowed texts of each key.
        free: Keys with any text.
    """

    classes: frozenset[str]
    words: Mapping[str, Callable[[str], bool]]
    free: frozenset[str] = frozenset()


_OF_SETTINGS = _Vocabulary(CLASSES, TEXTS)
_OF_RECORDS = _Vocabulary(CLASSES | FORMER, RECORDED, REPLACED)


def nested(name: str, value: Any) -> Any:
    """The tables that an override ``a.b.c`` passes through, without list indices."""
    for part in reversed(name.split(".")):
        value = value if part.isdigit() else {part: value}
    return value


def fault_of_setting(name: str, value: Any) -> str | None:
    """The fault of an override; None if it is allowed."""
    return next(_faults(nested(name, value), _OF_SETTINGS), None)


def fault_of_record(config: Any) -> str | None:
    """The first fault of a record's config; None if it is allowed."""
    return next(_faults(config, _OF_RECORDS), None)


def types_in(tree: Any) -> Iterator[str]:
    """Every class in a tree without faults."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if isinstance(value, dict) and key in KINDS:
                value = {k: v for k, v in value.items() if k != "type"}
            if key == "type":
                yield value
            yield from types_in(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from types_in(value)


def _faults(
    value: Any,
    known: _Vocabulary,
    *,
    key: str = "",
    above: str = "",
    place: str = "",
    most: int = _LARGEST,
    depth: int = 0,
) -> Iterator[str]:
    """The faults of a value.

    Args:
        value: A part of the tree.
        known: The names that it may use.
        key: Key of the nearest enclosing table.
        above: Key of the table around that one.
        place: Dotted place, for the message.
        most: The largest number that it may have.
        depth: Number of tables and lists around it.
    """
    if depth > _DEEPEST:
        yield f"'{place[:80]}…' has more than {_DEEPEST} nested tables"
    elif key == "type":
        if not isinstance(value, str) or value not in KINDS.get(above, known.classes):
            yield f"'{place}' is {_shown(value)}, {_no_class(value, above)}"
    elif isinstance(value, dict):
        for name, part in value.items():
            below = f"{place}.{name}".lstrip(".")
            most_in = _LARGEST_WITHIN.get(str(name), most)
            yield from _faults(
                part,
                known,
                key=str(name),
                above=key,
                place=below,
                most=most_in,
                depth=depth + 1,
            )
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            below = f"{place}.{number}"
            yield from _faults(
                part, known, key=key, above=above, place=below, most=most, depth=depth + 1
            )
    elif isinstance(value, str):
        allowed = key in known.free or (key in known.words and known.words[key](value))
        if not allowed:
            yield f"'{place}' is the text {_shown(value)}, which is not allowed there"
    elif not isinstance(value, int | float | type(None)):
        yield f"'{place}' is {_shown(value)}, which is neither a number nor a text"
    elif value is not None and not abs(value) <= most:
        yield f"'{place}' is {_shown(value)}; numbers there are at most {most:,}"


def _no_class(value: Any, above: str) -> str:
    if above in KINDS:
        return f"which is not one of {', '.join(sorted(KINDS[above]))}"
    near = suggestion(value, CLASSES) if isinstance(value, str) else ""
    hint = f"; {near}" if near.startswith("did") else ""
    return f"which is not an allowed class{hint}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
