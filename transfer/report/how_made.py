"""How each number on the page was made: method, basis, records and commands, folded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from backbones.common.escape import html
from transfer.report.foundations import commands, foundations, rests_on
from transfer.report.gains import GainTable
from transfer.report.layout import to_html, under
from transfer.report.record_table import record_table

_METHOD = """
<dl>
<dt>Figure of a row</dt><dd>Mean over its fine-tunings, always at the last epoch, never the best;
if a row has several classifiers, fine-tunings are first averaged within each. The interval is a
95&nbsp;% t interval.</dd>
<dt>Gain and verdict</dt><dd>Dunnett's comparison of all rows of a table with their common baseline,
within blocks where rows share their seeds, with limits to the harm of one noisy row. The intervals
hold simultaneously at 95&nbsp;% over the rows of a table, not over several tables or tasks: a gain
lies above zero, a loss below, and an inconclusive difference includes zero. Controls are compared
alone.</dd>
<dt>"Inconclusive"</dt><dd>Not "no difference": the notes of the table give the smallest gain
that would have been found with 80&nbsp;% power.</dd>
<dt>One fine-tuning</dt><dd>Gives no interval and no verdict.</dd>
<dt>Noise of the test images</dt><dd>From halves of the test images, the same for both rows, and
per-image results beside each record. The notes of each table have one interval over classifiers,
seeds and test images together.</dd>
<dt>The paper's gain</dt><dd>A difference of two single runs. Its agreement with ours is judged only
on the paper's own data and protocol.</dd>
<dt>Correlation</dt><dd>One point for each row; percentile bootstrap over rows; omitted below
five rows.</dd>
</dl>
"""
_RESUME = (
    "Each command skips a fine-tuning that has a record, and resumes an interrupted one. "
    "<code>transfer report</code> writes this page, <code>transfer table all</code> the tables."
)


def how_made(several: Iterable[tuple[str, Sequence[GainTable]]], page: Path) -> Iterator[str]:
    """The folded parts: the method, then one for each setting.

    Args:
        several: The tables of each setting, with its short name.
        page: The file that links to the records.
    """
    yield folded("Figures, intervals and verdicts", _METHOD)
    for name, tables in several:
        content, heading = bullets(foundations(tables)), tables[0].setting.title
        for place, table in enumerate(tables, start=1):
            for shown in (
                rests_on(table, f"{name}-rests{place}"),
                record_table(table, f"{name}-records{place}", page),
            ):
                content += to_html(under(shown, heading))
        lines = commands(tables)
        content += f"<h3>Commands</h3><p>{_RESUME}</p><pre>{html(chr(10).join(lines))}</pre>"
        task = html(tables[0].setting.task)
        yield f'<div data-task="{task}">{folded(html(heading), content)}</div>'


def folded(summary: str, content: str) -> str:
    """Content that a click opens; both are HTML."""
    return f"<details><summary>{summary}</summary>\n{content}</details>\n"


def bullets(lines: Iterable[str]) -> str:
    """A list of texts."""
    return "<ul>" + "".join(f"<li>{html(line)}</li>" for line in lines) + "</ul>"
