"""``transfer doctor``: one screen that says what is here and what to do about what is not."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shlex
import shutil
import socket
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from backbones.common import hardware
from backbones.common.errors import UserError
from backbones.common.resources import cache_dir, resource_dir
from backbones.common.versions import versions
from transfer.datasets import catalogue
from transfer.plan.request import DEFAULT_DATA

_HUB_TIMEOUT = 3.0  # seconds
_OK, _NOTE, _BAD = "ok", "note", "missing"


@dataclass(frozen=True)
class Finding:
    """One line of the screen.

    Attributes:
        what: What was looked at.
        state: ``"ok"``, ``"note"`` or ``"missing"``.
        found: What was found.
        advice: What to do about it; empty where nothing has to be done.
    """

    what: str
    state: str
    found: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--data-root", type=Path, default=catalogue.default_data_root())


def run(args: argparse.Namespace) -> int:
    """Print the screen; 0 where everything that is needed is here, else 1."""
    from rich.table import Table
    from rich.text import Text

    from backbones.common.screen import screen

    findings = examine(args.data_root)
    shown = Table(title="transfer doctor", title_justify="left")
    for name in ("", "state", "found", "what to do"):
        shown.add_column(name, overflow="fold")
    colour = {_OK: "green", _NOTE: "yellow", _BAD: "red"}
    for finding in findings:
        state = Text(finding.state, style=colour[finding.state])
        shown.add_row(finding.what, state, finding.found, finding.advice)
    screen().print(shown)
    return int(any(finding.state == _BAD for finding in findings))


def examine(data_root: Path) -> list[Finding]:
    """Look at everything; nothing is changed."""
    return [
        Finding("Python", _OK, platform.python_version()),
        *_packages(),
        _operators(),
        _mim(),
        _processor(),
        _gpu(),
        *(_data(name, data_root) for name in DEFAULT_DATA.values()),
        _hub(),
        _cache(),
        Finding("configs", _OK, str(resource_dir("configs", "configs"))),
    ]


def _packages() -> list[Finding]:
    return [
        Finding(
            name,
            _OK if version != "not installed" else _BAD,
            version,
            "" if version != "not installed" else "pip install -e . in the checkout",
        )
        for name, version in versions().items()
        if name != "python"
    ]


def _operators() -> Finding:
    if _compiled_operators():
        return Finding("mmcv's operators", _OK, "compiled")
    return Finding("mmcv's operators", _OK, "not compiled: torchvision serves NMS and RoIAlign")


def _compiled_operators() -> bool:
    mmcv = importlib.util.find_spec("mmcv")
    places = mmcv.submodule_search_locations if mmcv else None
    return any(path for place in places or [] for path in Path(place).glob("_ext*.so"))


def _mim() -> Finding:
    try:
        return Finding("mim", _OK, metadata.version("onedl-mim"))
    except metadata.PackageNotFoundError:
        return Finding(
            "mim", _NOTE, "not installed", "only for 'mim train': pip install -e '.[mim]'"
        )


def _processor() -> Finding:
    fast = sorted(hardware.cpu_flags() & {"avx512_bf16", "amx_bf16"})
    told = f"{hardware.cpu_name()}, {hardware.cpu_cores()} cores"
    if fast:
        return Finding("CPU", _OK, f"{told}, bfloat16 in hardware ({', '.join(fast)})")
    return Finding("CPU", _OK, f"{told}, no bfloat16 in hardware: float32 is used")


def _gpu() -> Finding:
    count = hardware.cuda_devices()
    if count:
        return Finding("GPU", _OK, f"{count} CUDA device{'s' if count > 1 else ''}")
    return Finding(
        "GPU",
        _NOTE,
        "none that this torch can use",
        "protocol 'quick' runs without; 'paper' and 'openmmlab' want a GPU",
    )


def _data(name: str, data_root: Path) -> Finding:
    lacking = catalogue.lack(name, data_root)
    if not lacking:
        return Finding(name, _OK, str(catalogue.load(name, data_root).root))
    return Finding(
        name,
        _NOTE,
        lacking,
        f"transfer prepare {name} --root {shlex.quote(str(data_root))}; "
        "where neither voc0712 nor ade20k is there, the sample is used",
    )


def _hub() -> Finding:
    from huggingface_hub.constants import ENDPOINT

    unreachable = "give files with --weights; the sample needs no download"
    try:
        address = urlsplit(ENDPOINT)
        place = (address.hostname, address.port or 443)
    except ValueError as error:
        return Finding(
            "hub of weights", _NOTE, f"'{ENDPOINT}' is no address ({error})", unreachable
        )
    proxy = getproxies().get(address.scheme)
    if proxy and not proxy_bypass(address.hostname or ""):
        return Finding("hub of weights", _OK, f"not asked, it is behind the proxy {proxy}")
    try:
        with socket.create_connection(place, timeout=_HUB_TIMEOUT):
            return Finding("hub of weights", _OK, "reachable")
    except OSError as error:
        return Finding(
            "hub of weights",
            _NOTE,
            f"not reachable ({type(error).__name__})",
            unreachable,
        )


def _cache() -> Finding:
    try:
        folder = cache_dir()
    except UserError as error:
        return Finding("cache", _BAD, "no home folder", str(error))
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free / 1e9
    if not place.is_dir() or not os.access(place, os.W_OK):
        return Finding(
            "cache", _BAD, f"{folder} cannot be written", "set TRANSFER_CACHE to another folder"
        )
    return Finding(
        "cache",
        _OK if free > 2 else _NOTE,
        f"{folder}, {free:.0f} GB free",
        "" if free > 2 else "make room, or set TRANSFER_CACHE to another folder",
    )
