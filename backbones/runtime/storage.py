"""Copies of checkpoints at any address that fsspec supports, in case a machine is lost."""

from __future__ import annotations

import contextlib
from pathlib import Path

import fsspec
from mmengine.logging import print_log

from backbones.common.errors import UserError

# Storages raise their own exceptions: those of botocore, which s3fs lets through, derive from
# Exception only. So all are caught here; no failure of a copy may end a training.


def require_known(address: str) -> None:
    """Check that fsspec and the installed packages support an address.

    Raises:
        UserError: They do not; the message names the package to install, if there is one.
    """
    *around, last = address.split("::")  # a storage may be reached through others
    kinds = [part.partition("://")[0] for part in around]
    kinds += [last.partition("://")[0]] if "://" in last else []
    try:
        for kind in kinds:
            fsspec.get_filesystem_class(kind)
    except (ImportError, ValueError) as error:
        raise UserError(f"No checkpoint can be copied to '{address}': {error}.") from error


def keep(local: Path, address: str) -> None:
    """Copy a file to an address; a failure costs only the copy, never the training."""
    try:
        system, path = fsspec.core.url_to_fs(address)
        system.makedirs(system._parent(path), exist_ok=True)
        system.put_file(str(local), f"{path}.new")
        system.mv(f"{path}.new", path)
    except Exception as error:
        print_log(f"the checkpoint could not be copied to '{address}' ({error})", logger="current")


def fetch(address: str, local: Path) -> None:
    """Copy a file from an address, if it exists; the local file is replaced."""
    part = local.with_name(f"{local.name}.new")
    try:
        system, path = fsspec.core.url_to_fs(address)
        if not system.exists(path):
            return
        local.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(path, str(part))
        part.replace(local)
    except Exception as error:
        print_log(f"no checkpoint could be copied from '{address}' ({error})", logger="current")
        with contextlib.suppress(OSError):  # a partial file takes space that checkpoints need
            part.unlink(missing_ok=True)


def forget(address: str) -> None:
    """Remove the file at an address."""
    try:
        system, path = fsspec.core.url_to_fs(address)
        if system.exists(path):
            system.rm(path)
    except Exception as error:
        print_log(f"'{address}' could not be removed ({error})", logger="current")
