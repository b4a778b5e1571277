"""MMEngine's runner with its log in a file, and nothing on the screen."""

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
    """A runner that logs to ``log.txt`` in its work folder, going on with the file it finds.

    Full disks, memory that runs out and killed loader workers are :class:`UserError` sentences.
    """

    def train(self) -> Any:
        """Train; see :func:`backbones.runtime.faults.explained`.

        However it ends, the process has the threads afterwards that it had before.
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
        """MMEngine's logger without the screen."""
        log_file = str(Path(self.work_dir) / "log.txt")
        logger = super().build_logger(log_level, log_file, **options)
        logger.handlers[:] = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
        for handler in logger.handlers:
            handler.handleError = _tell_once(log_file)
            handler.setFormatter(_Escaped(handler.formatter))
        logging.captureWarnings(True)  # libraries' warnings belong in the log too
        logging.getLogger("py.warnings").handlers[:] = logger.handlers
        return logger

    def _log_env(self, env_cfg: dict) -> None:
        """Log nothing: the record tells the environment, without running compilers."""

    def wrap_model(self, model_wrapper_cfg: dict | None, model: Any) -> Any:
        """As MMEngine does it, which takes for granted that processes have GPUs."""
        if self.distributed and model_wrapper_cfg is None and not torch.cuda.is_available():
            model_wrapper_cfg = {"broadcast_buffers": False, "device_ids": None}
        return super().wrap_model(model_wrapper_cfg, model)

    @master_only
    def dump_config(self) -> None:
        """Write ``config.json``; formatting it as Python takes MMEngine seconds, three times."""
        self.cfg.dump(str(Path(self.work_dir) / "config.json"))


@HOOKS.register_module()
class OneModel(Hook):
    """Processes evaluate what process 0 will keep: its running statistics of batch norms too."""

    def before_val(self, runner: Any) -> None:
        """Let all have the buffers of process 0."""
        ranks.take_from_main(runner.model.buffers())


class _Escaped(logging.Formatter):
    """Another formatter's lines without control characters, which strangers' names may have."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return terminal(self._inner.format(record))


def _tell_once(log_file: str) -> Callable[[logging.LogRecord], None]:
    """Says that a log cannot be written, once: a disk that is full of states has no room for it.

    A training is worth more than its log, and goes on.
    """
    told: list[bool] = []

    def tell(_: logging.LogRecord) -> None:
        if not told:
            told.append(True)
            reason = sys.exc_info()[1]
            with contextlib.suppress(OSError):
                print(f"the log '{log_file}' cannot be written ({reason})", file=sys.stderr)

    return tell


@HOOKS.register_module()
class RunInfo(RuntimeInfoHook):
    """MMEngine's hook, without the config as formatted Python: a second before each phase.

    It waits for no GPU, so that the hub knows of losses a step later there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._late = LateScalars()

    def before_run(self, runner: Any) -> None:
        """Tell the message hub what is run."""
        told = {"seed": runner.seed, "experiment_name": runner.experiment_name}
        runner.message_hub.update_info_dict(told)
        self.last_loop_stage = None

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Tell the hub the losses that are known."""
        for _, losses in self._late.add(None, outputs or {}):
            super().after_train_iter(runner, batch_idx, data_batch, losses)

    def after_train(self, runner: Any) -> None:
        """Tell it the last ones."""
        for _, losses in self._late.flush():
            super().after_train_iter(runner, 0, None, losses)
        super().after_train(runner)


@VISUALIZERS.register_module()
class NoFigure(Visualizer):
    """MMEngine's visualiser with no place to write to, and so without matplotlib's start-up."""

    def __init__(self, name: str, **_: Any) -> None:
        ManagerMixin.__init__(self, name)
        self._dataset_meta: dict | None = None
        self._vis_backends: dict = {}


def quiet_runner(
    *, seed: int, default_hooks: dict[str, Any] | None = None, **settings: Any
) -> QuietRunner:
    """Build a runner.

    Args:
        seed: Of all its draws.
        default_hooks: In the place of MMEngine's of the same names.
        settings: Further arguments of MMEngine's ``Runner``.
    """
    # These are the process's, which may run one training after another; MMEngine only ever turns
    # the first one on.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    torch.backends.cudnn.benchmark = bool(settings.get("env_cfg", {}).get("cudnn_benchmark"))
    freeze_what_is_imported()
    # Loggers and message hubs are global by name; a name of its own keeps runs apart.
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
