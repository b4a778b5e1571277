"""The console command ``transfer`` and its subcommands."""

from __future__ import annotations

import argparse
import importlib
import sys

from backbones.runtime.command import guarded

# Module of each subcommand; only the one that is asked for is imported.
COMMANDS = {
    "run": "transfer.run",
    "backbones": "transfer.cli.list_backbones",
    "prepare": "transfer.datasets.prepare",
    "check": "transfer.datasets.check",
    "bench": "transfer.bench.bench_command",
    "show": "transfer.cli.show",
    "table": "transfer.cli.table",
    "export": "transfer.cli.export",
    "report": "transfer.report.page",
    "merge": "transfer.records.merge",
    "import": "transfer.records.imported",
    "doctor": "transfer.cli.doctor",
}
_SUMMARIES = {
    "run": "fine-tune a backbone and its control, or a suite, and print what was gained",
    "backbones": "list the backbones, or show one",
    "prepare": "fetch and unpack the public data sets",
    "check": "look for faults in a data set, image by image",
    "bench": "measure the speed against stock training, in alternating pairs",
    "show": "draw a cell's predictions beside the truth",
    "table": "print what was measured, or set it beside the paper's tables",
    "export": "write every run as a row for pandas, R and databases: csv, json or parquet",
    "report": "write everything that was measured to one HTML page",
    "merge": "put the results of several machines together in one folder",
    "import": "make a record of a finished run of MMDetection or MMSegmentation",
    "doctor": "say what is installed, what is reachable, and what to do about the rest",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; 0 when done, 2 when something has to be mended first."""
    return guarded(_command, sys.argv[1:] if arguments is None else arguments)


def _command(given: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="transfer",
        description="Does a better classifier make a better detector and a better segmenter?",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = next((word for word in given if word in COMMANDS), "")
    for name, summary in _SUMMARIES.items():
        sub = subparsers.add_parser(name, help=summary, description=summary)
        if name == wanted:
            importlib.import_module(COMMANDS[name]).add_arguments(sub)
    args = parser.parse_args(given)
    return importlib.import_module(COMMANDS[args.command]).run(args)


if __name__ == "__main__":
    sys.exit(main())
