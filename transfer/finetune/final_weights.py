"""The weights that a finished cell leaves in its work folder, for ``transfer show``."""

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
    """Write a model's weights; a disk without room costs the weights, never the cell's result."""
    part = folder / f"{NAME}.new"
    try:
        save_model(unwrapped(model), str(part))
        part.replace(folder / NAME)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        print_log(f"the final weights could not be kept ({error}); no picture can be made of them")


def restore(model: nn.Module, folder: Path) -> None:
    """Give a model the weights that :func:`keep` wrote.

    Raises:
        UserError: They are not there, damaged, or of another model.
    """
    path = folder / NAME
    if not path.is_file():
        raise UserError(
            f"The cell's weights '{path}' are not there: give the folder that it was run in with "
            "--work-dir, or remove its record and run it again."
        )
    try:
        load_model(model, path)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(
            f"'{path}' does not hold the weights of this cell ({error}); remove the cell's record "
            "and run it again."
        ) from error
