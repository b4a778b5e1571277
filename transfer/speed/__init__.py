"""Faster training and testing of MMDetection's and MMSegmentation's models, by one hook.

In a config of either toolbox::

    custom_imports = dict(imports=["transfer.speed"])
    custom_hooks = [dict(type="Speed")]

:data:`transfer.speed.hook.PARTS` has all parts. The layer needs nothing else of ``transfer``.
"""

from transfer.speed import hook, mmcv_ops

__all__ = ["hook", "mmcv_ops"]

mmcv_ops.install()
