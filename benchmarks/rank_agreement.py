"""How well a frozen backbone ranks rows as fine-tuning does: Kendall's τ over recorded runs.

    python benchmarks/rank_agreement.py [--results RESULTS] [--write]

Compares each table of protocol `frozen` with every table of another protocol on the same task and
images, over the rows of both and the seeds that all of them have. τ is 1 if all pairs of rows have
the same order, -1 if all are reversed (τ-b, M. G. Kendall, "Rank correlation methods", 1948). Runs
of one seed give a τ of their own, which shows how much of a disagreement is noise. Controls nearly
always rank last, so τ without them is listed too.
`--write` puts the table into docs/protocols.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import mean

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
_ROOT = Path(__file__).resolve().parents[1]
RECORDED = _ROOT / "results" / "ranks"
PAGE = _ROOT / "docs" / "protocols.md"
PART = MadePart("rank-agreement", "python benchmarks/rank_agreement.py --write")
Values = dict[str, float]
"""One value for each row."""

COLUMNS = (
    *("task, data", "fine-tuned by", "rows", "τ", "τ of each seed"),
    *("rows without controls", "τ without controls"),
)


def pairs(tables: Sequence[GainTable]) -> Iterator[tuple[GainTable, GainTable]]:
    """Tables of one task, images and metric, with a frozen backbone and fine-tuned."""
    for frozen, tuned in product(tables, tables):
        alike = _judged_on(frozen) == _judged_on(tuned)
        if alike and frozen.setting.protocol == FROZEN != tuned.setting.protocol:
            yield frozen, tuned


def _judged_on(table: GainTable) -> tuple[str, ...]:
    setting = table.setting
    return setting.task, setting.data, setting.data_fingerprint, setting.measure


def tau(ours: Values, theirs: Values) -> float | None:
    """τ-b over the rows, those of both; None with too few or without any order."""
    if len(ours) < FEWEST:
        return None
    found = kendalltau([*ours.values()], [theirs[name] for name in ours]).statistic
    return float(found) if found == found else None  # nan if all values of one are equal


def by_seed(table: GainTable, names: Sequence[str]) -> dict[int, Values]:
    """The values of some rows by the seed of the run, for seeds that all of them have."""
    found: dict[int, dict[str, list[float]]] = {}
    for row in table.rows:
        for record in row.records:
            found.setdefault(record.cell["seed"], {}).setdefault(row.name, []).append(record.value)
    return {
        seed: {name: mean(values[name]) for name in names}
        for seed, values in sorted(found.items())
        if values.keys() >= set(names)
    }


def line(frozen: GainTable, tuned: GainTable) -> tuple[str, ...] | None:
    """One line of the table; None if the two share too few rows, or no seed of all of them."""
    there = {row.name for row in tuned.rows}
    rows = [row for row in frozen.rows if row.name in there]
    names = [row.name for row in rows]
    ours, theirs = by_seed(frozen, names), by_seed(tuned, names)
    seeds = [seed for seed in ours if seed in theirs]
    if len(names) < FEWEST or not seeds:
        return None

    def agreement(names: Sequence[str], seeds: Sequence[int]) -> str:
        found = (
            {name: mean(values[seed][name] for seed in seeds) for name in names}
            for values in (ours, theirs)
        )
        return text(tau(*found))

    best = [row.name for row in rows if not row.statistics.control]
    setting = tuned.setting
    return (
        markdown(f"{setting.task}, {setting.data}"),
        markdown(", ".join((setting.protocol, setting.precision, *setting.changes))),
        str(len(names)),
        agreement(names, seeds),
        ", ".join(agreement(names, [seed]) for seed in seeds),
        str(len(best)),
        agreement(best, seeds),
    )


def text(value: float | None) -> str:
    """A coefficient."""
    return "–" if value is None else f"{value:.2f}"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RECORDED, help="results folder")
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
