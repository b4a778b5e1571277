"""Non-public names of the toolboxes that this project relies on, and a check that they exist.

Private names and names that are replaced may disappear in any release, and replacing a name that
nobody reads any more fails silently. So all of them are listed here, and checked when
:mod:`transfer.openmmlab` is imported.
"""

from __future__ import annotations

import dis
import importlib
import inspect
from typing import Any, NamedTuple

from backbones.common.errors import UserError


class Name(NamedTuple):
    """A name of a toolbox.

    Attributes:
        module: Module that has it.
        attribute: Dotted name in the module, in the class that defines it or sets it in
            ``__init__``.
        users: Modules of this project that rely on it.
        why: Their use of it.
    """

    module: str
    attribute: str
    users: tuple[str, ...]
    why: str


TESTED = {
    "torch": "2.14.1",
    "torchvision": "0.29.1",
    "timm": "1.0.31",
    "mmengine": "0.10.12",
    "mmcv": "2.3.6",
    "mmdet": "3.5.1",
    "mmseg": "1.4.2",
}
"""Versions of each package that this project is tested with."""

_BACKBONE, _C4_HEAD = "backbones.openmmlab.backbone", "backbones.openmmlab.c4_head"
_RUNNER, _STAND_IN = "backbones.runtime.runner", "transfer.operators.stand_in"
_BREAKDOWN, _LOADING = "transfer.bench.breakdown", "transfer.compat.safe_loading"
_CEILING, _DRAWS = "transfer.bench.ceiling", "transfer.protocols.placed_sampler"
_GRAPHS = "transfer.speed.graphed_features"
_GPU, _STEP = "transfer.speed.gpu_convolutions", "transfer.speed.two_stage_step"
_INPUTS, _DETECTORS = "transfer.speed.non_blocking_inputs", "transfer.speed.known_detectors"
_SEGMENTATION, _WINOGRAD = "transfer.speed.fused_segmentation_loss", "transfer.speed.winograd"
_READERS = "backbones.runtime.loader_workers"
_STATE = "mmengine.runner.checkpoint"

