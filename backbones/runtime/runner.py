"""MMEngine's runner with its log in a file and no output on the terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook, RuntimeInfoHook
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS, VISUALIZERS
from mmengine.runner import Runner
from mmengine.utils import ManagerMixin
from mmengine.visualization import Visualizer

from backbones.common.escape import terminal
from backbones.runtime import loader_workers, ranks
from backbones.runtime.allocation import freeze_what_is_imported
from backbones.runtime.faults import explained
from backbones.runtime.late_scalars import LateScalars
from backbones.runtime.precision import evaluation_loop

_numbers = count(1)


class QuietRunner(Runner):
    """A runner that logs to ``log.txt`` in its work directory, appending to an existing file.

    Full disks, exhausted memory and killed loader workers raise :class:`UserError`.
    """

    def train(self) -> Any:
        """Train; see :func:`backbones.runtime.faults.explained`.

        Afterwards the process has its original number of threads.
        """
        threads = torch.get_num_threads()
        try:
            with explained(self):
                return super().train()
        finally:
            torch.set_num_threads(threads)

    def val(self) -> Any:
        """Evaluate; likewise."""
        with explained(self):
            return super().val()

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **options: Any) -> Any:
        """MMEngine's loader; see :func:`backbones.runtime.loader_workers.guard`."""
        return loader_workers.guard(Runner.build_dataloader(dataloader, *args, **options))

    def build_logger(self, log_level: int | str = "INFO", *_: Any, **options: Any) -> MMLogger:
        """MMEngine's logger without terminal output."""
        log_file = str(Path(self.work_dir) / "log.txt")
        logger = super().build_logger(log_level, log_file, **options)
        logger.handlers[:] = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
        for handler in logger.handlers:
            handler.handleError = _report_once(log_file)
            handler.setFormatter(_Escaped(handler.formatter))
        logging.captureWarnings(True)  # warnings of libraries also belong in the log
        logging.getLogger("py.warnings").handlers[:] = logger.handlers
        return logger

    def _log_env(self, env_cfg: dict) -> None:
        """Log nothing: the record has the environment, and MMEngine would run compilers."""

    def wrap_model(self, model_wrapper_cfg: dict | None, model: Any) -> Any:
        """Like MMEngine, which assumes that processes have GPUs."""
        if self.distributed and model_wrapper_cfg is None and not torch.cuda.is_available():
            model_wrapper_cfg = {"broadcast_buffers": False, "device_ids": None}
        return super().wrap_model(model_wrapper_cfg, model)

    @master_only
    def dump_config(self) -> None:
        """Write ``config.json``; MMEngine would format it as Python three times, for seconds."""
        self.cfg.dump(str(Path(self.work_dir) / "config.json"))


@HOOKS.register_module()
class OneModel(Hook):
    """All processes evaluate the model of process 0, with its batch norm statistics."""

    def before_val(self, runner: Any) -> None:
        """Copy the buffers of process 0 to all."""
        ranks.take_from_main(runner.model.buffers())


class _Escaped(logging.Formatter):
    """Another formatter's lines without control characters, which strangers' names may have."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return terminal(self._inner.format(record))


def _report_once(log_file: str) -> Callable[[logging.LogRecord], None]:
    """Report once that a log cannot be written, for example on a full disk.

    The training continues without a log.
    """
    reported: list[bool] = []

    def report(_: logging.LogRecord) -> None:
        if not reported:
            reported.append(True)
            reason = sys.exc_info()[1]
            with contextlib.suppress(OSError):
                print(f"the log '{log_file}' cannot be written ({reason})", file=sys.stderr)

    return report


@HOOKS.register_module()
class RunInfo(RuntimeInfoHook):
    """MMEngine's hook without formatting the config as Python, which takes a second per phase.

    It does not wait for a GPU, so the message hub gets losses one step later.
    """

    def __init__(self) -> None:
        super().__init__()
        self._late = LateScalars()

    def before_run(self, runner: Any) -> None:
        """Send the description of the run to the message hub."""
        info = {"seed": runner.seed, "experiment_name": runner.experiment_name}
        runner.message_hub.update_info_dict(info)
        self.last_loop_stage = None

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Send the available losses to the message hub."""
        for _, losses in self._late.add(None, outputs or {}):
            super().after_train_iter(runner, batch_idx, data_batch, losses)

    def after_train(self, runner: Any) -> None:
        """Send the last losses."""
        for _, losses in self._late.flush():
            super().after_train_iter(runner, 0, None, losses)
        super().after_train(runner)


@VISUALIZERS.register_module()
class NoFigure(Visualizer):
    """MMEngine's visualiser without backends, which avoids importing matplotlib."""

    def __init__(self, name: str, **_: Any) -> None:
        ManagerMixin.__init__(self, name)
        self._dataset_meta: dict | None = None
        self._vis_backends: dict = {}


def quiet_runner(
    *, seed: int, default_hooks: dict[str, Any] | None = None, **settings: Any
) -> QuietRunner:
    """Build a runner.

    Args:
        seed: Seed of all random draws.
        default_hooks: Replacements for MMEngine's hooks of the same names.
        settings: Further arguments of MMEngine's ``Runner``.
    """
    # These belong to the process, which may run several trainings; MMEngine only ever turns the
    # first one on.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    torch.backends.cudnn.benchmark = bool(settings.get("env_cfg", {}).get("cudnn_benchmark"))
    freeze_what_is_imported()
    # Loggers and message hubs are global by name; unique names separate runs.
    name = f"run-{next(_numbers)}"
    silent = {"visualizer": {"type": "NoFigure"}}
    if settings.get("val_cfg") is not None:
        settings["val_cfg"] = evaluation_loop(settings["val_cfg"], settings["optim_wrapper"])
    return QuietRunner(
        randomness={"seed": seed},
        experiment_name=name,
        default_hooks={
            "runtime_info": {"type": "RunInfo"},
            "one_model": {"type": "OneModel"},
            "dead_readers": {"type": "DeadReaders"},
            **(default_hooks or {}),
        },
        launcher=ranks.launcher(),
        **{**silent, **settings},
    )
