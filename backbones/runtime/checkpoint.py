"""Checkpoints of tensors and plain data; at least one complete checkpoint always exists.

MMEngine's own checkpoints contain objects, so they cannot be read with ``weights_only``. Its resume
loses the random state and replays the loader. Here all draws follow from the iteration
(:mod:`backbones.runtime.randomness`), so a checkpoint needs only the iteration.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from torch import Tensor

from backbones.common.errors import UserError
from backbones.common.torch_file import read_torch_file
from backbones.runtime import ranks, stopping, storage
from backbones.runtime.state_files import COPY, LATEST, PREVIOUS
from backbones.runtime.stopping import Interrupted

# Exceptions of torch and MMEngine when they load the state of another object.
_MISFITS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@HOOKS.register_module()
class ResumableState(Hook):
    """Saves a checkpoint every few minutes, and resumes from it before training.

    It saves at the start of an iteration: schedulers have stepped, evaluations are complete, and no
    gradient is being accumulated.

    Args:
        folder: Folder of the checkpoints.
        identity: Identifies the training; checkpoints of others are not resumed.
        minutes: Checkpoint interval in minutes.
        copy: Address for a copy of the last checkpoint, in the form of fsspec; empty for none.

    Attributes:
        stop_requested: Set it to save at the next iteration and stop with :class:`Interrupted`.
        saved_iteration: Iteration of the last checkpoint that was saved or resumed; None if there
            is none.
    """

    priority = "HIGHEST"

    def __init__(self, folder: str, identity: str, minutes: float = 10.0, copy: str = "") -> None:
        self.folder = Path(folder)
        self.identity = identity
        self.copy = copy
        self.seconds = 60 * minutes
        self.saved_at = time.monotonic()
        self.stop_requested = False
        self.saved_iteration: int | None = None

    def before_train(self, runner: Any) -> None:
        """Resume from the last complete checkpoint, if there is one."""
        state = ranks.on_main(self._last)
        if state is None:
            return
        try:
            _restore(runner, state)
        except _MISFITS as error:
            raise UserError(
                f"The checkpoint in '{self.folder}' does not belong to this training ({error}). "
                "Remove the folder and run again to start from the beginning."
            ) from error
        self.saved_iteration = state["iteration"]
        loop = runner.train_loop
        runner.optim_wrapper.initialize_count_status(runner.model, loop.iter, loop.max_iters)
        print_log(f"resumed at iteration {loop.iter} of {loop.max_iters}", logger="current")

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Save at the interval or on a request to stop; stop on request or if superseded."""
        asked = self.stop_requested or stopping.requested() or stopping.superseded()
        is_time = ranks.is_main() and time.monotonic() - self.saved_at >= self.seconds
        stop, is_time = ranks.any_of(asked, is_time)
        if not runner.optim_wrapper.should_update():
            return  # accumulated gradients are not saved
        if stop or is_time:
            self._save(runner)
        if stop:
            stopping.require_ours()
            raise Interrupted(f"stopped at iteration {runner.iter}; run again to resume")

    def after_train(self, runner: Any) -> None:
        """Save the finished training, so that a kill during evaluation costs only the evaluation.

        The optimiser's momenta, half of a checkpoint, are left out: no step follows.
        """
        self._save(runner, finished=True)

    def after_val_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Stop in the last evaluation on request; evaluations during training are completed.

        Several processes also complete the last evaluation. Their numbers of batches differ, so a
        process that stopped would leave the others waiting.
        """
        if stopping.requested() and runner.iter >= runner.max_iters and ranks.world_size() == 1:
            raise Interrupted("stopped while evaluating; the finished training is saved")

    def _last(self) -> dict[str, Any] | None:
        """The last complete checkpoint, local or copied, whichever is further.

        The training may have continued on another machine. A useless copy does not replace a local
        checkpoint.
        """
        here = load_state(self.folder, self.identity)
        if not self.copy:
            return here
        fetched = self.folder / COPY
        storage.fetch(self.copy, fetched)
        there = _read_state(fetched, self.identity)
        if there is None or (here is not None and here["iteration"] >= there["iteration"]):
            fetched.unlink(missing_ok=True)
            return here
        os.replace(fetched, self.folder / LATEST)
        return there

    def _save(self, runner: Any, finished: bool = False) -> None:
        """Save, unless another process owns the training or it has diverged.

        If another process owns it, all processes stop together at the next iteration. A checkpoint
        with non-finite weights is useless. All processes call this together, because hooks may
        collect data from all of them. The first process writes, and the others wait, because a
        scheduler may end all as soon as one has exited. Hooks with a ``require_sound`` may refuse
        the result.
        """
        for hook in runner.hooks:
            if require_sound := getattr(hook, "require_sound", None):
                require_sound(runner)
        of_hooks = {
            hook.state_name: hook.state_dict()
            for hook in runner.hooks
            if getattr(hook, "state_name", "")
        }
        ranks.on_main(lambda: self._write(runner, finished, of_hooks))
        self.saved_at = time.monotonic()

    def _write(self, runner: Any, finished: bool, of_hooks: dict[str, Any]) -> None:
        if stopping.superseded(look=True) or not _is_finite(runner.model):
            return
        state = {
            "identity": self.identity,
            "iteration": runner.iter,
            "model": unwrapped(runner.model).state_dict(),
            "optimizer": None if finished else runner.optim_wrapper.state_dict(),
            "schedulers": [s.state_dict() for s in runner.param_schedulers],
            "hooks": of_hooks,
        }
        save_checkpoint(self.folder, state)
        self.saved_iteration = runner.iter
        if self.copy:
            storage.keep(self.folder / LATEST, self.copy)


def _is_finite(model: Any) -> bool:
    return all(bool(torch.isfinite(weight).all()) for weight in model.parameters())


def _restore(runner: Any, state: dict[str, Any]) -> None:
    """Restore the parts of a runner from a checkpoint."""
    done, length = state["iteration"], runner.train_loop.max_iters
    if done > length:
        raise ValueError(f"it is at iteration {done} of {length}")
    unwrapped(runner.model).load_state_dict(state["model"])
    if state["optimizer"] is not None:
        runner.optim_wrapper.load_state_dict(state["optimizer"])
    elif done < length:
        raise ValueError("it has no momenta, but steps remain")
    for scheduler, saved in zip(runner.param_schedulers, state["schedulers"], strict=True):
        _require_alike(scheduler.state_dict(), saved)
        scheduler.load_state_dict(saved)
    for hook in runner.hooks:
        if name := getattr(hook, "state_name", ""):
            hook.load_state_dict(state["hooks"][name])
    runner.train_loop.go_to(done)


def _require_alike(own: dict[str, Any], saved: dict[str, Any]) -> None:
    """Check the entries of a saved schedule, which become attributes without further checks."""
    if {k: type(v) for k, v in own.items()} != {k: type(v) for k, v in saved.items()}:
        raise ValueError("its learning-rate schedule differs")


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint beside the last one, read it back, and only then replace the last one.

    Raises:
        UserError: The folder cannot be written; the last checkpoint is unchanged.
    """
    new = folder / f"{LATEST}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with new.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        torch.load(new, map_location="cpu", weights_only=True, mmap=True)
        if (folder / LATEST).exists():
            os.replace(folder / LATEST, folder / PREVIOUS)
        os.replace(new, folder / LATEST)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise UserError(
            f"The checkpoint could not be written to '{folder}' ({error}); the last complete "
            "one is kept. Free some space or choose another --work-dir, and run again to resume."
        ) from error


