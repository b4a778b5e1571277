"""Which settings of a config a run reads, and which of those are no protocol's."""

from __future__ import annotations

import re
from collections.abc import Container
from fnmatch import fnmatchcase

from backbones.common.errors import UserError

HANDED_OVER = (
    *("model", "train_dataloader", "val_dataloader", "train_cfg", "val_cfg", "val_evaluator"),
    *("optim_wrapper", "param_scheduler", "auto_scale_lr", "default_scope", "env_cfg"),
)
"""Settings that a run hands to MMEngine's runner as they are."""

READ = (*HANDED_OVER, "custom_hooks")
"""All settings that a run reads after composition; overrides of others do nothing."""

_INSTEAD = {
    "test_dataloader": "val_dataloader",
    "test_pipeline": "val_dataloader.dataset.pipeline",
    "test_evaluator": "val_evaluator",
    "test_cfg": "val_cfg",
    "train_pipeline": "the pipelines in train_dataloader",
    "max_epochs": "epochs",
    "optimizer": "optim_wrapper.optimizer",
    "data_preprocessor": "model.data_preprocessor",
}
"""Settings that no run reads, although configs have them, and what is read."""

_FIXED = "leave it out"
_OF_DATA = "use another data set"
_OF_ROWS = "use another row, or state it in the file of your own row"
_OF_PRECISION = "set the precision ('precision' in a suite, --precision on the command line)"
_OWNED = {
    "randomness": "set the suite's 'seeds'",
    "default_scope": _FIXED,
    "model.*.architecture": "use another row",
    "model.*.weights": "set the row's 'classifiers'",
    "model.backbone.type": "use another row",
    "model.neck.in_channels": "use another row",
    "model.data_preprocessor.mean": _OF_ROWS,
    "model.data_preprocessor.std": _OF_ROWS,
    "model.data_preprocessor.bgr_to_rgb": _OF_ROWS,
    "model.data_preprocessor.rgb_to_bgr": _OF_ROWS,
    "*.num_classes": _OF_DATA,
    "*.metainfo": _OF_DATA,
    "*.ann_file": _OF_DATA,
    "*.reduce_zero_label": _OF_DATA,
    "*.ignore_index": _OF_DATA,
    "val_evaluator.headline_classes": _OF_DATA,
    "val_evaluator.outcomes": _FIXED,
    "val_evaluator.shared": _FIXED,
    "train_cfg.type": _FIXED,
    "val_cfg.type": _FIXED,
    "val_cfg.fp16": _OF_PRECISION,
    "optim_wrapper.type": _OF_PRECISION,
}
"""Settings that the run, its row or its data set determines, and what to do instead."""

_TESTED = re.compile(r"val_dataloader\.dataset\.(?!(dataset\.)*pipeline\.)")
"""What determines the test images; of their data set, a protocol owns only the pipeline."""


def require_of_a_protocol(name: str, config: Container[str]) -> None:
    """Check that an override sets what a run reads and a protocol determines.

    Args:
        name: Dotted name of the override.
        config: The settings at the top of the protocol's config.

    Raises:
        UserError: It does not; with what to do instead.
    """
    whole = f"{name}."
    owned = (advice for place, advice in _OWNED.items() if fnmatchcase(whole, f"{place}.*"))
    advice = next(owned, _OF_DATA if _TESTED.match(whole) else "")
    if advice:
        raise UserError(
            f"The override '{name}' is not a setting of a protocol: every run has its own, as "
            f"recorded; {advice}."
        )
    first = name.partition(".")[0]
    if first in config and first not in READ:
        instead = _INSTEAD.get(first)
        raise UserError(
            f"The override '{name}' sets nothing: no run reads '{first}' of its config; "
            + (f"set {instead} instead." if instead else "leave it out.")
        )
