"""Loop, optimizer, schedule and hooks of a toolbox's own config, in a form that can resume."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict

from transfer.protocols.custom_keys import keep_parts_apart
from transfer.protocols.misfit import Misfit
from transfer.protocols.placement import kind_of

_UNITS = {"EpochBasedTrainLoop": "max_epochs", "IterBasedTrainLoop": "max_iters"}

_CHECKING_HOOKS = ("NumClassCheckHook", "CheckInvalidLossHook", "SeedIterations")
"""Hooks that change no result, and the one that every protocol has."""

_WRAPPERS = ("", "OptimWrapper", "AmpOptimWrapper")
"""Wrappers of optimizers that differ in the precision alone, which is the run's."""

_CONSTRUCTORS = (None, "DefaultOptimWrapperConstructor", "LayerDecay")
"""Constructors of optimizers that serve any backbone."""


def length_unit(cfg: Config) -> str:
    """``max_epochs`` or ``max_iters``, the unit of the training's length."""
    loop = cfg.get("train_cfg") or ConfigDict()
    kind = kind_of(loop)
    default = "max_epochs" if "max_epochs" in loop else "max_iters"
    unit = _UNITS.get(kind, "") if kind else default
    if not unit or unit not in loop:
        raise Misfit(
            "train_cfg",
            f"is {dict(loop)!r}, which states no length in epochs or iterations",
            'write train_cfg = dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=12)',
        )
    return unit


def adapt_training(cfg: Config) -> None:
    """Loop, optimizer, schedule and hooks in the form that can resume."""
    unit = length_unit(cfg)
    kind = next(loop for loop, of_loop in _UNITS.items() if of_loop == unit)
    cfg.train_cfg = ConfigDict({"type": kind, unit: cfg.train_cfg[unit]})
    wrapper = cfg.get("optim_wrapper") or ConfigDict()
    if "optimizer" not in wrapper:
        raise Misfit("optim_wrapper.optimizer", "is missing", "write one")
    if (kind := kind_of(wrapper)) not in _WRAPPERS:
        raise Misfit(
            "optim_wrapper.type",
            f"is {kind}, whose part of the training would be left out",
            'write type="OptimWrapper" there',
        )
    if (constructor := wrapper.get("constructor")) not in _CONSTRUCTORS:
        raise Misfit(
            "optim_wrapper.constructor",
            f"is {constructor}, which knows other backbones only",
            'write optim_wrapper = dict(constructor="LayerDecay", paramwise_cfg=dict('
            "_delete_=True, layer_decay=0.9)), which knows all backbones here, or "
            "dict(_delete_=True, optimizer=dict(…)) without a constructor",
        )
    for of_amp in ("loss_scale", "dtype"):  # the precision is the run's
        wrapper.pop(of_amp, None)
    wrapper.type = "OptimWrapper"
    keep_parts_apart(wrapper)
    schedule = cfg.get("param_scheduler")
    if not schedule:
        raise Misfit(
            "param_scheduler",
            "is missing",
            'write param_scheduler = [dict(type="ConstantLR", factor=1.0)], or another',
        )
    cfg.param_scheduler = [schedule] if isinstance(schedule, dict) else schedule
    own = int(cfg.train_dataloader.batch_size)
    stated = (cfg.get("auto_scale_lr") or {}).get("base_batch_size", own)
    cfg.auto_scale_lr = ConfigDict(enable=True, base_batch_size=int(stated))
    _check_hooks(cfg)
    cfg.custom_hooks = [ConfigDict(type="SeedIterations")]
    cfg.setdefault("env_cfg", ConfigDict())


def _check_hooks(cfg: Config) -> None:
    """Check that the hooks, which are left out, change no training."""
    for number, hook in enumerate(cfg.get("custom_hooks") or []):
        _check_hook(hook, f"custom_hooks.{number}", "custom_hooks = []")
    for name, hook in cfg.pop("default_hooks", {}).items():
        _check_hook(hook, f"default_hooks.{name}", f"default_hooks = dict({name}=None)")


def _check_hook(hook: ConfigDict, place: str, instead: str) -> None:
    if (kind := kind_of(hook)) not in _CHECKING_HOOKS:
        raise Misfit(
            place,
            f"is {kind}, whose part of the training a resumed run would lack",
            f"write {instead}",
        )