RELIED_ON = (
    Name(
        "torch.nn.modules.batchnorm",
        "_BatchNorm",
        (_BACKBONE, _C4_HEAD, _GRAPHS),
        "batch norms of every dimension are frozen, or known to learn",
    ),
    Name("torch", "_C", ("transfer.cli.installed",), "asked what its kernels are built for"),
    Name("torch.nn", "Conv2d.forward", (_WINOGRAD, _GPU), "replaced in single layers"),
    Name("torch.utils.data", "DataLoader.pin_memory", (_INPUTS,), "set before a training"),
    *(
        Name("torch.utils.data", f"DataLoader.{name}", (_READERS,), "set before readers start")
        for name in ("multiprocessing_context", "worker_init_fn")
    ),
    Name(
        "torch.utils.data.dataloader",
        "_BaseDataLoaderIter.__next__",
        (_BREAKDOWN,),
        "replaced to time loading",
    ),
    Name("torch.backends.cudnn", "benchmark", (_RUNNER, _GPU, _CEILING), "set for a process"),
    Name(
        "torch.backends.cuda",
        "matmul.allow_bf16_reduced_precision_reduction",
        (_RUNNER, _GPU),
        "set for a process",
    ),
    Name("torch.backends.cuda", "matmul.allow_tf32", (_CEILING,), "set for a process"),
    Name(
        "torchvision",
        "torch.ops.torchvision._roi_align_backward",
        ("transfer.operators.roi_pooling",),
        "the gradient of RoIAlign, which torchvision gives no public name",
    ),
    Name(
        "torchvision",
        "torch.ops.torchvision._deform_conv2d_backward",
        ("transfer.operators.deformable_convolution",),
        "the gradients of deformable convolution, which torchvision gives no public name",
    ),
    Name("timm.models.resnet", "Bottleneck.conv1", ("backbones.tricks.resnet_b",), "its stride"),
    Name("timm.models.resnet", "Bottleneck.conv2", ("backbones.tricks.resnet_b",), "its stride"),
    Name(_STATE, "_safe_torch_load", (_LOADING,), "replaced, so that no pickle is executed"),
    Name(_STATE, "load_url", (_LOADING,), "replaced, so that no pickle is executed"),
    *(
        Name(_STATE, name, (_LOADING,), "reads checkpoints by what is replaced")
        for name in ("load_from_local", "load_from_http", "load_from_ceph")
    ),
    Name(_STATE, "get_torch_safe_globals", (_LOADING,), "classes that a checkpoint may have"),
    Name(
        "mmengine.fileio.handlers",
        "file_handlers",
        (_LOADING,),
        "readers of pickles and YAML, which are replaced",
    ),
    Name(
        "mmengine.runner",
        "Runner.model",
        ("backbones.runtime.precision",),
        "wrapped anew once its weights are laid out",
    ),
    Name(
        "mmengine.config",
        "Config._get_cfg_path",
        ("transfer.protocols.protocol_files",),
        "replaced while a config is read, to find packages by their import names",
    ),
    Name("mmengine.runner", "Runner._log_env", (_RUNNER,), "overridden to run no compilers"),
    Name("mmengine.runner", "ValLoop.run", (_BREAKDOWN,), "replaced to time evaluations"),
    Name("mmengine.model", "BaseModel._run_forward", (_BREAKDOWN,), "replaced to time it"),
    Name("mmengine.model", "BaseDataPreprocessor.cast_data", (_INPUTS,), "replaced"),
    Name(
        "mmengine.model",
        "ImgDataPreprocessor._channel_conversion",
        (_INPUTS,),
        "unset where channels are ordered on the GPU",
    ),
    *(
        Name("mmengine.optim", f"OptimWrapper.{name}", (_BREAKDOWN,), "replaced to time it")
        for name in ("backward", "step", "zero_grad")
    ),
    Name(
        "mmengine.optim",
        "OptimWrapper._accumulative_counts",
        (_GRAPHS,),
        "graphs are for one batch a step",
    ),
    *(
        Name("mmengine.visualization", f"Visualizer.{name}", (_RUNNER,), "set, to draw nothing")
        for name in ("_dataset_meta", "_vis_backends")
    ),
    Name("mmcv.utils.ext_loader", "load_ext", (_STAND_IN,), "finds the stand-in 'mmcv._ext'"),
    Name("mmdet.models.detectors", "TwoStageDetector.loss", (_STEP,), "replaced"),
    Name(
        "mmdet.models.dense_heads", "AnchorHead.forward", ("transfer.speed.sparse_rpn",), "replaced"
    ),
    Name(
        "mmdet.models.dense_heads",
        "AnchorHead.sampler",
        (_DRAWS,),
        "replaced by one whose draws follow from the place",
    ),
    Name(
        "mmdet.models.roi_heads",
        "StandardRoIHead.init_assigner_sampler",
        (_DRAWS,),
        "makes 'bbox_sampler', which is replaced",
    ),
    Name(
        "mmdet.models.roi_heads.roi_extractors",
        "SingleRoIExtractor.forward",
        ("transfer.speed.sparse_roi_align",),
        "replaced",
    ),
    *(
        Name(
            "mmdet.models.task_modules.samplers",
            f"RandomSampler.{name}",
            (_DETECTORS,),
            "tells whether a sampler draws in its own way",
        )
        for name in ("_sample_pos", "_sample_neg")
    ),
    Name(
        "mmseg.models.decode_heads.decode_head",
        "BaseDecodeHead.loss_by_feat",
        (_SEGMENTATION,),
        "replaced",
    ),
    Name(
        "mmseg.models.decode_heads.decode_head",
        "BaseDecodeHead._stack_batch_gt",
        (_SEGMENTATION,),
        "puts the labels of a batch together",
    ),
)


def require(*packages: str) -> None:
    """Check that all listed names of some packages exist.

    Args:
        packages: Keys of :data:`TESTED`.

    Raises:
        UserError: A name is missing; a sentence for each, with both versions.
    """
    gone = [name for name in RELIED_ON if _package(name) in packages and not _is_there(name)]
    if gone:
        raise UserError("\n".join(map(_sentence, gone)))


def _package(name: Name) -> str:
    return name.module.partition(".")[0]


def _is_there(name: Name) -> bool:
    """Whether a module has a name, or its class defines the name or sets it on its objects.

    An inherited name does not count: the overriding name may have been renamed.
    """
    try:
        owner: Any = importlib.import_module(name.module)
    except ImportError:
        return False
    *path, last = name.attribute.split(".")
    for part in path:
        owner = getattr(owner, part, None)
    if not inspect.isclass(owner):
        return hasattr(owner, last)
    return last in vars(owner) or last in _set_by(owner)


def _set_by(kind: type) -> set[str]:
    """The attributes that a class's own ``__init__`` sets."""
    made = vars(kind).get("__init__")
    if not inspect.isfunction(made):
        return set()
    return {step.argval for step in dis.get_instructions(made) if step.opname == "STORE_ATTR"}


def _sentence(name: Name) -> str:
    package = _package(name)
    installed = getattr(importlib.import_module(package), "__version__", "of unknown version")
    return (
        f"{package} {installed} has no '{name.module}.{name.attribute}', which is used by "
        f"{' and '.join(name.users)} ({name.why}). This project is tested with {package} "
        f"{TESTED[package]}: install that version."
    )
