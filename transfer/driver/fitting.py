"""``--jobs``: how many runs go side by side here, as asked for or as many as fit."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from backbones.common import cards, hardware
from backbones.common.errors import UserError
from backbones.runtime import child_processes
from transfer.driver.outlook import SMALL
from transfer.plan import probes
from transfer.plan.durations import Durations
from transfer.records.cells import Cell, Task
from transfer.records.wording import count
from transfer.scheduling.room import USABLE, Packing, Room

AUTO = "auto"
"""Of ``--jobs``: as many as fit."""

_SMALL_BYTES = 2 * 10**9  # peak memory of a run of SMALL, with the libraries
_CONTEXT_BYTES = 10**9  # of a process on a GPU, beside what torch allocates
_SPARE = 1.1  # of a recorded peak; another run of its kind may take more


def is_packed(args: argparse.Namespace) -> bool:
    """Whether several runs may share a GPU, as many as fit."""
    return args.jobs == AUTO and hardware.cuda_devices() > 0


def jobs_of(
    args: argparse.Namespace, tasks: Sequence[Task], durations: Durations | None = None
) -> int:
    """Number of runs side by side on this machine.

    Args:
        args: Options of the command.
        tasks: The runs.
        durations: What is known of them; without it, the most that ``auto`` can give.
    """
    gpus = hardware.cuda_devices()
    if is_packed(args):
        jobs = gpus * _most_on_a_card(tasks, durations)
    elif args.jobs in (None, AUTO):
        jobs = max(1, gpus or _jobs_of_the_sample(tasks))
    else:
        jobs = args.jobs
    return min(jobs, len(tasks))


def on_a_card(jobs: int) -> int:
    """Most runs on one card, given the number here; without GPUs, they share the machine."""
    return -(-jobs // max(1, hardware.cuda_devices()))


def room_of(args: argparse.Namespace, durations: Durations) -> Room:
    """The cards of this machine for the runs of a command."""
    packing = None
    if is_packed(args):
        packing = Packing(
            lambda cell: need_of(cell, durations), cards.look, takes_turns=not cards.mps_is_on()
        )
    return Room(hardware.cuda_devices(), packing)


def need_of(cell: Cell, durations: Durations) -> float | None:
    """Bytes that a run takes on its GPU, from recorded peaks; None if unknown."""
    estimate = durations.of(cell)
    if estimate is None or estimate.gpu_bytes is None:
        return None
    return _SPARE * estimate.gpu_bytes + _CONTEXT_BYTES


def learn_needs(tasks: Sequence[Task], durations: Durations, console: Console) -> None:
    """Probe a run of each kind whose memory no record tells, in another process.

    A probe that fails tells nothing: such a run has a card for itself, and reports its own fault.
    """
    with child_processes.pool(1) as one:
        for task in tasks:
            if need_of(task.cell, durations) is None:
                console.print(f"measuring {task.name}", highlight=False, soft_wrap=True)
                with suppress(UserError, BrokenProcessPool):
                    if found := probes.read(one.submit(_probe, task).result()):
                        durations.add_probes([found])


def sentence(jobs: int) -> str:
    """How runs share the GPUs of this machine, for people."""
    how = "compute together (MPS)" if cards.mps_is_on() else "take turns (MPS is off)"
    return f"up to {count(on_a_card(jobs), 'run')} on each GPU; they {how}"


def _probe(task: Task) -> Path:
    from transfer.finetune.probe import probe

    return probe(task)


def _most_on_a_card(tasks: Sequence[Task], durations: Durations | None) -> int:
    """The most runs that fit on one card by memory, if known, with a core for each."""
    gpus = hardware.cuda_devices()
    bounds = [hardware.cpu_cores() // gpus]
    if durations is not None:
        estimates = [durations.of(task.cell) for task in tasks]
        needs = [need_of(task.cell, durations) for task in tasks]
        looks = [found for number in range(gpus) if (found := cards.look(number))]
        known = [need for need in needs if need is not None]
        bounds.append(
            int(max(USABLE * found.total for found in looks) // min(known))
            if known and looks
            else 1
        )
        if peaks := [one.host_bytes for one in estimates if one and one.host_bytes]:
            bounds.append(int(hardware.available_memory() // (max(peaks) * gpus)))
    return max(1, min(bounds))


def _jobs_of_the_sample(tasks: Sequence[Task]) -> int:
    """Runs of the sample that this machine can hold without a GPU; 1 if others are among them."""
    if any((task.cell.data, task.cell.protocol) != SMALL for task in tasks):
        return 1
    return min(hardware.cpu_cores(), hardware.available_memory() // _SMALL_BYTES)
