# Row resnet50d_tricks of the zoo: resnet50d_mixup, the strongest row with public weights.
# mim train mmsegmentation configs/segmentation/fcn_r50d-tricks-d8_gluoncv_ade20k-480x480.py
_base_ = "../_base_/segmentation/paper.py"
custom_hooks = [dict(type="SeedIterations"), dict(type="Speed")]
model = dict(
    backbone=dict(architecture="resnet50d", weights="timm:resnet50d.gluon_in1k"),
)
