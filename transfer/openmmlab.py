"""Everything this project adds to MMEngine's registries; name it in ``custom_imports``.

Checkpoints are read as data from then on. The order matters: mmdet and mmseg can only be imported
once mmcv's operators are there.
"""

import contextlib
import importlib
import io
import warnings

from transfer.engine import operators, safe_loading

_TOOLBOXES = (
    "mmdet.datasets",
    "mmdet.evaluation",
    "mmdet.models",
    "mmseg.datasets",
    "mmseg.evaluation",
    "mmseg.models",
)
_OURS = (
    "backbones.pyramid",
    "backbones.roi_stage",
    "backbones.runtime.evaluation",
    "backbones.runtime.fused_sgd",
    "backbones.runtime.loop",
    "backbones.runtime.precision",
    "backbones.runtime.randomness",
    "transfer.datasets.openmmlab",
    "transfer.engine.blur",
    "transfer.engine.classifiers",
    "transfer.engine.fused_segmentation_loss",
    "transfer.engine.gpu_convolutions",
    "transfer.engine.graphed_features",
    "transfer.engine.grouped_nms",
    "transfer.engine.metrics",
    "transfer.engine.multi_scale",
    "transfer.engine.non_blocking_inputs",
    "transfer.engine.placed_sampler",
    "transfer.engine.rounded_anchors",
    "transfer.engine.slim_fcn_head",
    "transfer.engine.sparse_roi_align",
    "transfer.engine.sparse_rpn",
    "transfer.engine.two_stage_step",
    "transfer.engine.winograd",
)

safe_loading.install()
operators.install()
# Both toolboxes tell at import which optional packages they do without; none is needed here.
with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for _name in _TOOLBOXES:
        importlib.import_module(_name)
for _name in _OURS:
    importlib.import_module(_name)
