"""Faster training and testing of MMDetection's and MMSegmentation's models, by one hook.

In a config of either toolbox::

    custom_imports = dict(imports=["transfer.speed"])
    custom_hooks = [dict(type="Speed")]

:data:`transfer.speed.hook.PARTS` has all parts. Of ``transfer``, the layer
needs only :mod:`transfer.operators`.
"""

from transfer.operators import stand_in
from transfer.speed import hook

__all__ = ["hook"]

stand_in.install()
