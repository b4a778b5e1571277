"""What is measured: VOC and COCO average precision, IoU and accuracy."""
