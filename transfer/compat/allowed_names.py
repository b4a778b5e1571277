"""What a config that comes from data may name: classes and words, as runs use them.

Everything here can be built and read without running anything else. A class is listed by the name
that it is registered under. None of them takes a file or a function by one of the texts below, and
none is a function: those that registries hold too are never called by data's wish.
"""

from __future__ import annotations

import re
from collections.abc import Callable

CLASSES = frozenset(
    {
        # What the protocols build
        "Bfloat16OptimWrapper", "BoxAP", "CocoBoxes", "ConcatDataset", "DefaultSampler",
        "DetDataPreprocessor", "IndexMasks", "MaskIoU", "OptimWrapper", "RepeatDataset",
        "ReplayableDataset", "ReplayableSampler", "ResumableBatchSampler", "ResumableTrainLoop",
        "RoIStage", "SegDataPreProcessor", "SegTTAModel", "TestLoop", "TestTimeAug", "TimmPyramid",
        "ValLoop", "VocBoxes",
        # and the hooks and the like that records list
        "ChannelsLast", "CheckpointHook", "DetLocalVisualizer", "DetVisualizationHook",
        "DistSamplerSeedHook", "FusedSegmentationLoss", "FusedSgd", "GraphedFeatures", "GroupedNms",
        "HostSampling", "IterTimerHook", "LocalVisBackend", "LogProcessor", "LoggerHook",
        "NoBenchmarkInEvaluation", "NonBlockingInputs", "ParamSchedulerHook", "PlacedSampling",
        "PointwiseProducts", "SeedIterations", "SegLocalVisualizer", "SegVisualizationHook",
        "SparseRoIExtraction", "SparseRpnGradients", "Speed", "WinogradConvolutions",
        # Detectors, segmenters, their necks and heads
        "ASPPHead", "BBoxHead", "EncoderDecoder", "FCNHead", "FPN", "FasterRCNN",
        "MultiScaleSegmentor", "PAFPN", "PSPHead", "RPNHead", "Shared2FCBBoxHead",
        "Shared4Conv1FCBBoxHead", "SingleRoIExtractor", "SlimFCNHead", "StandardRoIHead",
        # Their parts
        "AnchorGenerator", "BboxOverlaps2D", "DeltaXYWHBBoxCoder", "MaxIoUAssigner",
        "OHEMPixelSampler", "OHEMSampler", "PseudoSampler", "RandomSampler",
        "RoundedAnchorGenerator",
        # Layers
        "BN", "GELU", "GN", "IN", "LN", "LeakyReLU", "PReLU", "ReLU", "SiLU", "SyncBN",
        # Losses
        "BalancedL1Loss", "CIoULoss", "CrossEntropyLoss", "DIoULoss", "DiceLoss", "FocalLoss",
        "GIoULoss", "IoULoss", "L1Loss", "LovaszLoss", "MSELoss", "SmoothL1Loss", "TverskyLoss",
        # Steps of pipelines
        "LoadAnnotations", "LoadImageFromFile", "MinIoURandomCrop", "PackDetInputs",
        "PackSegInputs", "Pad", "PhotoMetricDistortion", "RandomChoiceResize", "RandomCrop",
        "RandomFlip", "RandomGaussianBlur", "RandomResize", "RandomRotate", "Resize",
        # Optimisers and schedules
        "Adagrad", "Adam", "AdamW", "AmpOptimWrapper", "NAdam", "RAdam", "RMSprop", "SGD",
        "ConstantLR", "CosineAnnealingLR", "CosineRestartLR", "ExponentialLR", "LinearLR",
        "MultiStepLR", "OneCycleLR", "PolyLR", "StepLR",
    }
)  # fmt: skip
"""Names that a ``type`` may have."""

KINDS = {
    "clip_grad": frozenset({"norm", "value"}),
    "nms": frozenset({"nms", "soft_nms"}),  # mmcv evaluates this one as Python
    "roi_layer": frozenset({"RoIAlign", "RoIPool"}),  # mmdet looks it up among mmcv's functions
}
"""Tables whose ``type`` is looked up elsewhere than in a registry, and what it may be there."""


def _word(*words: str) -> Callable[[str], bool]:
    return frozenset(words).__contains__


def _form(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


TEXTS = {
    "_scope_": _word("mmdet", "mmengine", "mmseg"),
    "add_extra_convs": _word("on_input", "on_lateral", "on_output"),
    "backend": _word("cv2", "gloo", "nccl", "pillow"),
    "constructor": _word("DefaultOptimWrapperConstructor"),
    "crop_type": _word("absolute", "absolute_range", "relative", "relative_range"),
    "direction": _word("diagonal", "horizontal", "vertical"),
    "dtype": _word("bfloat16", "float16", "float32"),
    "form": _word("11points", "area", "coco"),
    "interpolation": _word("area", "bicubic", "bilinear", "lanczos", "nearest"),
    "iou_calculator": _word("BboxOverlaps2D"),
    "loss_name": _form(r"loss_\w+"),
    "loss_scale": _word("dynamic"),
    "method": _word("gaussian", "linear", "naive"),
    "mode": _word("bicubic", "bilinear", "linear", "log", "multi_scale", "nearest", "slide",
                  "square", "whole"),
    "mp_start_method": _word("fork", "forkserver", "spawn"),
    "multiprocessing_context": _word("fork", "forkserver", "spawn"),
    "padding_mode": _word("constant", "edge", "reflect", "symmetric"),
    "pool_mode": _word("avg", "max"),
    "reduction": _word("mean", "none", "sum"),
}  # fmt: skip
"""Keys under which any data may give a text, and which."""

RECORDED = {
    **TEXTS,
    "architecture": _form(r"[A-Za-z0-9_.-]+"),  # timm's other names are addresses and folders
    "dataset_type": _form(r"\w+"),
    "default_scope": _word("mmdet", "mmseg"),
    "imports": _word("transfer.openmmlab"),
    "log_level": _word("INFO"),
    "meta_keys": _form(r"\w+"),
    "name": _word("visualizer"),
    "without": _form(r"\w+"),  # parts of the speed layer
}
"""The same for records, whose config is a whole one."""

REPLACED = frozenset(
    {"ann_file", "classes", "data_root", "headline_classes", "img", "img_path", "seg_map_path",
     "sub_data_root"}
)  # fmt: skip
"""Keys under which a record may have any text: where it is built, the data set's own are put in
their place, and nothing else takes them."""
