"""Everything this project adds to MMEngine's registries; name it in ``custom_imports``.

The order matters: mmdet and mmseg can only be imported once mmcv's operators are there.
"""

from transfer.engine import operators

operators.install()

import mmdet.models  # noqa: E402, F401
import mmseg.models  # noqa: E402, F401

import backbones.pyramid  # noqa: E402
import backbones.runtime.loop  # noqa: E402
import backbones.runtime.precision  # noqa: E402
import backbones.runtime.randomness  # noqa: E402, F401
import transfer.datasets.openmmlab  # noqa: E402
import transfer.engine.classifiers  # noqa: E402
import transfer.engine.metrics  # noqa: E402
import transfer.engine.sparse_roi_align  # noqa: E402, F401
