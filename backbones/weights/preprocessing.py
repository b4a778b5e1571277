"""The preprocessing that a classifier was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm

from backbones.common.errors import UserError
from backbones.zoo.entry import PerChannel, Variant

_PIXEL_RANGE = 255.0
_SAME = 0.5  # gray levels; the two usual means of ImageNet are less apart


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
    found = []
    for key, given in (("mean", mean), ("std", std)):
        if key in own:
            found.append(tuple(own[key]))
        else:
            found.append(_scaled(given or getattr(_config(sources, architecture), key)))
    return found[0], found[1]


def require_agreement(row: Variant, own: dict[str, Any], source: str) -> None:
    """Check that a user's row does not state another preprocessing than the weights' file.

    Args:
        row: The row; what it does not state cannot contradict.
        own: The metadata of the weights' file.
        source: The weights, for the message.

    Raises:
        UserError: The row's mean or standard deviation differs from the file's.
    """
    for key, stated in (("mean", row.mean), ("std", row.std)):
        if not row.own or stated is None or key not in own:
            continue
        pairs = zip(_scaled(stated), own[key], strict=True)
        if any(abs(of_row - of_file) > _SAME for of_row, of_file in pairs):
            shown = ", ".join(f"{value / _PIXEL_RANGE:.3f}" for value in own[key])
            raise UserError(
                f"'{row.name}' states the {key} {list(stated)}, but the metadata of its weights "
                f"'{source}' say [{shown}]. Remove '{key}' from the row's file to use the "
                "weights' own, or correct it."
            )


def _config(sources: Sequence[str], architecture: str) -> Any:
    names = [source.removeprefix("timm:") for source in sources if source.startswith("timm:")]
    config = timm.get_pretrained_cfg([*names, architecture][0])
    if config is None:
        raise UserError(
            f"timm has no preprocessing for '{sources[0]}'; set mean and std in a .toml file."
        )
    return config


def _scaled(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(_PIXEL_RANGE * value for value in values)
