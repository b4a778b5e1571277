"""Packaged configs of the toolboxes at a size that a test can train."""

_DETECTOR = """
_base_ = "{base}"
_load = dict(type="LoadImageFromFile")
_boxes = dict(type="LoadAnnotations", with_bbox=True, with_mask={masks})
_resize = dict(type="Resize", scale=({width}, {height}), keep_ratio=True)
_flip = dict(type="RandomFlip", prob=0.5)
_pack = dict(type="PackDetInputs")
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(pipeline=[_load, _boxes, _resize, _flip, _pack])
)
val_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(pipeline=[_load, _resize, _boxes, _pack])
)
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=3)
{more}
"""

_SEGMENTER = """
_base_ = "{base}"
_load = dict(type="LoadImageFromFile")
_masks = dict(type="LoadAnnotations")
_resize = dict(type="Resize", scale=({width}, {height}), keep_ratio=True)
_crop = dict(type="RandomCrop", crop_size=(64, 64))
_flip = dict(type="RandomFlip", prob=0.5)
_pack = dict(type="PackSegInputs")
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    dataset=dict(pipeline=[_load, _masks, _resize, _crop, _flip, _pack]),
)
val_dataloader = dict(
    batch_size=1, num_workers=0, dataset=dict(pipeline=[_load, _resize, _masks, _pack])
)
train_cfg = dict(max_iters=3)
model = dict(data_preprocessor=dict(size=(64, 64)))
{more}
"""


def small(protocol: str, more: str = "", size: tuple[int, int] = (112, 80)) -> str:
    """The text of a config that inherits from a packaged one, with small images and few steps.

    Args:
        protocol: Such as ``mmdet::fcos/….py``.
        more: Further lines.
        size: Width and height that images are resized to fit in, in pixels.
    """
    text = _DETECTOR if protocol.startswith("mmdet") else _SEGMENTER
    masks = "mask" in protocol
    return text.format(base=protocol, width=size[0], height=size[1], masks=masks, more=more)
