"""Everything this project adds to MMEngine's registries; name it in ``custom_imports``.

The order matters: mmdet and mmseg can only be imported once mmcv's operators are there.
"""

from transfer.engine import operators

operators.install()

import backbones.pyramid  # noqa: E402, F401
