# Protocol `paper-long`, detection: `paper` with the "linear warmup and long training schedule" of
# the paper's text, which the authors' code lacks. The paper gives no numbers. Our reading: the
# warmup of their script (from a third of the learning rate, over the 1,000 iterations that it has
# on COCO with eight devices), and twice the epochs, with the step at the same share.
_base_ = "paper.py"
max_epochs = 40
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=1.0 / 3.0, begin=0, end=1000, by_epoch=False),
    dict(type="MultiStepLR", begin=0, end=max_epochs, by_epoch=True, milestones=[28], gamma=0.1),
]
