# Protocol `quick`, segmentation: FCN (output stride 8) on 128 px crops with a small head, for a
# machine without a GPU. Its size was chosen by measurement: see "What it costs" in the README.
# MMEngine cannot resolve "mmseg::" if MMSegmentation is installed from its maintained fork.
_base_ = [
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/models/fcn_r50-d8.py",
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/default_runtime.py",
    "../runtime.py",
]
norm_cfg = dict(type="BN", requires_grad=True)
crop_size = (128, 128)
model = dict(
    data_preprocessor=dict(size=crop_size),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type="TimmPyramid",
        architecture="resnet50",
        out_indices=(0, 1, 2, 3),
        output_stride=8,
        weights="timm:resnet50.tv_in1k",
    ),
    decode_head=dict(
        channels=128,
        num_convs=1,
        concat_input=False,
        num_classes=10,
        norm_cfg=norm_cfg,
        loss_decode=dict(avg_non_ignore=True),
    ),
    auxiliary_head=dict(
        channels=64,
        num_classes=10,
        norm_cfg=norm_cfg,
        loss_decode=dict(avg_non_ignore=True),
    ),
)

# The built-in sample, unless the driver replaces it by other data.
metainfo = dict(
    classes=(
        *("beetle", "bird", "fish", "flower", "house", "mug"),
        *("brick", "grass", "sky", "water"),
    ),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(224, 160), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(224, 160), keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    drop_last=True,
    sampler=dict(type="ReplayableSampler"),
    dataset=dict(
        type="ReplayableDataset",
        dataset=dict(
            type="IndexMasks",
            data_root="sample",
            reduce_zero_label=True,
            metainfo=metainfo,
            data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="IndexMasks",
        data_root="sample",
        reduce_zero_label=True,
        metainfo=metainfo,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="MaskIoU")
test_evaluator = val_evaluator

max_epochs = 6
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=5e-4),
)
param_scheduler = [
    dict(
        type="PolyLR",
        eta_min=1e-4,
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
auto_scale_lr = dict(enable=True, base_batch_size=8)
