# Protocol `modern`, segmentation: MMSegmentation's own UPerNet for Swin on ADE20K, with another
# backbone. 160k iterations, batch size 16, AdamW with learning rate 6e-5 (linear, after a warm-up
# over 1,500 iterations) and weight decay .01, crop 512. With its own Swin-T, the toolbox's model
# zoo has 44.41 mIoU.
#
# The toolbox's config has 2 images for each of eight GPUs; this one has 16, which the driver
# divides among its processes. Under MMEngine's own launcher, as with `mim train`, it counts the
# images of one GPU: on N GPUs, set --cfg-options train_dataloader.batch_size=16/N (as a number).
#
# layer_decay is the value of MMSegmentation's ConvNeXt and BEiT-B configs. It is the same for all
# rows, and was taken, not chosen by results.
# MMEngine cannot resolve "mmseg::" if MMSegmentation is installed from its maintained fork.
_base_ = [
    __import__("mmseg").__path__[0]
    + "/.mim/configs/swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py",
    "../runtime.py",
]
model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmPyramid",
        architecture="resnet50",
        out_indices=(0, 1, 2, 3),
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
optim_wrapper = dict(
    constructor="LayerDecay",
    paramwise_cfg=dict(_delete_=True, layer_decay=0.9),
)
# The learning rate is for a batch size of 16; it follows the actual one (linear scaling).
auto_scale_lr = dict(enable=True, base_batch_size=16)
val_evaluator = dict(_delete_=True, type="MaskIoU")
test_evaluator = val_evaluator
