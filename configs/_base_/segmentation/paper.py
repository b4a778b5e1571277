# Protocol `paper`, segmentation: the authors' FCN (output stride 8) on ADE20K, as in their code
# (GluonCV). 120 epochs, batch size 16, learning rate 0.01 poly (heads 0.1), crop 480, tested at six
# scales and flipped. The paper's Table 9 has 37.05 to 39.33 mIoU; GluonCV's model zoo has 38.7 with
# ResNet-50-B. batch_size is the global batch size, which the driver divides among its processes.
# Under MMEngine's own launcher, as with `mim train`, it counts the images of one GPU: on N GPUs,
# where N divides 16, set --cfg-options train_dataloader.batch_size=16/N (as a number).
#
# Their step divides the gradient twice: by the labelled pixels of each GPU, and by the batch size.
# On N GPUs this is N/16 of the mean gradient: a quarter on the four GPUs of their commands for
# segmentation. Weight decay is not divided, so we scale the losses, not the learning rate. To match
# a run of theirs on another number of GPUs, set loss_weight in both heads: 0.0625 for one, 0.5 for
# eight. The number of GPUs here does not change this share.
#
# docs/protocols.md ends with a list of the deviations from their code.
# MMEngine cannot resolve "mmseg::" if MMSegmentation is installed from its maintained fork.
_base_ = [
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/models/fcn_r50-d8.py",
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/datasets/ade20k.py",
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/default_runtime.py",
    "../runtime.py",
]
base_size = 520
crop_size = (480, 480)
gradient_share = 0.25
first_weights = dict(type="Uniform", layer="Conv2d", a=-0.07, b=0.07)  # MXNet's default
model = dict(
    type="MultiScaleSegmentor",
    data_preprocessor=dict(size=crop_size),
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
    decode_head=dict(
        _delete_=True,
        type="SlimFCNHead",
        in_channels=2048,
        in_index=3,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type="SyncBN", requires_grad=True),  # plain BN on a single device
        align_corners=True,  # as MXNet resizes
        init_cfg=first_weights,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True, loss_weight=gradient_share),
    ),
    auxiliary_head=dict(
        _delete_=True,
        type="SlimFCNHead",
        in_channels=1024,
        in_index=2,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        align_corners=True,
        init_cfg=first_weights,
        # They write a weight of 0.5, but SoftmaxOutput ignores the incoming gradient.
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True, loss_weight=gradient_share),
    ),
    test_cfg=dict(
        _delete_=True,
        mode="multi_scale",
        scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
        base_size=base_size,
        crop_size=crop_size[0],
        stride=2 / 3,
    ),
)

# The order is that of GluonCV's `_sync_transform`, with its Pillow resizing and blurring. The short
# side is drawn from 260 to 1040 pixels. Images are padded with black, masks with "ignore". The
# limit of the long side is ours: images over ten times as long as wide would exhaust the memory.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="RandomResize",
        scale=[(20 * base_size, base_size // 2), (20 * base_size, 2 * base_size)],
        keep_ratio=True,
        backend="pillow",
    ),
    dict(type="Pad", size=crop_size, pad_val=dict(img=0, seg=255)),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomGaussianBlur", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=16,
    drop_last=True,
    sampler=dict(_delete_=True, type="ReplayableSampler"),
    dataset=dict(
        _delete_=True,
        type="ReplayableDataset",
        dataset=dict(
            type="ADE20KDataset",
            data_root="data/ade/ADEChallengeData2016",
            data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(batch_size=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type="MaskIoU")
test_evaluator = val_evaluator

max_epochs = 120
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={"head": dict(lr_mult=10.0)}),  # both heads
)
param_scheduler = [
    dict(
        type="PolyLR",
        eta_min=0.0,
        power=0.9,
        begin=0,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
log_processor = dict(by_epoch=True)
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=max_epochs),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
# The learning rate is stated for a batch size of 16 and scaled linearly to the actual one.
auto_scale_lr = dict(enable=True, base_batch_size=16)
