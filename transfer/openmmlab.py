"""Everything this project adds to MMEngine's registries; list it in ``custom_imports``.

After this import, checkpoints are loaded as data only, and toolboxes that lack a name this project
relies on are refused. The order matters: mmdet and mmseg need mmcv's operators to be present.
"""

import contextlib
import importlib
import io
import warnings

from transfer.compat import relied_on, safe_loading

_TOOLBOXES = (
    "mmdet.datasets",
    "mmdet.evaluation",
    "mmdet.models",
    "mmseg.datasets",
    "mmseg.evaluation",
    "mmseg.models",
)
_OURS = (
    "backbones.openmmlab.backbone",
    "backbones.openmmlab.c4_head",
    "backbones.openmmlab.layer_decay",
    "backbones.runtime.evaluation",
    "backbones.runtime.fused_sgd",
    "backbones.runtime.loop",
    "backbones.runtime.precision",
    "backbones.runtime.randomness",
    "transfer.datasets.toolbox_datasets",
    "transfer.protocols.gluoncv.blur",
    "transfer.finetune.classifiers",
    "transfer.metrics.metrics",
    "transfer.protocols.gluoncv.multi_scale_test",
    "transfer.protocols.placed_sampler",
    "transfer.protocols.gluoncv.rounded_anchors",
    "transfer.protocols.gluoncv.fcn_head",
)

relied_on.require("torch", "torchvision", "timm", "mmengine")  # before anything is replaced
safe_loading.install()
importlib.import_module("transfer.speed")
# Both toolboxes report at import which optional packages are missing; none is needed here.
with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for _name in _TOOLBOXES:
        importlib.import_module(_name)
relied_on.require("mmcv", "mmdet", "mmseg")
for _name in _OURS:
    importlib.import_module(_name)
