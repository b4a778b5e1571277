"""Several processes that train one network together: who they are, and what they agree on.

``torchrun`` and Slurm start the processes and number them; MMEngine trains in them. This module
adds what a benchmark needs around that: the processes see to it that they have the same versions
before they begin, one of them decides and writes for all, and when one fails all end, with its
reason told once.

In a single process every function does its work at once, and torch is not imported.
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
"""How long processes wait for one another at the start."""

_PATIENCE = timedelta(days=30)  # a cell that another driver runs may take long
_REASON_SECONDS = 3.0  # for the reason of a process that has just failed
_LOST = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "store")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Place:
    """Where a process stands among those that were started together.

    Attributes:
        rank: Number of the process, from 0.
        of: Processes in all.
        local_rank: Its number on its machine.
        bound: Whether it was bound to a GPU of its own and sees no other.
    """

    rank: int = 0
    of: int = 1
    local_rank: int = 0
    bound: bool = False

    @property
    def device(self) -> int:
        """Number of its GPU among those that it sees."""
        return 0 if self.bound else self.local_rank


class ToldElsewhere(UserError):
    """An error whose reason another process tells."""


@dataclass
class _Group:
    """The processes that this one belongs to.

    Attributes:
        place: Of this process.
        store: What they tell one another outside of collectives; None in a single process.
        control: Group for small agreements, on the CPU; None in a single process.
    """

    place: Place = Place()
    store: Any = None
    control: Any = None


_group = _Group()


def place_of(launcher: str) -> Place:
    """What the environment says of this process; ``auto`` knows torchrun, nothing else.

    Raises:
        UserError: The launcher has not started this process.
    """
    if launcher == "none" or (launcher == "auto" and not {"RANK", "WORLD_SIZE"} <= {*os.environ}):
        return Place()
    if launcher == "slurm":
        _tell_torch_of_slurm()
    try:
        rank, of, local = (int(os.environ[n]) for n in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError) as error:
        raise UserError(
            f"--launcher {launcher} found no {error} in the environment: start the command with "
            "'torchrun --nproc_per_node=N …', or with srun and --launcher slurm."
        ) from error
    place = Place(rank, of, local, bound=launcher == "slurm" and _is_bound())
    os.environ["LOCAL_RANK"] = str(place.device)  # MMEngine takes it for the number of the GPU
    return place


def rank() -> int:
    """Number of this process among those that train together, from 0."""
    return _group.place.rank


def world_size() -> int:
    """Processes that train together."""
    return _group.place.of


def launcher() -> str:
    """What MMEngine's runner is told."""
    return "pytorch" if _group.store else "none"


def is_main() -> bool:
    """Whether this process decides, prints and writes for all."""
    return _group.place.rank == 0


