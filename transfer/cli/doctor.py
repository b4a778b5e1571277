"""``transfer doctor``: one screen that shows what is installed and how to fix what is not."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shlex
import shutil
import socket
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from backbones.common import hardware
from backbones.common.errors import UserError
from backbones.common.resources import cache_dir, resource_dir
from transfer.cli.installed import BAD, NOTE, OK, Diagnosis, gpu, packages
from transfer.datasets import catalogue
from transfer.operators.families import provided
from transfer.plan.request import DEFAULT_DATA

_HUB_TIMEOUT = 3.0  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--data-root", type=Path, default=catalogue.default_data_root())


def run(args: argparse.Namespace) -> int:
    """Print the screen; 0 if everything needed is installed, else 1."""
    from rich.table import Table
    from rich.text import Text

    from backbones.common.screen import screen

    findings = examine(args.data_root)
    shown = Table(title="transfer doctor", title_justify="left")
    for name in ("", "state", "found", "what to do"):
        shown.add_column(name, overflow="fold")
    colour = {OK: "green", NOTE: "yellow", BAD: "red"}
    for finding in findings:
        state = Text(finding.state, style=colour[finding.state])
        shown.add_row(finding.what, state, finding.found, finding.advice)
    screen().print(shown)
    return int(any(finding.state == BAD for finding in findings))


def examine(data_root: Path) -> list[Diagnosis]:
    """Check everything and change nothing."""
    return [
        Diagnosis("Python", OK, platform.python_version()),
        *packages(),
        _operators(),
        _mim(),
        _processor(),
        gpu(),
        *(_data(name, data_root) for name in DEFAULT_DATA.values()),
        _hub(),
        _cache(),
        Diagnosis("configs", OK, str(resource_dir("configs", "configs"))),
    ]


def _operators() -> Diagnosis:
    if _compiled_operators():
        return Diagnosis("mmcv's operators", OK, "compiled")
    return Diagnosis("mmcv's operators", OK, f"not compiled; provided: {provided()}")


def _compiled_operators() -> bool:
    mmcv = importlib.util.find_spec("mmcv")
    places = mmcv.submodule_search_locations if mmcv else None
    return any(path for place in places or [] for path in Path(place).glob("_ext*.so"))


def _mim() -> Diagnosis:
    try:
        return Diagnosis("mim", OK, metadata.version("onedl-mim"))
    except metadata.PackageNotFoundError:
        return Diagnosis(
            "mim", NOTE, "not installed", "only for 'mim train': pip install -e '.[mim]'"
        )


def _processor() -> Diagnosis:
    fast = sorted(hardware.cpu_flags() & {"avx512_bf16", "amx_bf16"})
    cpu = f"{hardware.cpu_name()}, {hardware.cpu_cores()} cores"
    if fast:
        return Diagnosis("CPU", OK, f"{cpu}, bfloat16 in hardware ({', '.join(fast)})")
    return Diagnosis("CPU", OK, f"{cpu}, no bfloat16 in hardware: float32 is used")


def _data(name: str, data_root: Path) -> Diagnosis:
    lacking = catalogue.lack(name, data_root)
    if not lacking:
        return Diagnosis(name, OK, str(catalogue.load(name, data_root).root))
    return Diagnosis(
        name,
        NOTE,
        lacking,
        f"transfer prepare {name} --root {shlex.quote(str(data_root))}; "
        "without voc0712 and ade20k, the built-in sample is used",
    )


def _hub() -> Diagnosis:
    from huggingface_hub.constants import ENDPOINT

    unreachable = "pass weight files with --weights; the sample needs no download"
    try:
        address = urlsplit(ENDPOINT)
        place = (address.hostname, address.port or 443)
    except ValueError as error:
        return Diagnosis(
            "weights hub", NOTE, f"'{ENDPOINT}' is not a valid address ({error})", unreachable
        )
    proxy = getproxies().get(address.scheme)
    if proxy and not proxy_bypass(address.hostname or ""):
        return Diagnosis("weights hub", OK, f"not checked; it is behind the proxy {proxy}")
    try:
        with socket.create_connection(place, timeout=_HUB_TIMEOUT):
            return Diagnosis("weights hub", OK, "reachable")
    except OSError as error:
        return Diagnosis(
            "weights hub",
            NOTE,
            f"not reachable ({type(error).__name__})",
            unreachable,
        )


def _cache() -> Diagnosis:
    try:
        folder = cache_dir()
    except UserError as error:
        return Diagnosis("cache", BAD, "no home folder", str(error))
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free / 1e9
    if not place.is_dir() or not os.access(place, os.W_OK):
        return Diagnosis(
            "cache", BAD, f"{folder} is not writable", "set TRANSFER_CACHE to another folder"
        )
    return Diagnosis(
        "cache",
        OK if free > 2 else NOTE,
        f"{folder}, {free:.0f} GB free",
        "" if free > 2 else "free some space, or set TRANSFER_CACHE to another folder",
    )
