"""Whether optimizer and loaders take the values that overrides give them.

They refuse a value only when a run builds them, or at its first step. Here they are built for a
single weight and a single image.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS, DefaultScope
from torch.utils.data import BatchSampler, DataLoader, TensorDataset

from backbones.common.errors import UserError
from backbones.common.escape import brief

_WITHOUT_NEGATIVE = ("optim_wrapper", "param_scheduler", "auto_scale_lr")
_OF_CONSTRUCTORS = ("constructor", "paramwise_cfg")
_OF_IMAGES = ("dataset", "sampler", "batch_sampler", "collate_fn", "worker_init_fn")


def require_not_negative(name: str, value: Any) -> None:
    """Check that an override gives optimizer or schedule no negative number.

    Raises:
        UserError: It does.
    """
    values = value if isinstance(value, tuple) else (value,)
    numbers = [one for one in values if isinstance(one, int | float)]
    if name.partition(".")[0] in _WITHOUT_NEGATIVE and any(number < 0 for number in numbers):
        raise UserError(
            f"The override '{name}' is {value!r}, but no number of optimizer and schedule may be "
            "negative; set 0 or more."
        )


def require_buildable(cfg: Config, names: list[str], place: str) -> None:
    """Check that optimizer and loaders can be built from overridden settings.

    Args:
        cfg: Composed config, with the overrides.
        names: Dotted names of the overrides.
        place: The protocol, for the message.

    Raises:
        UserError: One cannot, with the reason.
    """
    for part in ("optim_wrapper", "train_dataloader", "val_dataloader"):
        if not (changed := [name for name in names if name.startswith(f"{part}.")]):
            continue
        try:
            _step(cfg) if part == "optim_wrapper" else _load(cfg[part])
        except Exception as error:  # classes of torch and MMEngine may raise anything
            raise UserError(
                f"The '{part}' of {place} cannot be built with the overrides "
                f"{', '.join(changed)}: {brief(str(error))}. Correct or remove them."
            ) from error


def _step(cfg: Config) -> None:
    """Train one weight for one step."""
    weight = torch.nn.Parameter(torch.ones(1))
    settings = {k: v for k, v in cfg.optim_wrapper.items() if k not in _OF_CONSTRUCTORS}
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        optimizer = OPTIMIZERS.build({**settings["optimizer"], "params": [weight]})
        wrapper = OPTIM_WRAPPERS.build({**settings, "optimizer": optimizer})
        wrapper.update_params(weight.sum())


def _load(loader: dict[str, Any]) -> None:
    """Build a loader as MMEngine does, but of one number instead of images."""
    taken = set(inspect.signature(DataLoader).parameters) - set(_OF_IMAGES)
    settings = {name: value for name, value in loader.items() if name in taken}
    if loader.get("batch_sampler"):
        settings["batch_sampler"] = BatchSampler([0], settings.pop("batch_size"), drop_last=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of many workers; the run itself warns
        DataLoader(TensorDataset(torch.zeros(1)), **settings)
