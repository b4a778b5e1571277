# Protocol `paper`, detection: the authors' Faster R-CNN on VOC 07+12 (GluonCV). Stages 1 to 3 of
# the classifier compute the map; stage 4 of the same weights is the RoI head. 20 epochs, batch size
# 4, learning rate 0.001, 1000 x 600, 11-point AP. The paper's Table 8 has 77.54 to 81.33 mAP;
# GluonCV's own ResNet-50-B reaches 77.66 in its last epoch. batch_size is the global batch size,
# which the driver divides among its processes. Under MMEngine's own launcher, as with `mim train`,
# it counts the images of one GPU: on one, two or four GPUs, set --cfg-options
# train_dataloader.batch_size=4, 2 or 1.
#
# docs/protocols.md ends with a list of the deviations from their code.
_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50-caffe-c4.py",
    "mmdet::_base_/default_runtime.py",
    "../runtime.py",
]
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1,
    ),
    backbone=dict(
        _delete_=True,
        type="TimmPyramid",
        architecture="resnet50",
        out_indices=(2,),
        frozen_stages=1,
        norm_eval=True,
        norm_frozen=True,
        weights="timm:resnet50.tv_in1k",
    ),
    rpn_head=dict(
        in_channels=1024,
        feat_channels=1024,
        anchor_generator=dict(
            type="RoundedAnchorGenerator",
            base_sizes=[16],
            scales=[2, 4, 8, 16, 32],
            ratios=[0.5, 1.0, 2.0],
            strides=[16],
        ),
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=1.0 / 9.0, loss_weight=1.0),
    ),
    roi_head=dict(
        shared_head=dict(
            _delete_=True,
            type="RoIStage",
            architecture="resnet50",
            norm_eval=True,
            norm_frozen=True,
            weights="timm:resnet50.tv_in1k",
        ),
        bbox_roi_extractor=dict(
            roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=2, aligned=False),
            out_channels=1024,
            featmap_strides=[16],
        ),
        bbox_head=dict(
            in_channels=2048,
            num_classes=20,
            bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=1.0, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            # An object's best anchor is positive if its IoU is at least 0.3. Below that it is
            # negative, as in their code.
            assigner=dict(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
            sampler=dict(num=256, pos_fraction=0.5),
            allowed_border=0,  # anchors that cross the image's border are not trained on
        ),
        rpn_proposal=dict(
            nms_pre=12000,
            max_per_img=2000,
            nms=dict(type="nms", iou_threshold=0.7),
            min_bbox_size=16,
        ),
        rcnn=dict(
            assigner=dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5),
            sampler=dict(num=128, pos_fraction=0.25),
        ),
    ),
    test_cfg=dict(
        rpn=dict(
            nms_pre=6000,
            max_per_img=300,
            nms=dict(type="nms", iou_threshold=0.7),
            min_bbox_size=16,
        ),
        # Their NMS threshold is 1e-4, but scores up to .01 are set to 0 before it. NMS considers
        # the best 400 boxes of a class, which is all of them: there are only 300 proposals. Their
        # limit of 100 boxes per image is stored and never used.
        rcnn=dict(
            score_thr=0.01,
            nms=dict(type="nms", iou_threshold=0.3),
            max_per_img=-1,
        ),
    ),
)

metainfo = dict(
    classes=(
        *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
        *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
        *("train", "tvmonitor"),
    ),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(1000, 600), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(1000, 600), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="ReplayableSampler"),
    batch_sampler=dict(type="AspectRatioBatchSampler", drop_last=True),
    dataset=dict(
        type="ReplayableDataset",
        dataset=dict(
            type="ConcatDataset",
            datasets=[
                dict(
                    type="VocBoxes",
                    difficult_is_positive=True,
                    data_root="data/VOCdevkit/",
                    ann_file=f"{year}/ImageSets/Main/trainval.txt",
                    data_prefix=dict(sub_data_root=f"{year}/"),
                    metainfo=metainfo,
                    pipeline=train_pipeline,
                )
                for year in ("VOC2007", "VOC2012")
            ],
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="VocBoxes",
        data_root="data/VOCdevkit/",
        ann_file="VOC2007/ImageSets/Main/test.txt",
        data_prefix=dict(sub_data_root="VOC2007/"),
        metainfo=metainfo,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="BoxAP", form="11points")
test_evaluator = val_evaluator

max_epochs = 20
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.001, momentum=0.9, weight_decay=5e-4),
    clip_grad=dict(type="value", clip_value=5),  # element-wise; in their code, not in the paper
)
param_scheduler = [
    dict(type="MultiStepLR", begin=0, end=max_epochs, by_epoch=True, milestones=[14], gamma=0.1),
]
# The learning rate is absolute. Several processes scale it if they take other than 4 images.
auto_scale_lr = dict(enable=False, base_batch_size=4)
