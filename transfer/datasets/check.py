"""``transfer check``: does a data set hold what its file says, whole and without a leak?"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from backbones.common.errors import UserError
from backbones.common.escape import terminal
from transfer.datasets import catalogue
from transfer.datasets.ade20k_full import refuse_full_release
from transfer.datasets.data_set import DataSet
from transfer.datasets.findings import KINDS, Finding
from transfer.datasets.progress_bar import Tell, bars
from transfer.datasets.survey import survey

_SHOWN = 5  # findings of a kind on the terminal


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        data: The data set.
        images: How many images were looked at.
        findings: Faults and notes, by kind.
    """

    data: DataSet
    images: int
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that training would suffer from."""
        return tuple(finding for finding in self.findings if KINDS[finding.kind].is_fault)

    def leave_out(self) -> list[str]:
        """Images to leave out if their faults are not mended, as paths in the data set's folder.

        Those that are left out already are among them.
        """
        images = {finding.image for finding in self.faults if finding.image}
        for part in (self.data.detection, self.data.segmentation):
            if part:
                images.update(Path(os.path.normpath(part.root / name)) for name in part.excluded)
        return sorted(self._short(image) for image in images)

    def _short(self, path: Path) -> str:
        root = self.data.root
        return str(path.relative_to(root) if path.is_relative_to(root) else path)


def check(data: DataSet, progress: Tell | None = None) -> Report:
    """Check every file that a data set trains or tests on.

    Args:
        data: The data set.
        progress: Told how many images are done.

    Raises:
        UserError: It is the full release of ADE20K, or a process that reads images was killed.
    """
    refuse_full_release(data.root)
    found = survey(data, progress=progress)
    return Report(data, len(found.looked), found.findings)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("data", metavar="DATA", help="a data set's name, or your own .toml file")
    parser.add_argument(
        "--data-root",
        type=Path,
        default=catalogue.default_data_root(),
        help="folder that holds the data sets (default: $TRANSFER_DATA, or data)",
    )
    parser.add_argument(
        "--fix-list",
        type=Path,
        metavar="FILE",
        help="write the faulty images to this file, for 'exclude' in the data set's file",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0 where the data set is clean, 1 where it has faults.

    Raises:
        UserError: There is no such data set, or the list could not be written.
    """
    console = Console(highlight=False, markup=False)
    data = _load(args.data, args.data_root)
    with bars(console) as tell:
        report = check(data, tell)
    for line in describe(report):
        console.print(line, soft_wrap=True)
    if args.fix_list:
        _write(args.fix_list, report.leave_out())
        console.print(
            f"{len(report.leave_out())} images to leave out are listed in '{args.fix_list}'; "
            f'exclude = "{args.fix_list.name}" in a data set\'s file beside it does so.',
            soft_wrap=True,
        )
    return 1 if report.faults else 0


def describe(report: Report) -> Iterator[str]:
    """A report in lines for the terminal."""
    by_kind: dict[str, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        by_kind[finding.kind].append(finding)
    for name, found in by_kind.items():
        kind = KINDS[name]
        yield f"{'FAULT' if kind.is_fault else 'note'}  {kind.title}: {len(found)}"
        for finding in found[:_SHOWN]:
            yield terminal(f"    {finding.path.absolute()}: {finding.detail}")
        if len(found) > _SHOWN:
            yield f"    … and {len(found) - _SHOWN} more"
        yield f"    {kind.advice}"
    looked = f"{report.images:,} images of {report.data.title} were looked at"
    count = len(report.faults)
    yield f"{looked}: {count or 'no'} fault{'s' if count > 1 else ''}."


def _load(name: str, data_root: Path) -> DataSet:
    try:
        return catalogue.load(name, data_root)
    except UserError:
        if name == "ade20k":
            refuse_full_release(data_root)
        raise


def _write(path: Path, lines: list[str]) -> None:
    try:
        path.write_bytes(os.fsencode("".join(f"{line}\n" for line in lines)))
    except OSError as error:
        raise UserError(
            f"The list '{path}' could not be written ({error.strerror}); choose another place with "
            "--fix-list."
        ) from error
