"""``Speed``: the one hook that installs the speed layer, part by part."""

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
    """The location of a part.

    Attributes:
        module: Module in this package.
        kind: Class in that module.
        toolbox: Package of the models that it applies to; empty for any.
        gpu: Whether it needs a GPU.
    """

    module: str
    kind: str
    toolbox: str = ""
    gpu: bool = False


PARTS = {
    # The process: first, since everything after it allocates memory.
    "KeptMemory": Listed("general", "KeptMemory"),
    # Single modules of a model.
    "SparseRoIExtraction": Listed("sparse_roi_align", "SparseRoIExtraction", "mmdet"),
    "SparseRpnGradients": Listed("sparse_rpn", "SparseRpnGradients", "mmdet"),
    "FusedSegmentationLoss": Listed("fused_segmentation_loss", "FusedSegmentationLoss", "mmseg"),
    "WinogradConvolutions": Listed("winograd", "WinogradConvolutions"),
    "DepthwiseGradients": Listed("depthwise", "DepthwiseGradients"),
    "PointwiseProducts": Listed("gpu_convolutions", "PointwiseProducts", gpu=True),
    "NoBenchmarkInEvaluation": Listed("gpu_convolutions", "NoBenchmarkInEvaluation", gpu=True),
    # A detector's whole step, then the parts that depend on its replacement.
    "HostSampling": Listed("two_stage_step", "HostSampling", "mmdet", gpu=True),
    "GraphedFeatures": Listed("graphed_features", "GraphedFeatures", "mmdet", gpu=True),
    "NonBlockingInputs": Listed("non_blocking_inputs", "NonBlockingInputs", gpu=True),
    "FusedSgd": Listed("general", "FusedSteps", gpu=True),
    # Last: it may wrap the model again.
    "ChannelsLast": Listed("general", "ChannelsLastMaps"),
}
"""Every part by its name, in order of installation."""


def require_known(names: object) -> None:
    """Check that a setting lists parts by name.

    Raises:
        UserError: It does not; the message has the nearest names.
    """
    if not isinstance(names, list | tuple):
        raise UserError(f"'without' must be a list of parts to leave out, such as {[*PARTS][:2]}.")
    for name in names:
        if name not in PARTS:
            hint = suggestion(str(name), PARTS)
            raise UserError(f"'without' names an unknown part '{name}' of the speed layer: {hint}")


@HOOKS.register_module()
class Speed(Hook):
    """Speeds up the models of MMDetection and MMSegmentation.

    The log has a line for each part: what it replaced, or why it is inactive.

    Args:
        without: Names in :data:`PARTS` to leave out.

    Raises:
        UserError: A name is unknown.
    """

    priority = "VERY_HIGH"

    def __init__(self, without: Sequence[str] = ()) -> None:
        require_known(without)
        self._without = frozenset(without)
        self._parts: dict[str, Part] = {}
        self._active: list[Part] = []
        self._lines: dict[str, str] = {}

    def before_run(self, runner: Any) -> None:
        """Install each part, before the log's first line of the run itself."""
        self._active = []
        for name in PARTS:
            try:
                line = f"active, {self._install(name, runner)}"
                self._active.append(self._parts[name])
            except Inactive as reason:
                line = f"inactive, {reason}"
            if self._lines.get(name) != line:  # a runner that trains and then tests logs it once
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
        """Notify the parts."""
        for part in self._active:
            part.before_train(runner)

    def after_train(self, runner: Any) -> None:
        """Notify the parts."""
        for part in self._active:
            part.after_train(runner)

    def before_val(self, runner: Any) -> None:
        """Notify the parts."""
        for part in self._active:
            part.before_evaluation()

    before_test = before_val

    def after_val(self, runner: Any) -> None:
        """Notify the parts."""
        for part in self._active:
            part.after_evaluation()

    after_test = after_val

    def after_run(self, runner: Any) -> None:
        """Notify the parts."""
        for part in self._active:
            part.after_run()

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Check the training before MMEngine saves a checkpoint."""
        self.require_sound(runner)

    def require_sound(self, runner: Any) -> None:
        """Check that the training can be trusted, before it is saved.

        Raises:
            Untrusted: It cannot.
            BrokenProcess: A part failed while it was checked.
        """
        for part in self._active:
            part.require_sound(runner)

    def memory_advice(self, runner: Any) -> str:
        """Further advice when memory runs out; empty if there is none."""
        return "; ".join(filter(None, (part.memory_advice(runner) for part in self._active)))
