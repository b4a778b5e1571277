# Protocol `frozen`, detection: the detector of `quick` with half its channels on a fixed backbone.
# The backbone is in evaluation mode and gets no gradient, also with random weights. The batch norms
# of the FPN remove the scale of its maps, which a fixed backbone cannot adapt.
_base_ = "quick.py"
max_epochs = 2
model = dict(
    backbone=dict(frozen_stages=4),
    neck=dict(out_channels=64, norm_cfg=dict(type="BN", requires_grad=True)),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64),
    ),
)
train_dataloader = dict(batch_size=4)  # for more steps in two epochs
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
)
param_scheduler = [
    dict(
        type="CosineAnnealingLR",
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=4)
