"""Files in MXNet's format."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAGICS = {"V1": 0xF993FAC8, "V2": 0xF993FAC9, "V3": 0xF993FACA}


VERSIONS = ("legacy", *MAGICS)


FLAGS = {
    np.dtype("float32"): 0,
    np.dtype("float64"): 1,
    np.dtype("float16"): 2,
    np.dtype("uint8"): 3,
    np.dtype("int32"): 4,
    np.dtype("int8"): 5,
    np.dtype("int64"): 6,
    np.dtype("bool"): 7,
    np.dtype("int16"): 8,
    np.dtype("uint16"): 9,
    np.dtype("uint32"): 10,
    np.dtype("uint64"): 11,
}


HEADER = struct.pack("<QQ", 0x112, 0)


@dataclass
class Raw:
    """One array as it is to be written, fields and all; the defaults follow from the values."""

    values: np.ndarray
    version: str = "V2"
    flag: int | None = None
    shape: tuple[int, ...] | None = None
    storage: int = 0
    context: tuple[int, int] = (1, 0)

    def pack(self) -> bytes:
        shape = self.values.shape if self.shape is None else self.shape
        flag = FLAGS[self.values.dtype] if self.flag is None else self.flag
        if self.version == "legacy":
            head = struct.pack(f"<I{len(shape)}I", len(shape), *shape)
        else:
            head = struct.pack("<I", MAGICS[self.version])
            if self.version != "V1":
                head += struct.pack("<i", self.storage)
            head += struct.pack(f"<i{len(shape)}q", len(shape), *shape)
        little = self.values.astype(self.values.dtype.newbyteorder("<"))
        return head + struct.pack("<iii", *self.context, flag) + little.tobytes()


def pack(arrays: Sequence[Raw | bytes], names: Sequence[str | bytes]) -> bytes:
    body = b"".join(a if isinstance(a, bytes) else a.pack() for a in arrays)
    listed = b""
    for name in names:
        encoded = name if isinstance(name, bytes) else name.encode()
        listed += struct.pack("<Q", len(encoded)) + encoded
    return HEADER + struct.pack("<Q", len(arrays)) + body + struct.pack("<Q", len(names)) + listed


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def ramp(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.arange(math.prod(shape)).reshape(shape).astype(dtype)


def small_file(version: str = "V2") -> bytes:
    arrays = [Raw(ramp(4, 3, 3, 3), version), Raw(ramp(4), version)]
    return pack(arrays, ["arg:conv0_weight", "aux:batchnorm0_running_mean"])


SEEDS = [
    *(small_file(version) for version in VERSIONS),
    zipped({"net.params": small_file()}),
    zipped({"net.params": small_file("legacy")}, zipfile.ZIP_STORED),
]
