"""mmcv's compiled operators on torchvision and plain torch.

``pip install onedl-mmcv`` gives a pure-Python mmcv, without the module ``mmcv._ext``.
:func:`transfer.operators.stand_in.install` puts a module in its place. It has the operators that
detectors and segmenters of MMDetection and MMSegmentation call, with mmcv's own arguments: results
are written into tensors that mmcv allocates.
"""
