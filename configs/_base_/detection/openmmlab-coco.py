# Protocol `openmmlab-coco`: MMDetection's own Faster R-CNN (FPN) on COCO, unchanged but for the
# backbone. 12 epochs, batch 16, lr 0.02, 1333 x 800, COCO AP.
# It is expected to give 37.4 mAP with torchvision's ResNet-50 (the toolbox's own model zoo).
_base_ = [
    "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "../runtime.py",
]
model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmPyramid",
        architecture="resnet50",
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_eval=True,
        weights="timm:resnet50.tv_in1k",
    ),
)
train_dataloader = dict(
    sampler=dict(_delete_=True, type="ReplayableSampler"),
    dataset=dict(
        _delete_=True,
        type="ReplayableDataset",
        dataset={{_base_.train_dataloader.dataset}},
    ),
)
# The rate is stated for a batch of 16; it follows the real batch (linear scaling).
auto_scale_lr = dict(enable=True)
val_evaluator = dict(_delete_=True, type="BoxAP", form="coco")
test_evaluator = val_evaluator
