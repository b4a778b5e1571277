"""Training states that hold tensors and plain data only, written so that one is always whole.

MMEngine's own checkpoints hold objects and so cannot be read with ``weights_only``; its resume
forgets the random state and replays the loader. Here the draws follow from the iteration
(:mod:`backbones.runtime.randomness`), so that the iteration is all that has to be remembered.
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

from backbones.common.errors import UserError
from backbones.common.torch_file import read_torch_file
from backbones.runtime import ranks, stopping, storage
from backbones.runtime.state_files import COPY, LATEST, PREVIOUS
from backbones.runtime.stopping import Interrupted

# What torch's and MMEngine's parts raise when they are given the state of something else.
_MISFITS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@HOOKS.register_module()
class ResumableState(Hook):
    """Saves the training's state every few minutes, and restores it before training.

    The state is taken at the start of an iteration: schedulers have stepped, evaluations are done,
    and no gradient is being accumulated.

    Args:
        folder: Where the state is kept.
        identity: What is being trained; a state of something else is not resumed.
        minutes: Time between two savings.
        copy: Address for a copy of the last state, as fsspec knows it; empty for none.

    Attributes:
        stop_requested: Set it to save at the next iteration and leave with :class:`Interrupted`.
        saved_iteration: Of the last state that was saved or resumed; None before there is one.
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
        """Go on from the last whole state, if there is one."""
        state = ranks.on_main(self._last)
        if state is None:
            return
        try:
            _restore(runner, state)
        except _MISFITS as error:
            raise UserError(
                f"The state in '{self.folder}' is not one of this training ({error}): somebody "
                "else has written it. Remove the folder and run again to start anew."
            ) from error
        self.saved_iteration = state["iteration"]
        loop = runner.train_loop
        runner.optim_wrapper.initialize_count_status(runner.model, loop.iter, loop.max_iters)
        print_log(f"resumed at iteration {loop.iter} of {loop.max_iters}", logger="current")

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Save when it is time, or when asked to stop; leave then, and when superseded."""
        asked = self.stop_requested or stopping.requested() or stopping.superseded()
        is_time = ranks.is_main() and time.monotonic() - self.saved_at >= self.seconds
        stop, is_time = ranks.any_of(asked, is_time)
        if not runner.optim_wrapper.should_update():
            return  # gradients are being accumulated over several iterations, and are not saved
        if stop or is_time:
            self._save(runner)
        if stop:
            stopping.require_ours()
            raise Interrupted(f"stopped at iteration {runner.iter}; run again to go on")

    def after_train(self, runner: Any) -> None:
        """Keep the finished training, so that a kill while evaluating costs the evaluation only.

        Without the optimiser's momenta, half of a state: there is no step left.
        """
        self._save(runner, finished=True)

    def after_val_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Leave the last evaluation when asked to stop; one on the way is finished first.

        Processes that evaluate together, each its own number of batches, finish the last one too:
        one that left would keep the others waiting.
        """
        if stopping.requested() and runner.iter >= runner.max_iters and ranks.world_size() == 1:
            raise Interrupted("stopped while evaluating; the finished training is saved")

    def _last(self) -> dict[str, Any] | None:
        """The last state that is whole, here or at the copy's address, whichever has come further.

        The training may have gone on elsewhere after it was here. A copy that is of no use costs
        no state that is here.
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
        """Save, unless the training is another's now, or has diverged.

        What is another's is left at the next iteration, by all processes together. A state without
        numbers helps nobody. All processes come here together: hooks may ask all of them for what
        they have to keep. The first one writes it, and the others wait: a scheduler may end all as
        soon as one has left. Hooks that have a ``require_sound`` may refuse what was trained.
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
        save_state(self.folder, state)
        self.saved_iteration = runner.iter
        if self.copy:
            storage.keep(self.folder / LATEST, self.copy)


def _is_finite(model: Any) -> bool:
    return all(bool(torch.isfinite(weight).all()) for weight in model.parameters())


def _restore(runner: Any, state: dict[str, Any]) -> None:
    """Give a runner's parts what was saved of them."""
    done, length = state["iteration"], runner.train_loop.max_iters
    if done > length:
        raise ValueError(f"it is at iteration {done} of {length}")
    unwrapped(runner.model).load_state_dict(state["model"])
    if state["optimizer"] is not None:
        runner.optim_wrapper.load_state_dict(state["optimizer"])
    elif done < length:
        raise ValueError("it has no momenta, and steps are left")
    for scheduler, saved in zip(runner.param_schedulers, state["schedulers"], strict=True):
        _require_alike(scheduler.state_dict(), saved)
        scheduler.load_state_dict(saved)
    for hook in runner.hooks:
        if name := getattr(hook, "state_name", ""):
            hook.load_state_dict(state["hooks"][name])
    runner.train_loop.go_to(done)


def _require_alike(own: dict[str, Any], saved: dict[str, Any]) -> None:
    """See that a schedule's saved entries are its own: they become its attributes unseen."""
    if {k: type(v) for k, v in own.items()} != {k: type(v) for k, v in saved.items()}:
        raise ValueError("its learning-rate schedule is another one")


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write a state beside the last one, read it back, and only then let it take its place.

    Raises:
        UserError: The folder cannot be written; the last state is untouched.
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
            f"The training's state could not be written to '{folder}' ({error}); the last whole "
            "one is kept. Make room or choose another --work-dir, and run again to go on."
        ) from error


def load_state(folder: Path, identity: str) -> dict[str, Any] | None:
    """The last whole state of this training, or None.

    A file that is cut short is passed over for the one before it. A file that holds code is never
    executed.
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
        print_log(f"passed over a state: {error}", logger="current", level=logging.WARNING)
        return None
    if not isinstance(state, dict) or state.get("identity") != identity:
        return None
    iteration = state.get("iteration")
    if type(iteration) is int and iteration >= 0:
        return state
    print_log(
        f"passed over a checkpoint: '{path}' gives the iteration as {str(iteration)[:80]!r}, which "
        "is none",
        logger="current",
        level=logging.WARNING,
    )
    return None


def unwrapped(model: Any) -> Any:
    """A model without what trains it on several devices."""
    return getattr(model, "module", model)
