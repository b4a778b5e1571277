"""Final weights of a finished cell, kept in its work folder for ``transfer show``."""

from __future__ import annotations

from pathlib import Path

from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from backbones.common.errors import UserError
from backbones.runtime.checkpoint import unwrapped

NAME = "weights.safetensors"


def keep(model: nn.Module, folder: Path) -> None:
    """Write a model's weights; if the disk is full, only the weights are lost, not the result."""
    part = folder / f"{NAME}.new"
    try:
        save_model(unwrapped(model), str(part))
        part.replace(folder / NAME)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        print_log(f"the final weights could not be saved ({error}), so predictions cannot be drawn")


def restore(model: nn.Module, folder: Path) -> None:
    """Load the weights that :func:`keep` wrote into a model.

    Raises:
        UserError: They are missing, damaged, or belong to another model.
    """
    path = folder / NAME
    if not path.is_file():
        raise UserError(
            f"The run's weights '{path}' do not exist: pass its work directory with "
            "--work-dir, or remove its record and run it again."
        )
    try:
        load_model(model, path)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(
            f"'{path}' does not hold the weights of this run ({error}); remove the run's record "
            "and run it again."
        ) from error
