# Row resnet50d_tricks of the zoo: resnet50d_mixup, the strongest row with public weights.
# mim train mmdetection configs/detection/faster-rcnn_r50d-tricks_fpn_quick_sample.py
# Trains the classifier on the sample first (about two minutes), unless it exists.
_base_ = "../_base_/detection/quick.py"
custom_hooks = [dict(type="SeedIterations"), dict(type="Speed")]
model = dict(
    data_preprocessor=dict(mean=[123.68, 116.779, 103.939], std=[58.393, 57.12, 57.375]),
    backbone=dict(architecture="resnet50d", weights="sample:resnet50d_mixup:0"),
)