def load_state(folder: Path, identity: str) -> dict[str, Any] | None:
    """The last complete checkpoint of this training, or None.

    If a file is truncated, the one before it is used. Code in a file is never executed.
    """
    states = (_read_state(folder / name, identity) for name in (LATEST, PREVIOUS))
    return next((state for state in states if state is not None), None)


def _read_state(path: Path, identity: str) -> dict[str, Any] | None:
    """A checkpoint of this training; None if there is none, or it cannot be resumed from."""
    if not path.exists():
        return None
    try:
        state = read_torch_file(path)
    except UserError as error:
        print_log(f"skipped a checkpoint: {error}", logger="current", level=logging.WARNING)
        return None
    if not isinstance(state, dict) or state.get("identity") != identity:
        return None
    iteration = state.get("iteration")
    fault = ""
    if type(iteration) is not int or not 0 <= iteration < 1 << 63:
        fault = "its iteration is not a number of steps"
    elif _claims_more(state):
        fault = "it has tensors of more values than it stores"
    if not fault:
        return state
    print_log(f"skipped '{path}': {fault}", logger="current", level=logging.WARNING)
    return None


def _claims_more(state: dict[str, Any]) -> bool:
    """Whether a tensor repeats stored values, so that a copy of it may need any memory."""
    left: list[Any] = [state]
    seen: set[int] = set()
    while left:
        part = left.pop()
        if isinstance(part, Tensor):
            is_plain = part.layout == torch.strided and part.device.type != "meta"
            stored = part.untyped_storage().nbytes() if is_plain else 0
            if part.numel() * part.element_size() > stored:
                return True
        elif isinstance(part, dict | list | tuple) and id(part) not in seen:
            seen.add(id(part))  # it may contain itself
            left += part.values() if isinstance(part, dict) else part
    return False


def unwrapped(model: Any) -> Any:
    """A model without its wrapper for several devices."""
    return getattr(model, "module", model)
