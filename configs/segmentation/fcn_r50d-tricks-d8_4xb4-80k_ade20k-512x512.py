# Row resnet50d_tricks of the zoo: resnet50d_mixup, the strongest row with public weights.
# mim train mmsegmentation configs/segmentation/fcn_r50d-tricks-d8_4xb4-80k_ade20k-512x512.py \
#   --gpus 4 --launcher pytorch --cfg-options train_dataloader.batch_size=4
# On one GPU with memory for 16 images, leave out the second line.
_base_ = "../_base_/segmentation/openmmlab.py"
custom_hooks = [dict(type="SeedIterations"), dict(type="Speed")]
model = dict(
    backbone=dict(architecture="resnet50d", weights="timm:resnet50d.gluon_in1k"),
)
