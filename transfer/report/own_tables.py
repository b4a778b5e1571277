"""Results without the paper's tables: each setting's gains and classes."""

from __future__ import annotations

from collections.abc import Iterator

from transfer.report import paper_tables
from transfer.report.class_table import class_table
from transfer.report.collection import Collection, settings
from transfer.report.gain_layout import gain_table
from transfer.report.layout import Table


def own_tables(found: Collection) -> Iterator[Table]:
    """For each setting, a table of gains and one class by class; then the trained classifiers.

    Args:
        found: All results.
    """
    for name, tables in settings(found):
        for place, gains in enumerate(tables, start=1):
            yield gain_table(gains, f"{name}-table{place}")
            if by_class := class_table(gains, f"{name}-classes{place}"):
                yield by_class
    for number in paper_tables.CLASSIFICATION:
        yield from paper_tables.on_other_images(number, found)
