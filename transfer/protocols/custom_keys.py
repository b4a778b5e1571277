"""The keys of ``paramwise_cfg.custom_keys`` that name the backbone.

MMEngine applies a key to every parameter whose name contains it, and the longest such key wins.
"""

from __future__ import annotations

from collections.abc import Collection

from mmengine.config import Config, ConfigDict

from transfer.protocols.misfit import Misfit

_BACKBONE = "backbone"
_PARTS = "backbone.parts"
"""What ``TimmPyramid`` adds to a network: new, random parts like a neck's."""


def keep_parts_apart(wrapper: ConfigDict) -> None:
    """Leave the new parts of a backbone at the full learning rate where the key is ``backbone``.

    Args:
        wrapper: The config's ``optim_wrapper``, changed in place.
    """
    keys = (wrapper.get("paramwise_cfg") or {}).get("custom_keys") or {}
    if _BACKBONE in keys and not any(key.startswith(_PARTS) for key in keys):
        full = {"lr_mult": 1.0}
        if "weight_decay" in wrapper.optimizer:  # MMEngine refuses the other factor without it
            full["decay_mult"] = 1.0
        keys[_PARTS] = ConfigDict(full)


def require_matching(cfg: Config, parameters: Collection[str]) -> None:
    """Check that each key that names a part of the backbone names one of a row's.

    Args:
        cfg: A composed config.
        parameters: Names of the model's parameters.

    Raises:
        Misfit: One matches no parameter.
    """
    keys = (cfg.optim_wrapper.get("paramwise_cfg") or {}).get("custom_keys") or {}
    for key in keys:
        found = any(key in name for name in parameters)
        if key.startswith(f"{_BACKBONE}.") and key != _PARTS and not found:
            raise Misfit(
                f"optim_wrapper.paramwise_cfg.custom_keys: {key}",
                "names no parameter, because the row's network replaces the backbone",
                "leave the key out and write norm_decay_mult=0.0 for norms or "
                'constructor="LayerDecay" for layers (docs/protocols.md), or write the name that '
                "timm gives the part, after 'backbone.network.'",
            )
