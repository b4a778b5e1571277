"""``Speed``: the one hook that puts the speed layer in place, part by part."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from backbones.common.errors import UserError
from backbones.common.near_names import suggestion
from transfer.speed.part import Inactive, Part


class Listed(NamedTuple):
    """Where a part is.

    Attributes:
        module: In this package.
        kind: Its class there.
        toolbox: Package whose models it is for; empty for any.
    """

    module: str
    kind: str
    toolbox: str = ""


PARTS = {
    # Of the process: first, since everything after it allocates memory.
    "KeptMemory": Listed("general", "KeptMemory"),
    # Single modules of a model, each by itself.
    "SparseRoIExtraction": Listed("sparse_roi_align", "SparseRoIExtraction", "mmdet"),
    "SparseRpnGradients": Listed("sparse_rpn", "SparseRpnGradients", "mmdet"),
    "GroupedNms": Listed("grouped_nms", "GroupedNms", "mmdet"),
    "FusedSegmentationLoss": Listed("fused_segmentation_loss", "FusedSegmentationLoss", "mmseg"),
    "WinogradConvolutions": Listed("winograd", "WinogradConvolutions"),
    "PointwiseProducts": Listed("gpu_convolutions", "PointwiseProducts"),
    "NoBenchmarkInEvaluation": Listed("gpu_convolutions", "NoBenchmarkInEvaluation"),
    # A detector's whole step, then what looks at whether it was replaced.
    "HostSampling": Listed("two_stage_step", "HostSampling", "mmdet"),
    "GraphedFeatures": Listed("graphed_features", "GraphedFeatures", "mmdet"),
    "NonBlockingInputs": Listed("non_blocking_inputs", "NonBlockingInputs"),
    "FusedSgd": Listed("general", "FusedSteps"),
    # Last: it may wrap the model anew.
    "ChannelsLast": Listed("general", "ChannelsLastMaps"),
}
"""Every part by its name, in the order in which they are put in place."""


def require_known(names: object) -> None:
    """See that a setting lists parts by their names.

    Raises:
        UserError: It does not; with the nearest names that there are.
    """
    if not isinstance(names, list | tuple):
        raise UserError(f"'without' must be a list of parts to leave out, such as {[*PARTS][:2]}.")
    for name in names:
        if name not in PARTS:
            hint = suggestion(str(name), PARTS)
            raise UserError(f"The speed layer has no part '{name}' that 'without' names: {hint}")


@HOOKS.register_module()
class Speed(Hook):
    """Compute faster what MMDetection's and MMSegmentation's models compute.

    The log has a line for each part: what it replaced, or why it is inactive.

    Args:
        without: Names of :data:`PARTS` that are left out.

    Raises:
        UserError: One of them is unknown.
    """

    priority = "VERY_HIGH"

    def __init__(self, without: Sequence[str] = ()) -> None:
        require_known(without)
        self._without = frozenset(without)
        self._parts: dict[str, Part] = {}
        self._active: list[Part] = []
        self._lines: dict[str, str] = {}

    def before_run(self, runner: Any) -> None:
        """Put each part in place; before the log's first line of the run itself."""
        self._active = []
        for name in PARTS:
            try:
                line = f"active, {self._install(name, runner)}"
                self._active.append(self._parts[name])
            except Inactive as reason:
                line = f"inactive, {reason}"
            if self._lines.get(name) != line:  # a runner that trains and then tests says it once
                print_log(f"Speed: {name} is {line}", logger="current")
                self._lines[name] = line

    def _install(self, name: str, runner: Any) -> str:
        listed = PARTS[name]
        if name in self._without:
            raise Inactive("left out by 'without'")
        if listed.toolbox and f"{listed.toolbox}.models" not in sys.modules:
            raise Inactive(f"the model is not one of {listed.toolbox}")
        if name not in self._parts:
            module = importlib.import_module(f"transfer.speed.{listed.module}")
            self._parts[name] = getattr(module, listed.kind)()
        return self._parts[name].install(runner)

    def before_train(self, runner: Any) -> None:
        """Tell the parts."""
        for part in self._active:
            part.before_train(runner)

    def after_train(self, runner: Any) -> None:
        """Tell the parts."""
        for part in self._active:
            part.after_train(runner)

    def before_val(self, runner: Any) -> None:
        """Tell the parts."""
        for part in self._active:
            part.before_evaluation()

    before_test = before_val

    def after_val(self, runner: Any) -> None:
        """Tell the parts."""
        for part in self._active:
            part.after_evaluation()

    after_test = after_val

    def after_run(self, runner: Any) -> None:
        """Tell the parts."""
        for part in self._active:
            part.after_run()

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """See that what MMEngine is about to save can be trusted."""
        self.require_sound(runner)

    def require_sound(self, runner: Any) -> None:
        """See that what was trained can be trusted, before it is saved.

        Raises:
            Untrusted: It cannot.
            BrokenProcess: A part failed while it was checked.
        """
        for part in self._active:
            part.require_sound(runner)

    def memory_advice(self, runner: Any) -> str:
        """What else helps where memory has run out; empty for nothing."""
        return "; ".join(filter(None, (part.memory_advice(runner) for part in self._active)))
