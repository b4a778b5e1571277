"""``transfer check``: verifies that a data set is complete, readable and free of leaks."""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.escape import terminal
from backbones.common.screen import Screen
from transfer.datasets import catalogue
from transfer.datasets.ade20k_full import refuse_full_release
from transfer.datasets.data_set import DataSet
from transfer.datasets.findings import KINDS, Finding
from transfer.datasets.progress_bar import Notify, bars
from transfer.datasets.survey import survey

_SHOWN = 5  # findings of each kind on the terminal


@dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        data: The data set.
        images: Number of checked images.
        findings: Faults and notes, by kind.
    """

    data: DataSet
    images: int
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that would harm a training."""
        return tuple(finding for finding in self.findings if KINDS[finding.kind].is_fault)

    def leave_out(self) -> list[str]:
        """Images to exclude unless their faults are fixed, as paths in the data set's folder.

        Already excluded images are included.
        """
        images = {finding.image for finding in self.faults if finding.image}
        for part in (self.data.detection, self.data.segmentation):
            if part:
                images.update(Path(os.path.normpath(part.root / name)) for name in part.excluded)
        return sorted(self._short(image) for image in images)

    def _short(self, path: Path) -> str:
        root = self.data.root
        return str(path.relative_to(root) if path.is_relative_to(root) else path)


def check(data: DataSet, progress: Notify | None = None) -> Report:
    """Check every file that a data set trains or tests on.

    Args:
        data: The data set.
        progress: Notified of the number of checked images.

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
        help="write a list of faulty images, for 'exclude' in the data set's file",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0 if the data set is clean, 1 if it has faults.

    Raises:
        UserError: The data set is unknown, or the list is not writable.
    """
    console = Screen(highlight=False)
    data = _load(args.data, args.data_root)
    with bars(console) as notify:
        report = check(data, notify)
    for line in describe(report):
        console.print(line, soft_wrap=True)
    if args.fix_list:
        _write(args.fix_list, report.leave_out())
        console.print(
            f"{len(report.leave_out())} images to exclude are listed in '{args.fix_list}'; set "
            f'exclude = "{args.fix_list.name}" in a data set\'s file beside it.',
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
    looked = f"Checked {report.images:,} images of {report.data.title}"
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
            f"The list '{path}' is not writable ({error.strerror}); choose another path with "
            "--fix-list."
        ) from error
