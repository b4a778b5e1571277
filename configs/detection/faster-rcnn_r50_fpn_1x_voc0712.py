# Row resnet50_baseline of the zoo.
# mim train mmdetection configs/detection/faster-rcnn_r50_fpn_1x_voc0712.py
_base_ = "../_base_/detection/openmmlab.py"
custom_hooks = [dict(type="SeedIterations"), dict(type="Speed")]
model = dict(
    backbone=dict(architecture="resnet50", weights="timm:resnet50.tv_in1k"),
)