@contextmanager
def together(launcher: str, versions: Mapping[str, str]) -> Iterator[None]:
    """While inside, this process is one of those that were started together.

    Args:
        launcher: One of :data:`LAUNCHERS`.
        versions: Of what takes part; must be the same in all.

    Raises:
        UserError: They cannot work together, or this process failed by something to be mended.
        ToldElsewhere: Another process has failed.
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
            on_each_machine(lambda: None)  # none leaves while another still needs it
            _leave(together=True)
    except (ToldElsewhere, Interrupted, KeyboardInterrupt):
        raise
    except UserError as error:
        _tell(str(error))
        raise UserError(f"process {place.rank} of {place.of}: {error}") from error
    except Exception as error:
        reason = _reason_of_another()
        if reason:
            raise ToldElsewhere(reason) from error
        if isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _LOST):
            raise ToldElsewhere("another process ended without a word") from error
        _tell(f"{type(error).__name__}: {error}")
        raise
    finally:
        _leave()
        _group = _Group()


def on_main(work: Callable[[], _T]) -> _T:
    """Let one process do something; all learn what it gave, or why it failed.

    Raises:
        UserError: As the work does; the others raise :class:`ToldElsewhere`.
        Interrupted: As the work does, in all.
    """
    if _group.control is None:
        return work()
    tried, failed = _tried(work) if is_main() else (None, None)
    told = _broadcast(tried)
    if failed:
        raise failed
    return cast(_T, _given(told))


def on_each_machine(work: Callable[[], _T]) -> _T:
    """Let one process of every machine do something, such as fetching a file; all wait for it.

    Returns:
        What the work has given on this machine.

    Raises:
        UserError: As the work does; processes elsewhere raise :class:`ToldElsewhere`.
        Interrupted: As the work does, in all.
    """
    machine = socket.gethostname()
    tried, failed = _tried(work) if _group.place.local_rank == 0 else (None, None)
    told = gathered((machine, tried))
    if failed:
        raise failed
    given = {where: _given(one) for where, one in told if one}
    return cast(_T, given[machine])


def _tried(work: Callable[[], object]) -> tuple[tuple[str, Any], UserError | None]:
    """What came of some work, as the other processes are told it, and the failure itself."""
    try:
        return ("done", work()), None
    except Interrupted as error:
        return ("stopped", str(error)), None
    except UserError as error:
        return ("failed", str(error)), error


def _given(told: tuple[str, Any]) -> Any:
    """What work has given by which another process was told of it; or that, raised."""
    kind, given = told
    if kind == "failed":
        raise ToldElsewhere(given)
    if kind == "stopped":
        raise Interrupted(given)
    return given


def gathered(given: _T) -> list[_T]:
    """What every process has given, by rank, in all of them."""
    if _group.control is None:
        return [given]
    from torch import distributed

    found: list[Any] = [None] * world_size()
    distributed.all_gather_object(found, given, group=_group.control)
    return found


def any_of(*flags: bool) -> list[bool]:
    """Of each flag, whether one of the processes says yes."""
    if _group.control is None:
        return [*flags]
    return [bool(count) for count in _sums([float(flag) for flag in flags])]


def means(values: dict[str, float]) -> dict[str, float]:
    """The mean of every figure over the processes."""
    if _group.control is None:
        return values
    sums = _sums(list(values.values()))
    return {name: total / world_size() for name, total in zip(values, sums, strict=True)}


def take_from_main(tensors: Iterable[Any]) -> None:
    """Give tensors the values that process 0 has, in place."""
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


def _broadcast(told: Any) -> Any:
    from torch import distributed

    box = [told]
    distributed.broadcast_object_list(box, src=0, group=_group.control)
    return box[0]


def _tell_torch_of_slurm() -> None:
    """What torchrun would have set, from what srun has."""
    told = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}
    for ours, theirs in told.items():
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
                f"The first node of '{nodes}' could not be asked from scontrol ({error!r}); set "
                "MASTER_ADDR to its name."
            ) from error
    job = int(os.environ.get("SLURM_JOB_ID", "0"))
    os.environ.setdefault("MASTER_PORT", str(20_000 + job % 40_000))


def _is_bound() -> bool:
    """Whether Slurm has bound this task to one GPU, as ``--gpus-per-task=1`` does.

    A task that sees one GPU may also share it with all others of its machine; what it sees is the
    same. So it counts as bound only where Slurm's variables tell of GPUs per task, or of more GPUs
    on the machine than it sees. Else it is refused as one that has no GPU, by :func:`_require_gpu`.
    """
    if hardware.cuda_devices() != 1:
        return False
    told = os.environ
    per_task = "SLURM_GPUS_PER_TASK" in told or "gpu" in told.get("SLURM_TRES_PER_TASK", "")
    return per_task or told.get("SLURM_GPUS_ON_NODE", "1") not in ("", "0", "1")


def _join(group: _Group, versions: Mapping[str, str]) -> None:
    """Meet the other processes, and be sure that they are of one kind."""
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
    """Take the groups apart; NCCL's would wait for those that have failed.

    Args:
        together: Whether all processes come here.
    """
    if _group.control is None:
        return
    from torch import distributed

    distributed.destroy_process_group(_group.control)
    _group.control = None
    if together or distributed.get_backend() == "gloo":
        distributed.destroy_process_group()


def _require_gpu(place: Place) -> None:
    """See that the process has a GPU of its own, on a machine that has any.

    Raises:
        UserError: There are fewer GPUs than processes.
    """
    gpus = hardware.cuda_devices()
    if gpus and place.device >= gpus:
        raise UserError(
            f"it asks for GPU {place.device} of this machine, which has {gpus} (counted from "
            f"0): start {gpus} processes a machine, as with 'torchrun --nproc_per_node={gpus}', or "
            "let srun give each its own with --gpus-per-task=1."
        )


def _meet(place: Place) -> Any:
    """The store that all processes reach.

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
            f"the processes cannot meet at {host}:{port} ({str(error).splitlines()[0]}); set "
            "MASTER_ADDR to the machine of process 0, and MASTER_PORT to a free port."
        ) from error
    # A launcher that starts the processes anew after a failure has kept the store.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return distributed.PrefixStore(f"transfer-bench/{attempt}", store)


def _require_same(store: Any, place: Place, versions: Mapping[str, str]) -> None:
    """See that all processes have the same versions.

    Raises:
        UserError: They have not, or one of them has not come.
    """
    everyone = range(place.of)
    store.set(f"versions/{place.rank}", json.dumps(dict(versions)))
    try:
        told = [json.loads(store.get(f"versions/{other}")) for other in everyone]
        store.set(f"seen/{place.rank}", "")
        if place.rank == 0:  # keeps the store until all have read it
            store.wait([f"seen/{other}" for other in everyone])
    except RuntimeError as error:
        raise UserError(
            f"not all {place.of} processes have come within {ARRIVAL_SECONDS:.0f} seconds, or one "
            "of them has ended; look at what the others printed."
        ) from error
    for other, theirs in enumerate(told):
        if differing := difference(versions, theirs):
            raise UserError(
                f"versions differ: {differing} (here and in process {other}). Install the same in "
                "both; nothing was trained."
            )


def difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """What differs between two lists of versions, both sides of it; empty where nothing does."""
    return ", ".join(
        f"{name} {ours.get(name, 'none')} and {theirs.get(name, 'none')}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    )


def _tell(reason: str) -> None:
    """Let the others know why this process ends; the first reason stays."""
    if _group.store is None:
        return
    try:
        _group.store.compare_set("failure", "", f"{_group.place.rank} {reason}")
    except RuntimeError:  # whoever keeps the store has ended
        return


def _reason_of_another() -> str:
    """Why another process has failed; empty where none has said so."""
    until = time.monotonic() + _REASON_SECONDS
    while _group.store is not None and time.monotonic() < until:
        try:
            if _group.store.check(["failure"]):
                number, _, reason = _group.store.get("failure").decode().partition(" ")
                return "" if int(number) == _group.place.rank else f"process {number}: {reason}"
        except RuntimeError:
            return "another process ended, and with it what they meet at"
        time.sleep(0.1)
    return ""
