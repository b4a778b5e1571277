# Protocol `modern`, detection: `openmmlab` (Faster R-CNN with FPN on VOC 07+12) with the optimizer
# of MMDetection's Swin configs (mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py): AdamW, learning
# rate 1e-4 at a batch size of 16, weight decay .05, and a warm-up from .001 of the learning rate
# over 1,000 iterations. Like those, it freezes no stage. The step stays where VOC's config has it.
#
# layer_decay is the value of MMSegmentation's ConvNeXt and BEiT-B configs. It is the same for all
# rows, and was taken, not chosen by results.
_base_ = "openmmlab.py"
model = dict(backbone=dict(frozen_stages=-1))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="LayerDecay",
    paramwise_cfg=dict(layer_decay=0.9),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, begin=0, end=1000, by_epoch=False),
    dict(type="MultiStepLR", begin=0, end=4, by_epoch=True, milestones=[3], gamma=0.1),
]
