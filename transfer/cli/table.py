"""``transfer table``: our figures beside the paper's, for each of its nine tables."""

from __future__ import annotations

import argparse

from backbones.common.arguments import require_folder
from backbones.common.errors import UserError
from backbones.common.escape import terminal
from transfer.report import collection, paper_tables, readme
from transfer.report.layout import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("table", metavar="TABLE", help="1 to 9, as the paper counts them, or all")
    add("--format", choices=tuple(FORMATS), help="of the tables (default: md)")
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
    numbers = paper_tables.numbers(args.table)
    if args.write:
        if args.table != "all":
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
    found = collection.asked(args)
    for number in numbers:
        for shown in paper_tables.paper_table(number, found):
            print(FORMATS[args.format or "md"](shown))
    for sentence in found.left_out:
        print(f"Left out: {terminal(sentence)}")
    return 0
