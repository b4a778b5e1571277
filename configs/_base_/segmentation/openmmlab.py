# Protocol `openmmlab`, segmentation: MMSegmentation's own FCN (output stride 8) on ADE20K,
# with another backbone. 80k iterations, batch size 16, learning rate 0.01 poly, crop 512.
# With its own ResNet-50-C, the toolbox's model zoo has 35.94 mIoU.
#
# 80k iterations see 1.28 million images only with a global batch size of 16. The toolbox's config
# has 4 images for each of four GPUs; this one has 16, which the driver divides among its processes.
# Under MMEngine's own launcher, as with `mim train`, it counts the images of one GPU: on N GPUs,
# set
# --cfg-options train_dataloader.batch_size=16/N (as a number).
# MMEngine cannot resolve "mmseg::" if MMSegmentation is installed from its maintained fork.
_base_ = [
    __import__("mmseg").__path__[0] + "/.mim/configs/fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py",
    "../runtime.py",
]
model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type="TimmPyramid",
        architecture="resnet50",
        out_indices=(0, 1, 2, 3),
        output_stride=8,
        norm_sync=True,
        weights="timm:resnet50.tv_in1k",
    ),
)
train_dataloader = dict(
    batch_size=16,
    sampler=dict(_delete_=True, type="ReplayableSampler", endless=True),
    dataset=dict(
        _delete_=True,
        type="ReplayableDataset",
        dataset={{_base_.train_dataloader.dataset}},
    ),
)
# The learning rate is for a batch size of 16; it follows the actual one (linear scaling).
auto_scale_lr = dict(enable=True, base_batch_size=16)
val_evaluator = dict(_delete_=True, type="MaskIoU")
test_evaluator = val_evaluator
