"""A copy of a training's state at any address that fsspec knows, for when its machine is lost."""

from __future__ import annotations

import contextlib
from pathlib import Path

import fsspec
from mmengine.logging import print_log

from backbones.common.errors import UserError

# Storages fail with exceptions of their own: botocore's, which s3fs lets through, derive from
# Exception only. So every one is caught here; no fault of a copy may end a training.


def require_known(address: str) -> None:
    """See that an address is of a kind that fsspec and what is installed beside it know.

    Raises:
        UserError: It is not; the sentence names what is to be installed where that helps.
    """
    *around, last = address.split("::")  # one storage may be reached through others
    kinds = [part.partition("://")[0] for part in around]
    kinds += [last.partition("://")[0]] if "://" in last else []
    try:
        for kind in kinds:
            fsspec.get_filesystem_class(kind)
    except (ImportError, ValueError) as error:
        raise UserError(f"No state can be copied to '{address}': {error}.") from error


def keep(local: Path, address: str) -> None:
    """Copy a file to an address; a storage that fails costs the copy, never the training."""
    try:
        system, path = fsspec.core.url_to_fs(address)
        system.makedirs(system._parent(path), exist_ok=True)
        system.put_file(str(local), f"{path}.new")
        system.mv(f"{path}.new", path)
    except Exception as error:
        print_log(f"the state could not be copied to '{address}' ({error})", logger="current")


def fetch(address: str, local: Path) -> None:
    """Copy a file from an address, where there is one; the file here is replaced."""
    part = local.with_name(f"{local.name}.new")
    try:
        system, path = fsspec.core.url_to_fs(address)
        if not system.exists(path):
            return
        local.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(path, str(part))
        part.replace(local)
    except Exception as error:
        print_log(f"no state could be had from '{address}' ({error})", logger="current")
        with contextlib.suppress(OSError):  # a part takes room that states need
            part.unlink(missing_ok=True)


def forget(address: str) -> None:
    """Remove what is at an address."""
    try:
        system, path = fsspec.core.url_to_fs(address)
        if system.exists(path):
            system.rm(path)
    except Exception as error:
        print_log(f"'{address}' could not be removed ({error})", logger="current")
