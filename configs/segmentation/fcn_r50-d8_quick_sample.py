# Row resnet50_baseline of the zoo.
# mim train mmsegmentation configs/segmentation/fcn_r50-d8_quick_sample.py
# Trains the classifier on the sample first (about two minutes), unless it exists.
_base_ = "../_base_/segmentation/quick.py"
custom_hooks = [dict(type="SeedIterations"), dict(type="Speed")]
model = dict(
    data_preprocessor=dict(mean=[123.68, 116.779, 103.939], std=[58.393, 57.12, 57.375]),
    backbone=dict(architecture="resnet50", weights="sample:resnet50_baseline:0"),
)
