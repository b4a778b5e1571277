"""Results without the paper's tables: gains and classes, then several data sets together."""

from __future__ import annotations

from collections.abc import Iterator

from transfer.report import paper_tables
from transfer.report.across_data import across_tables
from transfer.report.class_table import class_table
from transfer.report.collection import Collection, settings
from transfer.report.gain_layout import gain_table
from transfer.report.layout import Table


def own_tables(found: Collection) -> Iterator[Table]:
    """Gains and classes of each setting, then tables over data sets and the trained classifiers.

    Args:
        found: All results.
    """
    for name, tables in settings(found):
        for place, gains in enumerate(tables, start=1):
            yield gain_table(gains, f"{name}-table{place}")
            if by_class := class_table(gains, f"{name}-classes{place}"):
                yield by_class
    yield from across_tables(found.gains)
    for number in paper_tables.CLASSIFICATION:
        yield from paper_tables.on_other_images(number, found)
