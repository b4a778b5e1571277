"""The module that takes the place of ``mmcv._ext`` if mmcv was installed without its operators."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

from backbones.common.errors import UserError
from transfer.operators.families import FAMILIES

NAME = "mmcv._ext"


def install() -> None:
    """Make mmcv's operators importable; compiled ones are left untouched."""
    if NAME in sys.modules or importlib.util.find_spec(NAME) is not None:
        return
    stand_in = _StandIn(NAME)
    sys.modules[NAME] = stand_in
    # mmcv.ops looks the module up by its spec; ``import mmcv._ext`` also sets the attribute.
    import mmcv

    mmcv._ext = stand_in


class _StandIn(ModuleType):
    """The operators of :data:`FAMILIES`; any other raises a clear error when it is called."""

    def __init__(self, name: str) -> None:
        super().__init__(name, doc=__doc__)
        self.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
        for family in FAMILIES:
            module = importlib.import_module(f"transfer.operators.{family.module}")
            vars(self).update({name: getattr(module, name) for name in family.operators})

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: object, **kwargs: object) -> NoReturn:
            raise UserError(
                f"mmcv's operator '{name}' is not compiled here, and this project has no "
                "replacement for it; install an mmcv with its operators compiled "
                "(MMCV_WITH_OPS=1 pip install --no-build-isolation --no-binary onedl-mmcv "
                "onedl-mmcv) or choose a model that does not need it."
            )

        return missing
