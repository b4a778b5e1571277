# Row resnet50_baseline of the zoo.
# mim train mmsegmentation configs/segmentation/fcn_r50-d8_4xb4-80k_ade20k-512x512.py \
#   --gpus 4 --launcher pytorch --cfg-options train_dataloader.batch_size=4
# On one GPU with memory for 16 images, leave out the second line.
_base_ = "../_base_/segmentation/openmmlab.py"
custom_hooks = [dict(type="SeedIterations"), dict(type="Speed")]
model = dict(
    backbone=dict(architecture="resnet50", weights="timm:resnet50.tv_in1k"),
)
