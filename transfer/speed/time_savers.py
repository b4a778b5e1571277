"""What only saves time: hooks of a cell's config that leave its results as they are, to rounding.

In float32 the rounding is float32's; in bfloat16 it is bfloat16's, some three times of it.

Each can be left out, by ``without = ["GroupedNms"]`` among a suite's overrides; ``transfer bench
--against "without GroupedNms"`` measures what it gains.
"""

from __future__ import annotations

from typing import Any

WITHOUT = "without"
"""The setting, among a cell's overrides, that lists what is left out."""

OF_TASK = {
    "detection": (
        "SparseRoIExtraction",
        "SparseRpnGradients",
        "GroupedNms",
        "HostSampling",
        "GraphedFeatures",
    ),
    "segmentation": ("FusedSegmentationLoss",),
}
"""Of one task."""

OF_ALL = (
    "FusedSgd",
    "WinogradConvolutions",
    "PointwiseProducts",
    "NoBenchmarkInEvaluation",
    "NonBlockingInputs",
    "ChannelsLast",
)
"""Of both; ``ChannelsLast`` goes with bfloat16."""

UNCOUNTED = (
    "FusedSgd",
    "GraphedFeatures",
    "GroupedNms",
    "HostSampling",
    "NoBenchmarkInEvaluation",
    "NonBlockingInputs",
    "PointwiseProducts",
    "SparseRpnGradients",
    "WinogradConvolutions",
)
"""Those that do not set records apart. Elder ones do: they are in the hashes of published ones."""


def of(task: str) -> tuple[str, ...]:
    """Every one that a task's cells have."""
    return (*OF_TASK[task], *OF_ALL)


ALL = tuple(dict.fromkeys(name for task in OF_TASK for name in of(task)))

VARIANTS = {f"without {name}": name for name in ALL}
"""What ``transfer bench`` calls a side that leaves one out."""


def variants(task: str) -> tuple[str, ...]:
    """Of :data:`VARIANTS`, those of a task."""
    return tuple(side for side, name in VARIANTS.items() if name in of(task))


def are_known(names: Any) -> bool:
    """Whether a setting lists such hooks, of whichever task."""
    return isinstance(names, list | tuple) and all(name in ALL for name in names)
