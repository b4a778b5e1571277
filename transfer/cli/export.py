"""``transfer export``: a row for each run, or each class and run, for pandas, R and databases."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from backbones.common import escape
from backbones.common.arguments import require_folder
from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from transfer.records import flat, records
from transfer.records.flat import Row

_TABLES = {"runs": flat.runs, "classes": flat.classes}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add(
        "rows",
        choices=tuple(_TABLES),
        help="runs: one row per run; classes: one row per class and run",
    )
    add(
        "--format",
        choices=tuple(_FORMATS),
        help="output format (default: the ending of FILE, or csv); parquet needs pyarrow",
    )
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help="output file; its folder is created (default: standard output)",
    )
    add("--results", type=Path, default=Path("results"), help="results folder (default: results)")
    add(
        "--sample",
        action="store_true",
        help="export records of the built-in sample instead of those of real data",
    )


def run(args: argparse.Namespace) -> int:
    """Write the rows; what is left out goes to standard error.

    Raises:
        UserError: No such folder, a file that is not writable, or Parquet without pyarrow.
    """
    output = None if str(args.output) == "-" else args.output
    form = args.format or _form_of(output)
    if form == "parquet":
        _require_parquet(output)
    require_folder(args.results)
    found, unreadable = records.read_all(args.results, "sample" if args.sample else "")
    for sentence in unreadable:
        print(f"Left out: {sentence}", file=sys.stderr)
    rows = _TABLES[args.rows](found)
    if not rows:
        raise UserError(f"No record in '{args.results.absolute()}' has rows to export.")
    content = _FORMATS[form](rows)
    if output is None:
        print(content.decode(), end="")
    else:
        write_atomically(output.absolute(), content, "--output")
        print(f"{output.absolute()}: {len(rows)} rows", file=sys.stderr)
    return 0


def _form_of(output: Path | None) -> str:
    """The format that a file's name asks for; csv on standard output.

    Raises:
        UserError: It has another ending, or is a folder.
    """
    if output is None:
        return "csv"
    if output.is_dir():
        raise UserError(f"--output '{output.absolute()}' is a folder; name a file.")
    form = output.suffix.lower().removeprefix(".")
    if form not in _FORMATS:
        raise UserError(
            f"The ending of --output '{output}' is none of .{', .'.join(_FORMATS)}: use one of "
            "them, or choose with --format."
        )
    return form


def _require_parquet(output: Path | None) -> None:
    if output is None:
        raise UserError("Parquet is a binary format: pass --output FILE.")
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            "--format parquet needs the package 'pyarrow', which is not installed: "
            "pip install pyarrow, or choose csv or json."
        )


def _to_csv(rows: Sequence[Row]) -> bytes:
    """A heading and a line for each row; an empty field means no value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _field(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _field(value: flat.Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()  # pandas and R both read 'true'
    return escape.csv(value) if isinstance(value, str) else "" if value is None else str(value)


def _to_json(rows: Sequence[Row]) -> bytes:
    """A list of objects, each with every column."""
    return (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()


def _to_parquet(rows: Sequence[Row]) -> bytes:
    """Columns of fixed types, so that files from several machines fit together."""
    import pyarrow
    from pyarrow import parquet

    columns = {
        name: pyarrow.array([_stored(name, row[name]) for row in rows], _parquet_type(name))
        for name in rows[0]
    }
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), content)
    return content.getvalue()


def _parquet_type(name: str) -> Any:
    import pyarrow

    if name == "finished":
        return pyarrow.timestamp("us", tz="UTC")
    if name == "in_headline":
        return pyarrow.bool_()
    if name in flat.TEXT:
        return pyarrow.string()
    return pyarrow.int64() if name in flat.WHOLE else pyarrow.float64()


def _stored(name: str, value: flat.Value) -> Any:
    """A value as its column stores it; a date that is none is missing."""
    if name != "finished" or value is None:
        return value
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


_FORMATS: dict[str, Callable[[Sequence[Row]], bytes]] = {
    "csv": _to_csv,
    "json": _to_json,
    "parquet": _to_parquet,
}
