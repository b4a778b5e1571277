# Protocol `modern-quick`, segmentation: UPerNet with 128 channels on the images of `quick`, with
# the optimizer of `modern`. Suite `lr-modern-quick` chose the learning rate. The heads have group
# norm: their pooled maps have one pixel, for which a process with one image would have no batch
# statistics.
_base_ = "quick.py"
norm_cfg = dict(type="GN", num_groups=32, requires_grad=True)
max_epochs = 6
model = dict(
    backbone=dict(output_stride=32),
    decode_head=dict(
        _delete_=True,
        type="UPerHead",
        in_channels=[256, 512, 1024, 2048],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=128,
        dropout_ratio=0.1,
        num_classes=10,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True, loss_weight=1.0),
    ),
    auxiliary_head=dict(norm_cfg=norm_cfg),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=6e-4, betas=(0.9, 0.999), weight_decay=0.01),
    constructor="LayerDecay",
    paramwise_cfg=dict(layer_decay=0.9),
)
param_scheduler = [
    dict(
        type="LinearLR", start_factor=0.1, begin=0, end=1, by_epoch=True, convert_to_iter_based=True
    ),
    dict(
        type="PolyLR",
        eta_min=0.0,
        power=1.0,
        begin=1,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
