# Protocol `frozen`, segmentation: two 1 x 1 convolutions on the maps of strides 8, 16 and 32 of a
# fixed backbone, resized to stride 8. The backbone is in evaluation mode and gets no gradient, also
# with random weights. The batch norm between them removes the scale of its maps. Suite `lr-frozen`
# chose the learning rate.
_base_ = "quick.py"
max_epochs = 6
model = dict(
    backbone=dict(output_stride=32, frozen_stages=4),
    decode_head=dict(
        in_channels=[512, 1024, 2048],
        in_index=[1, 2, 3],
        input_transform="resize_concat",
        kernel_size=1,
    ),
    auxiliary_head=None,
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=3e-3, betas=(0.9, 0.999), weight_decay=0.05),
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
