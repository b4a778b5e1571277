# Row resnet50_baseline of the zoo.
# mim train mmsegmentation configs/segmentation/fcn_r50-d8_gluoncv_ade20k-480x480.py
_base_ = "../_base_/segmentation/paper.py"
custom_hooks = [dict(type="SeedIterations"), dict(type="Speed")]
model = dict(
    backbone=dict(architecture="resnet50", weights="timm:resnet50.tv_in1k"),
)
