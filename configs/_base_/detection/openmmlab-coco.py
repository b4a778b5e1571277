# Protocol `openmmlab-coco`: MMDetection's own Faster R-CNN (FPN) on COCO with another backbone.
# 12 epochs, batch size 16, learning rate 0.02, 1333 x 800, COCO AP. With torchvision's ResNet-50,
# the toolbox's model zoo has 37.4 mAP.
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
# The learning rate is for a batch size of 16; it follows the actual one (linear scaling).
auto_scale_lr = dict(enable=True)
val_evaluator = dict(_delete_=True, type="BoxAP", form="coco")
test_evaluator = val_evaluator
