"""``transfer export``: a row for each run, or each class and run, for pandas, R and databases."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

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
    add("rows", choices=tuple(_TABLES), help="one row for each run, or for each class and run")
    add("--format", choices=tuple(_FORMATS), default="csv", help="output format (default: csv)")
    add("--output", type=Path, metavar="FILE", help="output file (default: standard output)")
    add("--results", type=Path, default=Path("results"), help="results folder")
    add("--sample", action="store_true", help="export the records of the built-in sample")


def run(args: argparse.Namespace) -> int:
    """Write the rows; what is left out goes to standard error.

    Raises:
        UserError: No such folder, a file that is not writable, or Parquet without pyarrow.
    """
    if args.format == "parquet":
        _require_parquet(args.output)
    require_folder(args.results)
    found, unreadable = records.read_all(args.results, "sample" if args.sample else "")
    for sentence in unreadable:
        print(f"Left out: {sentence}", file=sys.stderr)
    rows = _TABLES[args.rows](found)
    if not rows:
        raise UserError(f"No record in '{args.results.absolute()}' has rows to export.")
    content = _FORMATS[args.format](rows)
    if args.output is None:
        print(content.decode(), end="")
    else:
        write_atomically(args.output.absolute(), content, "--output")
        print(f"{args.output.absolute()}: {len(rows)} rows", file=sys.stderr)
    return 0


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
    import pyarrow
    from pyarrow import parquet

    content = io.BytesIO()
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    parquet.write_table(pyarrow.table(columns), content)
    return content.getvalue()


_FORMATS: dict[str, Callable[[Sequence[Row]], bytes]] = {
    "csv": _to_csv,
    "json": _to_json,
    "parquet": _to_parquet,
}
