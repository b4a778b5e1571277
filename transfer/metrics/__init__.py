"""Metrics: VOC and COCO average precision, IoU and pixel accuracy."""
