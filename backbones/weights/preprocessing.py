"""The preprocessing that a classifier was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm

from backbones.common.errors import UserError
from backbones.zoo.entry import PerChannel

_PIXEL_RANGE = 255.0


def preprocessing(
    own: dict[str, Any],
    *,
    mean: PerChannel | None,
    std: PerChannel | None,
    sources: Sequence[str],
    architecture: str,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, RGB, 0 to 255.

    They are the file's own, the given ones, or timm's for the first of its weights among the
    sources, else for the network.

    Args:
        own: The metadata of the weights' file.
        mean: Channel means, 0 to 1; None if not stated.
        std: Channel standard deviations, likewise.
        sources: The weights and, in case they are a file without metadata, the row's public ones.
        architecture: timm's name of the network.

    Raises:
        UserError: They are unknown.
    """
    if "mean" in own and "std" in own:
        return tuple(own["mean"]), tuple(own["std"])
    if mean is None or std is None:
        names = [s.removeprefix("timm:") for s in sources if s.startswith("timm:")]
        config = timm.get_pretrained_cfg([*names, architecture][0])
        if config is None:
            raise UserError(
                f"timm has no preprocessing for '{sources[0]}'; set mean and std in a .toml file."
            )
        return _scaled(mean or config.mean), _scaled(std or config.std)
    return _scaled(mean), _scaled(std)


def _scaled(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(_PIXEL_RANGE * value for value in values)
