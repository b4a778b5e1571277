"""What of a file of weights matched its network."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import KW_ONLY, dataclass

_SHOWN = 5  # parts that a remark names
_COMPUTED = (
    *("relative_position_index", "relative_coords_table", "attn_mask"),
    *("rope.freqs_cos", "rope.freqs_sin", "rope.periods"),
)


@dataclass(frozen=True)
class LoadReport:
    """The result of matching every key.

    Attributes:
        source: Source of the weights.
        convention: Origin of the names, as in ``key_maps``, or other.
        matched: Backbone keys that were loaded.
        missing: Backbone keys that the file lacks.
        mismatched: Keys whose shapes differ, with both shapes.
        left_over: Keys of the file that the network lacks.
        head: Keys of the classifier's head, which a backbone lacks.
        unused: Matching backbone keys of stages that this network lacks.
        place: Location of the network in the file, such as ``behind 'model.'``; empty for the top
            level.
    """

    source: str
    convention: str
    _: KW_ONLY
    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    place: str = ""

    def by_stage(self) -> dict[str, dict[str, int]]:
        """Counts of matched, unused, missing and left-over keys per top-level module."""
        counts: dict[str, dict[str, int]] = {}
        for kind in ("matched", "unused", "missing", "mismatched", "left_over"):
            for key in getattr(self, kind):
                stage = counts.setdefault(key.split(".")[0], {})
                stage[kind] = stage.get(kind, 0) + 1
        return counts

    def dropped(self) -> str:
        """Parts of the file that the network lacks, with their numbers of tensors; may be empty."""
        names = [key for key in self.left_over if not is_computed(key)]
        counts = Counter(name.split(".")[0] for name in names)
        shown = [f"'{part}' ({n})" for part, n in list(counts.items())[:_SHOWN]]
        more = [f"{len(counts) - _SHOWN} more"] if len(counts) > _SHOWN else []
        return ", ".join([*shown, *more])

    def lines(self) -> list[str]:
        """The report as text, one line per stage."""
        where = f", {self.place}" if self.place else ""
        return [
            f"weights {self.source} ({self.convention} names{where})",
            *(
                f"  {stage}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items())
                for stage, counts in self.by_stage().items()
            ),
            f"  head, not used: {len(self.head)}",
        ]


def is_computed(key: str) -> bool:
    """Whether it is a buffer of windows or positions that timm computes; older files have them."""
    return key.endswith(_COMPUTED)


def log_report(report: LoadReport) -> None:
    """Write the report to MMEngine's log."""
    from mmengine.logging import print_log

    print_log("\n".join(report.lines()), logger="current", level=logging.INFO)
