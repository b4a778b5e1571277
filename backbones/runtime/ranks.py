"""Distributed training: the processes of a run, and how they agree.

``torchrun`` or Slurm starts and numbers the processes; MMEngine trains in them. This module adds
what a benchmark needs: the processes check that their versions agree, one of them decides and
writes for all, and if one fails, all end and its reason is reported once.

In a single process, every function acts directly, and torch is not imported.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

from backbones.common import hardware
from backbones.common.errors import UserError
from backbones.runtime.stopping import Interrupted

LAUNCHERS = ("auto", "none", "pytorch", "slurm")
ARRIVAL_SECONDS = 600.0
"""How long the processes wait for each other at the start."""

_PATIENCE = timedelta(days=30)  # a run of another driver may take long
_REASON_SECONDS = 3.0  # wait for the reason of a failed process
_RELEASE_SECONDS = 0.5
"""Pause in which gloo's threads free the tensors of the last collective.

For that they need the interpreter's lock, which the main thread holds while it destroys a group and
waits for them: with torch 2.6, both then wait for ever.
"""
_LOST = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "store")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Place:
    """The position of a process among those that were started together.

    Attributes:
        rank: Number of the process, from 0.
        of: Number of processes.
        local_rank: Its number on its machine.
        bound: Whether it is bound to its own GPU and sees no other.
    """

    rank: int = 0
    of: int = 1
    local_rank: int = 0
    bound: bool = False

    @property
    def device(self) -> int:
        """Number of its GPU among the visible ones."""
        return 0 if self.bound else self.local_rank


class ReportedElsewhere(UserError):
    """An error whose reason another process reports."""


@dataclass
class _Group:
    """The processes that this one belongs to.

    Attributes:
        place: Position of this process.
        store: Key-value store for messages outside of collectives; None in a single process.
        control: Process group for small agreements on the CPU; None in a single process.
    """

    place: Place = Place()
    store: Any = None
    control: Any = None


_group = _Group()


def place_of(launcher: str) -> Place:
    """The position of this process by its environment; ``auto`` detects only torchrun.

    Raises:
        UserError: The launcher did not start this process.
    """
    if launcher == "none" or (launcher == "auto" and not {"RANK", "WORLD_SIZE"} <= {*os.environ}):
        return Place()
    if launcher == "slurm":
        _set_torch_variables()
    try:
        rank, of, local = (int(os.environ[n]) for n in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError) as error:
        raise UserError(
            f"--launcher {launcher} found no {error} in the environment: start the command with "
            "'torchrun --nproc_per_node=N …', or with srun and --launcher slurm."
        ) from error
    place = Place(rank, of, local, bound=launcher == "slurm" and _is_bound())
    os.environ["LOCAL_RANK"] = str(place.device)  # MMEngine uses it as the number of the GPU
    return place


def rank() -> int:
    """Number of this process among those that train together, from 0."""
    return _group.place.rank


def world_size() -> int:
    """Processes that train together."""
    return _group.place.of


def launcher() -> str:
    """The launcher's name for MMEngine's runner."""
    return "pytorch" if _group.store else "none"


def is_main() -> bool:
    """Whether this process decides, prints and writes for all."""
    return _group.place.rank == 0


@contextmanager
def together(launcher: str, versions: Mapping[str, str]) -> Iterator[None]:
    """A context in which this process works with those that were started together.

    Args:
        launcher: One of :data:`LAUNCHERS`.
        versions: Versions of all packages; they must be equal in all processes.

    Raises:
        UserError: The processes cannot work together, or this process failed with one.
        ReportedElsewhere: Another process has failed.
    """
    global _group
    place = place_of(launcher)
    if place.of == 1:
        yield
        return
    _group = _Group(place)
    try:
        _join(_group, versions)
        yield
        if _group.control:
            on_each_machine(lambda: None)  # none exits while another still needs it
            _leave(together=True)
    except (ReportedElsewhere, Interrupted, KeyboardInterrupt):
        raise
    except UserError as error:
        _report(str(error))
        raise UserError(f"process {place.rank} of {place.of}: {error}") from error
    except Exception as error:
        reason = _reason_of_another()
        if reason:
            raise ReportedElsewhere(reason) from error
        if isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _LOST):
            raise ReportedElsewhere("another process ended without a message") from error
        _report(f"{type(error).__name__}: {error}")
        raise
    finally:
        _leave()
        _group = _Group()


def on_main(work: Callable[[], _T]) -> _T:
    """Run ``work`` in one process; all get its result, or the reason of its failure.

    Raises:
        UserError: As the work does; the others raise :class:`ReportedElsewhere`.
        Interrupted: As the work does, in all.
    """
    if _group.control is None:
        return work()
    tried, failed = _tried(work) if is_main() else (None, None)
    outcome = _broadcast(tried)
    if failed:
        raise failed
    return cast(_T, _given(outcome))


def on_each_machine(work: Callable[[], _T]) -> _T:
    """Run ``work`` in one process per machine, such as a download; all wait for it.

    Returns:
        The result on this machine.

    Raises:
        UserError: As the work does; processes elsewhere raise :class:`ReportedElsewhere`.
        Interrupted: As the work does, in all.
    """
    machine = socket.gethostname()
    tried, failed = _tried(work) if _group.place.local_rank == 0 else (None, None)
    outcomes = gathered((machine, tried))
    if failed:
        raise failed
    given = {where: _given(one) for where, one in outcomes if one}
    return cast(_T, given[machine])


def _tried(work: Callable[[], object]) -> tuple[tuple[str, Any], UserError | None]:
    """The outcome of some work, as sent to the other processes, and the failure itself."""
    try:
        return ("done", work()), None
    except Interrupted as error:
        return ("stopped", str(error)), None
    except UserError as error:
        return ("failed", str(error)), error


def _given(outcome: tuple[str, Any]) -> Any:
    """The result of work in another process, or its failure, raised."""
    kind, given = outcome
    if kind == "failed":
        raise ReportedElsewhere(given)
    if kind == "stopped":
        raise Interrupted(given)
    return given


def gathered(given: _T) -> list[_T]:
    """The values of all processes, by rank, in every process."""
    if _group.control is None:
        return [given]
    from torch import distributed

    found: list[Any] = [None] * world_size()
    distributed.all_gather_object(found, given, group=_group.control)
    return found


def any_of(*flags: bool) -> list[bool]:
    """For each flag, whether it is set in any process."""
    if _group.control is None:
        return [*flags]
    return [bool(count) for count in _sums([float(flag) for flag in flags])]


def means(values: dict[str, float]) -> dict[str, float]:
    """The mean of every value over the processes."""
    if _group.control is None:
        return values
    sums = _sums(list(values.values()))
    return {name: total / world_size() for name, total in zip(values, sums, strict=True)}


def take_from_main(tensors: Iterable[Any]) -> None:
    """Copy the values of process 0 into tensors, in place."""
    if _group.control is None:
        return
    from torch import distributed

    for tensor in tensors:
        here = tensor.detach().cpu()
        distributed.broadcast(here, src=0, group=_group.control)
        tensor.copy_(here)


def _sums(values: list[float]) -> list[float]:
    import torch
    from torch import distributed

    tensor = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(tensor, group=_group.control)
    return tensor.tolist()


def _broadcast(value: Any) -> Any:
    from torch import distributed

    box = [value]
    distributed.broadcast_object_list(box, src=0, group=_group.control)
    return box[0]


def _set_torch_variables() -> None:
    """Set the variables of torchrun from those of srun."""
    variables = {
        "RANK": "SLURM_PROCID",
        "WORLD_SIZE": "SLURM_NTASKS",
        "LOCAL_RANK": "SLURM_LOCALID",
    }
    for ours, theirs in variables.items():
        if theirs not in os.environ:
            raise UserError(f"--launcher slurm found no {theirs}: start the command with srun.")
        os.environ[ours] = os.environ[theirs]
    if "MASTER_ADDR" not in os.environ:
        nodes = os.environ.get("SLURM_JOB_NODELIST", "")
        try:
            listed = subprocess.run(
                ["scontrol", "show", "hostnames", nodes],
                capture_output=True, text=True, check=True,
            ).stdout.split()  # fmt: skip
            os.environ["MASTER_ADDR"] = listed[0]
        except (OSError, subprocess.SubprocessError, IndexError) as error:
            raise UserError(
                f"scontrol did not return the first node of '{nodes}' ({error!r}); set "
                "MASTER_ADDR to its name."
            ) from error
    job = int(os.environ.get("SLURM_JOB_ID", "0"))
    os.environ.setdefault("MASTER_PORT", str(20_000 + job % 40_000))


def _is_bound() -> bool:
    """Whether Slurm bound this task to one GPU, as ``--gpus-per-task=1`` does.

    A task that sees one GPU may also share it with all others of its machine. So it counts as bound
    only if Slurm's variables report GPUs per task, or more GPUs on the machine than it sees.
    Otherwise :func:`_require_gpu` refuses it.
    """
    if hardware.cuda_devices() != 1:
        return False
    variables = os.environ
    per_task = "SLURM_GPUS_PER_TASK" in variables or "gpu" in variables.get(
        "SLURM_TRES_PER_TASK", ""
    )
    return per_task or variables.get("SLURM_GPUS_ON_NODE", "1") not in ("", "0", "1")


def _join(group: _Group, versions: Mapping[str, str]) -> None:
    """Connect to the other processes, and check that all agree."""
    from torch import cuda, distributed

    place = group.place
    _require_gpu(place)
    group.store = _meet(place)
    _require_same(group.store, place, versions)
    if hardware.cuda_devices():
        cuda.set_device(place.device)
    distributed.init_process_group(
        "nccl" if hardware.cuda_devices() else "gloo",
        store=distributed.PrefixStore("training", group.store),
        rank=place.rank,
        world_size=place.of,
    )
    group.control = distributed.new_group(backend="gloo", timeout=_PATIENCE)


def _leave(together: bool = False) -> None:
    """Destroy the groups; NCCL's would wait for failed processes.

    Args:
        together: Whether all processes call this.
    """
    if _group.control is None:
        return
    from torch import distributed

    time.sleep(_RELEASE_SECONDS)
    distributed.destroy_process_group(_group.control)
    _group.control = None
    if together or distributed.get_backend() == "gloo":
        distributed.destroy_process_group()


def _require_gpu(place: Place) -> None:
    """Check that the process has its own GPU, if the machine has GPUs.

    Raises:
        UserError: There are fewer GPUs than processes.
    """
    gpus = hardware.cuda_devices()
    if gpus and place.device >= gpus:
        raise UserError(
            f"it needs GPU {place.device} of this machine, which has {gpus} (counted from "
            f"0): start {gpus} processes per machine, as with 'torchrun --nproc_per_node={gpus}', "
            "or let srun assign one to each with --gpus-per-task=1."
        )


def _meet(place: Place) -> Any:
    """The store that all processes share.

    Raises:
        UserError: It cannot be reached.
    """
    from torch import distributed

    host, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), os.environ.get("MASTER_PORT", "29500")
    served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    patience = timedelta(seconds=ARRIVAL_SECONDS)
    try:
        store = distributed.TCPStore(
            host, int(port), None, place.rank == 0 and not served, patience, False
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the processes cannot connect at {host}:{port} ({str(error).splitlines()[0]}); set "
            "MASTER_ADDR to the machine of process 0, and MASTER_PORT to a free port."
        ) from error
    # A launcher that restarts the processes after a failure has kept the store.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return distributed.PrefixStore(f"transfer-bench/{attempt}", store)


def _require_same(store: Any, place: Place, versions: Mapping[str, str]) -> None:
    """Check that all processes have the same versions.

    Raises:
        UserError: They differ, or a process did not arrive.
    """
    everyone = range(place.of)
    store.set(f"versions/{place.rank}", json.dumps(dict(versions)))
    try:
        reported = [json.loads(store.get(f"versions/{other}")) for other in everyone]
        store.set(f"seen/{place.rank}", "")
        if place.rank == 0:  # holds the store until all have read it
            store.wait([f"seen/{other}" for other in everyone])
    except RuntimeError as error:
        raise UserError(
            f"not all {place.of} processes arrived within {ARRIVAL_SECONDS:.0f} seconds, or one "
            "of them ended; see the output of the others."
        ) from error
    for other, theirs in enumerate(reported):
        if differing := difference(versions, theirs):
            raise UserError(
                f"versions differ: {differing} (here and in process {other}). Install the same "
                "versions in both; nothing was trained."
            )


def difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """The differences between two sets of versions; empty if there are none."""
    return ", ".join(
        f"{name} {ours.get(name, 'none')} and {theirs.get(name, 'none')}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    )


def _report(reason: str) -> None:
    """Report to the others why this process ends; only the first reason is kept."""
    if _group.store is None:
        return
    try:
        _group.store.compare_set("failure", "", f"{_group.place.rank} {reason}")
    except RuntimeError:  # the holder of the store has ended
        return


def _reason_of_another() -> str:
    """Why another process failed; empty if none has reported a failure."""
    until = time.monotonic() + _REASON_SECONDS
    while _group.store is not None and time.monotonic() < until:
        try:
            if _group.store.check(["failure"]):
                number, _, reason = _group.store.get("failure").decode().partition(" ")
                return "" if int(number) == _group.place.rank else f"process {number}: {reason}"
        except RuntimeError:
            return "another process ended, and the shared store with it"
        time.sleep(0.1)
    return ""
