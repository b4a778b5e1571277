"""The origin of a record: machine, versions, commit."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

from backbones.common import hardware


def machine() -> dict[str, Any]:
    """CPU, cores and GPUs, without the machine's name."""
    return {
        "cpu": hardware.cpu_name(),
        "cores": hardware.cpu_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "gpus": list(hardware.cuda_names()),
    }


def git_state() -> dict[str, Any]:
    """Commit of this project's checkout and whether it has changes; empty outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {}
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "changed": changed}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
