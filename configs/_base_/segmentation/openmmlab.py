# Protocol `openmmlab`, segmentation: MMSegmentation's own FCN (output stride 8) on ADE20K,
# unchanged but for the backbone. 80k iterations, batch 16, lr 0.01 poly, crop 512.
# It is expected to give 35.94 mIoU with its own ResNet-50-C (the toolbox's own model zoo).
#
# 80k iterations are 1.28 million images only where the batch is 16 in all. The toolbox's loader has
# 4, for each of four GPUs; here it has 16, which the driver shares out over its processes. Under
# MMEngine's own launcher, as of `mim train`, a loader's batch is that of a GPU: for N of them give
# --cfg-options train_dataloader.batch_size=16/N, as a number.
# MMEngine cannot resolve "mmseg::" where MMSegmentation was installed from its maintained fork.
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
# The rate is stated for a batch of 16; it follows the real batch (linear scaling).
auto_scale_lr = dict(enable=True, base_batch_size=16)
val_evaluator = dict(_delete_=True, type="MaskIoU")
test_evaluator = val_evaluator
