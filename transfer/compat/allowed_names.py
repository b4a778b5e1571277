"""Names that a config from untrusted data may use: classes and words, as runs use them.

Everything here can be built and read without running anything else. A class is listed by its
registered name. None of them takes a file or a function through one of the texts below, and none is
a function: functions in registries are never called at the request of data.
"""

from __future__ import annotations

import re
from collections.abc import Callable

CLASSES = frozenset(
    {
        # Built by the protocols
        "Bfloat16OptimWrapper", "BoxAP", "CocoBoxes", "ConcatDataset", "DefaultSampler",
        "DetDataPreprocessor", "IndexMasks", "MaskIoU", "OptimWrapper", "RepeatDataset",
        "ReplayableDataset", "ReplayableSampler", "ResumableBatchSampler", "ResumableTrainLoop",
        "RoIStage", "SegDataPreProcessor", "SegTTAModel", "TestLoop", "TestTimeAug", "TimmPyramid",
        "ValLoop", "VocBoxes",
        # and hooks and the like in records
        "ChannelsLast", "CheckpointHook", "DetLocalVisualizer", "DetVisualizationHook",
        "DistSamplerSeedHook", "FusedSgd", "IterTimerHook", "LocalVisBackend", "LogProcessor",
        "LoggerHook", "ParamSchedulerHook", "PlacedSampling", "SeedIterations",
        "SegLocalVisualizer", "SegVisualizationHook", "Speed",
        # Detectors, segmenters, their necks and heads
        "ASPPHead", "BBoxHead", "CascadeRCNN", "CascadeRoIHead", "ChannelMapper", "DINO",
        "DINOHead", "DeformableDETR", "DeformableDETRHead", "DepthwiseSeparableASPPHead",
        "EncoderDecoder", "FCNHead", "FCNMaskHead", "FCOS", "FCOSHead", "FPN", "FasterRCNN",
        "MaskRCNN", "MultiScaleSegmentor", "PAFPN", "PSPHead", "RPNHead", "RetinaHead",
        "RetinaNet", "SegformerHead", "Shared2FCBBoxHead", "Shared4Conv1FCBBoxHead",
        "SingleRoIExtractor", "SlimFCNHead", "StandardRoIHead", "UPerHead",
        # Their parts
        "AnchorGenerator", "BBoxL1Cost", "BboxOverlaps2D", "DeltaXYWHBBoxCoder", "FocalLossCost",
        "HungarianAssigner", "IoUCost", "MaxIoUAssigner",
        "OHEMPixelSampler", "OHEMSampler", "PseudoSampler", "RandomSampler",
        "RoundedAnchorGenerator",
        # Layers
        "BN", "GELU", "GN", "IN", "LN", "LeakyReLU", "PReLU", "ReLU", "SiLU", "SyncBN",
        # Initialisation of layers
        "Normal", "Uniform",
        # Losses
        "BalancedL1Loss", "CIoULoss", "CrossEntropyLoss", "DIoULoss", "DiceLoss", "FocalLoss",
        "GIoULoss", "IoULoss", "L1Loss", "LovaszLoss", "MSELoss", "SmoothL1Loss", "TverskyLoss",
        # Steps of pipelines
        "LoadAnnotations", "LoadImageFromFile", "MinIoURandomCrop", "PackDetInputs",
        "PackSegInputs", "Pad", "PhotoMetricDistortion", "RandomChoice", "RandomChoiceResize",
        "RandomCrop",
        "RandomFlip", "RandomGaussianBlur", "RandomResize", "RandomRotate", "Resize",
        # Optimisers and schedules
        "Adagrad", "Adam", "AdamW", "AmpOptimWrapper", "NAdam", "RAdam", "RMSprop", "SGD",
        "ConstantLR", "CosineAnnealingLR", "CosineRestartLR", "ExponentialLR", "LinearLR",
        "MultiStepLR", "OneCycleLR", "PolyLR", "StepLR",
    }
)  # fmt: skip
"""Names that a ``type`` may have."""

FORMER = frozenset(
    {
        "FusedSegmentationLoss", "GraphedFeatures", "GroupedNms", "HostSampling",
        "NoBenchmarkInEvaluation", "NonBlockingInputs", "PointwiseProducts", "SparseRoIExtraction",
        "SparseRpnGradients", "WinogradConvolutions",
    }
)  # fmt: skip
"""Hooks in older records whose classes no longer exist; hooks of records are never built."""

KINDS = {
    "clip_grad": frozenset({"norm", "value"}),
    "nms": frozenset({"nms", "soft_nms"}),  # mmcv evaluates this as Python
    "roi_layer": frozenset({"RoIAlign", "RoIPool"}),  # mmdet looks it up among mmcv's functions
}
"""Tables whose ``type`` is not looked up in a registry, with the allowed values."""


def _word(*words: str) -> Callable[[str], bool]:
    return frozenset(words).__contains__


def _form(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


TEXTS = {
    "_scope_": _word("mmdet", "mmengine", "mmseg"),
    "add_extra_convs": _word("on_input", "on_lateral", "on_output"),
    "backend": _word("cv2", "gloo", "nccl", "pillow"),
    "box_format": _word("xywh", "xyxy"),
    "constructor": _word("DefaultOptimWrapperConstructor", "LayerDecay"),
    "crop_type": _word("absolute", "absolute_range", "relative", "relative_range"),
    "direction": _word("diagonal", "horizontal", "vertical"),
    "dtype": _word("bfloat16", "float16", "float32"),
    "form": _word("11points", "area", "coco"),
    "input_transform": _word("multiple_select", "resize_concat"),
    "interpolation": _word("area", "bicubic", "bilinear", "lanczos", "nearest"),
    "iou_calculator": _word("BboxOverlaps2D"),
    "iou_mode": _word("giou", "iou"),
    "layer": _word("BatchNorm2d", "Conv2d", "Linear"),
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
"""Keys for which any data may give a text, with the allowed texts."""

RECORDED = {
    **TEXTS,
    "architecture": _form(r"[A-Za-z0-9_.-]+"),  # timm's other names are URLs and folders
    "dataset_type": _form(r"\w+"),
    "default_scope": _word("mmdet", "mmseg"),
    "imports": _word("transfer.openmmlab"),
    "log_level": _word("INFO"),
    "meta_keys": _form(r"\w+"),
    "name": _word("visualizer"),
    "without": _form(r"\w+"),  # parts of the speed layer
}
"""The same for records, whose config is complete."""

REPLACED = frozenset(
    {"ann_file", "classes", "data_root", "exclude", "headline_classes", "img", "img_path",
     "seg_map_path", "sub_data_root", "suffix", "mask_suffix"}
)  # fmt: skip
"""Keys for which a record may have any text: before the config is built, the data set's own values
replace them, and nothing else reads them."""
