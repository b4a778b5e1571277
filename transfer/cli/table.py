"""``transfer table``: what was measured here; asked for, beside each of the paper's nine tables."""

from __future__ import annotations

import argparse
import sys

from backbones.common.arguments import require_folder
from backbones.common.errors import UserError
from transfer.report import collection, paper_tables, readme
from transfer.report.layout import FORMATS, to_csv
from transfer.report.own_tables import own_tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add(
        "table",
        metavar="TABLE",
        nargs="?",
        help="a table of the paper, 1 to 9, or all, with ours beside it (default: ours alone)",
    )
    add("--format", choices=(*FORMATS, "csv"), help="of the tables (default: md)")
    collection.add_arguments(parser)
    add(
        "--write",
        action="store_true",
        help="with all: write README.md of that folder anew, and the part of the README above it",
    )


def run(args: argparse.Namespace) -> int:
    """Print the tables, or write the README that holds them.

    Raises:
        UserError: There is no such table or baseline, or the README cannot be written.
    """
    numbers = paper_tables.numbers(args.table) if args.table else ()
    if args.write:
        if args.table not in ("all", None):
            raise UserError("--write makes the README, which holds all tables: give 'all'.")
        if args.against or args.sample or args.format:
            raise UserError(
                "--write makes the README, in Markdown, of what was measured on real data, with "
                "gains counted as the records tell: leave out --against, --sample and --format."
            )
        require_folder(args.results)
        for path in readme.write(args.results):
            print(path)
        return 0
    if not args.table:
        require_folder(args.results)
    found = collection.asked(args)
    shown = [table for number in numbers for table in paper_tables.paper_table(number, found)]
    if not args.table:
        shown = list(own_tables(found))
    if args.format == "csv":
        print(to_csv(shown), end="")
    elif shown:
        print("\n".join(FORMATS[args.format or "md"](one) for one in shown))
    if not shown:
        print(
            f"No run has a record in '{args.results.absolute()}' yet: 'transfer run' makes them, "
            "and --results names another folder. 'transfer table all' prints the paper's tables."
        )
    for sentence in found.left_out:
        print(f"Left out: {sentence}", file=sys.stdout if args.format is None else sys.stderr)
    return 0
