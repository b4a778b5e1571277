"""What a pickle of MMEngine's may name beside tensors: the parts of its log buffers.

MMEngine's checkpoints keep the losses of a training in buffers of NumPy arrays. MMEngine allows a
pickle the whole of ``getattr`` and NumPy's makers of arrays, which make room for as much as a few
bytes ask for. Under the same names a pickle gets functions here that do only what buffers need.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer

from backbones.common.torch_file import MoreNames

_STATISTICS = ("mean", "max", "min", "current")
_NUMBERS = [np.dtype(code) for code in "?bBhHiIlLqQefd"]
_MULTIARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")  # of NumPy 1 and 2


class _Array:
    """Stands for ``numpy.ndarray`` in a pickle, which otherwise could call it with any shape."""


def _empty_array(kind: Any, shape: Any, code: Any) -> np.ndarray[Any, Any]:
    """An array that its content is set in next; NumPy holds that against its shape."""
    if kind is not _Array or shape != (0,) or code not in ("b", b"b"):
        raise pickle.UnpicklingError(f"an array of the shape {shape!r} was asked for")
    return np.ndarray((0,), "b")


def _scalar(dtype: Any, content: Any) -> Any:
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biufc":
        raise pickle.UnpicklingError(f"a number of the type {dtype!r} was asked for")
    return np.frombuffer(content, dtype, 1)[0]


def _dtype(code: Any, align: Any = False, copy: Any = False) -> np.dtype[Any]:
    if not isinstance(code, str) or len(code) > 3:  # such as f8
        raise pickle.UnpicklingError(f"the type {code!r} was asked for")
    return np.dtype(code, align, copy)


def _method(owner: Any, name: str) -> Any:
    """The one use that buffers have for ``getattr``: their own statistics."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(f"'{name}' of {owner!r} was asked for")
    return getattr(owner, name)


_NAMED: list[tuple[Callable[..., Any], str]] = [
    (_method, "builtins.getattr"),
    (HistoryBuffer, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_Array, "numpy.ndarray"),
    (_dtype, "numpy.dtype"),
    *((_empty_array, f"{module}._reconstruct") for module in _MULTIARRAYS),
    *((_scalar, f"{module}.scalar") for module in _MULTIARRAYS),
]

LOG_BUFFERS = MoreNames(
    frozenset({name for _, name in _NAMED} | {"_codecs.encode"}),
    (
        *_NAMED,
        # Classes whose objects may have their content set, by names that no pickle may name
        *((kind, f"content.of.{kind.__name__}") for kind in (np.ndarray, *map(type, _NUMBERS))),
    ),
    pickle_bytes=1 << 28,  # twice a million numbers a buffer
)
"""As :func:`backbones.common.torch_file.read_torch_file` takes it."""
