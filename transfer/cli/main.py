"""The console command ``transfer`` and its subcommands."""

from __future__ import annotations

import argparse
import importlib
import sys

from backbones.runtime.command import guarded

# Module of each subcommand; only the requested one is imported.
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
SUMMARIES = {
    "run": "fine-tune a backbone and its control, or a suite, and print the gain",
    "backbones": "list the backbones, or show one",
    "prepare": "download and unpack the public data sets",
    "check": "look for faults in a data set, image by image",
    "bench": "measure the speed against stock training, in alternating pairs",
    "show": "draw a run's predictions beside the ground truth",
    "table": "print the results, alone or beside the paper's tables",
    "export": "export a row for each run, for pandas, R and databases: csv, json or parquet",
    "report": "write all results to one HTML page",
    "merge": "merge the results of several machines into one folder",
    "import": "import a finished run of MMDetection or MMSegmentation",
    "doctor": "check the installation, and say how to fix what is missing",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; 0 on success, 2 when the user has to fix something first."""
    return guarded(_command, sys.argv[1:] if arguments is None else arguments)


def _command(given: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="transfer",
        description="Does a better classifier make a better detector and a better segmenter?",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = next((word for word in given if word in COMMANDS), "")
    for name, summary in SUMMARIES.items():
        sub = subparsers.add_parser(name, help=summary, description=summary)
        if name == wanted:
            importlib.import_module(COMMANDS[name]).add_arguments(sub)
    args = parser.parse_args(given)
    return importlib.import_module(COMMANDS[args.command]).run(args)


if __name__ == "__main__":
    sys.exit(main())
