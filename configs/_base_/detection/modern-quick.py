# Protocol `modern-quick`, detection: `quick` with the optimizer of `modern`. Suite
# `lr-modern-quick` chose the learning rate.
_base_ = "quick.py"
model = dict(backbone=dict(frozen_stages=-1))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=6e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="LayerDecay",
    paramwise_cfg=dict(layer_decay=0.9),
)
