# Protocol `paper-long`, detection: what the paper's text says of its detector beyond the authors'
# code, "linear warmup and long training schedule". It gives no number. Read here as: the warmup of
# their script (from a third of the rate, over the 1,000 iterations that it has on COCO with eight
# devices), and twice the epochs, with the step at the same share of them.
_base_ = "paper.py"
max_epochs = 40
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=1.0 / 3.0, begin=0, end=1000, by_epoch=False),
    dict(type="MultiStepLR", begin=0, end=max_epochs, by_epoch=True, milestones=[28], gamma=0.1),
]
