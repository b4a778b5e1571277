"""How well a frozen backbone ranks rows as fine-tuning does: Kendall's τ over recorded runs.

    python benchmarks/rank_agreement.py [--results RESULTS] [--write]

Compares each table of protocol `frozen` with every table of another protocol on the same task and
data. τ is 1 if all pairs of rows have the same order, -1 if all are reversed (τ-b, M. G. Kendall,
"Rank correlation methods", 1948). Runs of one seed give a τ of their own, which shows how much of a
disagreement is noise. Controls rank last nearly anywhere, so τ without them is listed too.
`--write` puts the table into docs/protocols.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scipy.stats import kendalltau

from backbones.common.errors import UserError
from backbones.common.escape import markdown
from backbones.runtime.command import guarded
from transfer.report.collection import collect
from transfer.report.gains import GainTable
from transfer.report.made_part import MadePart
from transfer.report.speed_tables import markdown_table

FROZEN = "frozen"
FEWEST = 3  # rows; two have one pair, whose τ is 1 or -1
PAGE = Path(__file__).resolve().parents[1] / "docs" / "protocols.md"
PART = MadePart("rank-agreement", "python benchmarks/rank_agreement.py --write")
COLUMNS = (
    *("task, data", "fine-tuned by", "rows", "τ", "τ of each seed"),
    *("rows without controls", "τ without controls"),
)


def pairs(tables: Sequence[GainTable]) -> Iterator[tuple[GainTable, GainTable]]:
    """Tables of one task and data set, with a frozen backbone and fine-tuned."""
    for frozen, tuned in product(tables, tables):
        ours, theirs = frozen.setting, tuned.setting
        alike = (ours.task, ours.data, ours.metric) == (theirs.task, theirs.data, theirs.metric)
        if alike and ours.protocol == FROZEN != theirs.protocol:
            yield frozen, tuned


def tau(ours: dict[str, float], theirs: dict[str, float]) -> float | None:
    """τ-b over the rows of both; None with too few or without any order."""
    names = [name for name in ours if name in theirs]
    if len(names) < FEWEST:
        return None
    found = kendalltau([ours[n] for n in names], [theirs[n] for n in names]).statistic
    return float(found) if found == found else None  # nan if all values of one are equal


def means(table: GainTable, controls: bool = True) -> dict[str, float]:
    """The mean of every row, perhaps without the controls."""
    return {
        row.name: row.statistics.mean
        for row in table.rows
        if controls or not row.statistics.control
    }


def by_seed(table: GainTable) -> dict[int, dict[str, float]]:
    """The values of every row by the seed of the run."""
    found: dict[int, dict[str, float]] = {}
    for row in table.rows:
        for record in row.records:
            found.setdefault(record.cell["seed"], {})[row.name] = record.value
    return found


def line(frozen: GainTable, tuned: GainTable) -> tuple[str, ...] | None:
    """One line of the table; None if the two share too few rows."""
    ours, theirs = means(frozen), means(tuned)
    if tau(ours, theirs) is None:
        return None
    seeds, others = by_seed(frozen), by_seed(tuned)
    each = [tau(seeds[seed], others[seed]) for seed in sorted(seeds.keys() & others.keys())]
    best, rest = means(frozen, controls=False), means(tuned, controls=False)
    setting = tuned.setting
    return (
        markdown(f"{setting.task}, {setting.data}"),
        markdown(", ".join((setting.protocol, setting.precision, *setting.changes))),
        str(len(ours.keys() & theirs.keys())),
        text(tau(ours, theirs)),
        ", ".join(map(text, each)),
        str(len(best.keys() & rest.keys())),
        text(tau(best, rest)),
    )


def text(value: float | None) -> str:
    """A coefficient."""
    return "–" if value is None else f"{value:.2f}"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"), help="results folder")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    return parser


def main() -> int:
    """Print or write the table; 0 if done, 2 if the user must correct something."""
    return guarded(run, build_parser().parse_args())


def run(args: argparse.Namespace) -> int:
    """Print or write the table.

    Raises:
        UserError: No rows were both fine-tuned and run with a frozen backbone.
    """
    lines = [line(*pair) for pair in pairs(collect(args.results).gains)]
    rows = [found for found in lines if found]
    if not rows:
        raise UserError(
            f"'{args.results}' has no {FEWEST} rows that were fine-tuned and also run with "
            f"protocol '{FROZEN}', on the same task and data: run the suites 'ranks' and "
            "'ranks-frozen'."
        )
    table = markdown_table(COLUMNS, rows)
    if args.write:
        PART.put(PAGE, table)
    else:
        print(table, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
