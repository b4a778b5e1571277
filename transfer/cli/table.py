"""``transfer table``: the results here, alone or beside one of the paper's nine tables."""

from __future__ import annotations

import argparse
import sys

from backbones.common.arguments import require_folder
from backbones.common.errors import UserError
from backbones.common.escape import terminal
from transfer.report import collection, paper_tables, readme
from transfer.report.gains import keep_look
from transfer.report.layout import FORMATS, to_csv
from transfer.report.own_tables import own_tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add(
        "table",
        metavar="TABLE",
        nargs="?",
        help="a table of the paper, 1 to 9, or all, with your results beside it (default: your "
        "results)",
    )
    add("--format", choices=(*FORMATS, "csv"), help="format of the tables (default: md)")
    collection.add_arguments(parser)
    add(
        "--write",
        action="store_true",
        help="with all: rewrite README.md in the results folder, and the marked part of the "
        "README above",
    )


def run(args: argparse.Namespace) -> int:
    """Print the tables, or write the README that holds them.

    Raises:
        UserError: The table or baseline does not exist, or the README is not writable.
    """
    numbers = paper_tables.numbers(args.table) if args.table else ()
    if args.write:
        if args.table not in ("all", None):
            raise UserError("--write writes the README, which holds all tables: pass 'all'.")
        if args.against or args.sample or args.format:
            raise UserError(
                "--write writes the README, in Markdown, from real data only and with the "
                "baselines "
                "that the records name: leave out --against, --sample and --format."
            )
        require_folder(args.results)
        for path in readme.write(args.results):
            print(path)
        return 0
    if not args.table:
        require_folder(args.results)
    found = collection.asked(args)
    beside = sys.stderr if args.format else sys.stdout  # a chosen format is for another program
    shown = [table for number in numbers for table in paper_tables.paper_table(number, found)]
    if not args.table:
        shown = list(own_tables(found))
    if args.format == "csv":
        print(to_csv(shown), end="")
    elif shown:
        print("\n".join(FORMATS[args.format or "md"](one) for one in shown))
    if of_sample := collection.only_of_the_sample(args):
        print(of_sample, file=beside)
    elif not shown:
        print(
            f"'{args.results.absolute()}' holds no records yet: 'transfer run' writes them, "
            "and --results names another folder. 'transfer table all' prints the paper's tables.",
            file=beside,
        )
    for table in found.gains:
        keep_look(table)
    for sentence in found.left_out:
        print(f"Left out: {terminal(sentence)}", file=beside)
    return 0
