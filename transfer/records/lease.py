"""Leases give each cell one owner, for drivers on one machine or on a shared disk.

The owner of a cell is the process that runs it. A file ``<cell>.<generation>.lease`` names the
owner; the file with the highest generation counts.

- **Taking.** A lease is written to a temporary file and hard-linked to its name, which succeeds for
  one process only, even on network disks. If the newest lease is free or its owner is dead, a
  process takes the cell by linking the next generation; if several try, one succeeds.
- **Death.** A lease names machine, boot, process and the start of the process. On the same machine
  the kernel is asked, so a killed owner is replaced immediately, and a new process with the same
  number is not mistaken for it. On other machines nothing can be asked: the owner touches the lease
  every :data:`BEAT_SECONDS`, and is considered dead when the file has not changed for
  :data:`PATIENCE_SECONDS` of the *watcher's* monotonic clock. Clocks are never compared, so a clock
  that is set back does no harm. If the watcher pauses, the silence starts again: a stalled server
  blocks both processes, and may serve the watcher first.
- **Release.** The leases of a finished cell are removed after its record is written: whoever takes
  the cell later finds the record and does nothing. The lease of an unfinished cell is marked free
  and stays, so that generations never restart and a slow process cannot take an old one. If the
  disk refuses both, the process retries at every beat; to itself the cell is free immediately.
- **Fencing.** An owner that was assumed dead (a suspended machine) sees at its next beat that its
  lease was superseded, and stops: a driver ends the worker, a training stops at its next step.
  Before a checkpoint, per-image results or a record is written, the lease is checked again.

File locks are not used: on shared disks they are missing, or local, more often than
hard links are.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from backbones.common.atomic_write import staged
from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.common.json_file import read_json
from backbones.common.regular_file import UnfitFile
from backbones.runtime import ranks, stopping

BEAT_SECONDS = 15.0
"""Interval at which an owner touches its lease."""

PATIENCE_SECONDS = 150.0
"""Silence after which an owner on another machine counts as dead; network disks are slow."""

_LONGEST_GAP = 1 / 3
"""Longest gap between two checks, as a part of the patience, that still counts as watching."""

_SUFFIX = ".lease"
_GENERATION = re.compile("[0-9]{3,9}")
_LAST_GENERATION = 999_999_999
_MAX_BYTES = 1 << 16
_LOOK_EVERY = 1.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process, unique over all machines.

    Attributes:
        host: Name of the machine, for people.
        machine: Identity of the running system: host, boot and process namespace.
        pid: Number of the process there.
        started: When it started, in the kernel's ticks since the boot; empty where unknown.
        free: Whether it has released the cell.
    """

    host: str
    machine: str
    pid: int
    started: str
    free: bool = False

    @classmethod
    def of(cls, pid: int) -> Owner:
        """The owner for a process of this machine."""
        return cls(
            host=platform.node(), machine=_this_machine(), pid=pid, started=_start_of(pid) or ""
        )

    @classmethod
    def read(cls, path: Path) -> Owner:
        """Read the owner in a lease.

        Raises:
            UserError: The file is not a lease.
            OSError: The file cannot be read.
        """
        content = read_json(path, _MAX_BYTES)
        kinds = {"host": str, "machine": str, "pid": int, "started": str, "free": bool}
        fits = isinstance(content, dict) and content.keys() <= kinds.keys()
        if not fits or any(type(value) is not kinds[name] for name, value in content.items()):
            raise UnfitFile(path, "is not a lease")
        try:
            return cls(**content)
        except TypeError as error:
            raise UnfitFile(path, "is not a lease") from error

    @property
    def on_this_machine(self) -> bool:
        """Whether this machine's kernel knows the process."""
        return self.machine == _this_machine()

    def runs(self) -> bool:
        """Whether the process, one of this machine, is alive."""
        started = _start_of(self.pid)
        return started is not None and started == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {brief(self.host)}"


class Lease:
    """Ownership of a cell, until it is released.

    Args:
        path: The lease's file.
        owner: The owner.

    Attributes:
        lost: Whether another owner has taken the cell.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path = path
        self.owner = owner
        self.lost = False
        _heart.hold(self)

    def finish(self) -> None:
        """Remove the leases of a cell that has its record."""
        _heart.drop(self)
        if not self.remove():
            _heart.owe(self.path, self.remove)

    def give_back(self) -> None:
        """Release an unfinished cell."""
        _heart.drop(self)
        if not self.mark_free():
            _heart.owe(self.path, self.mark_free)

    def remove(self) -> bool:
        """Remove this lease and older ones; False if the disk refuses.

        The newest goes last: while it exists nobody creates one of the same name, which a
        further attempt would remove.
        """
        name, own = _parse(self.path)
        try:
            os.stat(self.path)
            for path, generation in _generations(self.path.parent, name):
                if generation <= own:
                    path.unlink(missing_ok=True)
        except FileNotFoundError:  # another owner has taken and finished the cell
            return True
        except OSError:
            return False
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()
        return True

    def mark_free(self) -> bool:
        """Write that the cell can be taken; False where the disk does not take that."""
        try:
            os.stat(self.path)
            if not self._next().exists():
                _write_beside(self.path, replace(self.owner, free=True), os.replace)
        except FileNotFoundError:  # another owner has taken and finished the cell
            return True
        except OSError:
            return False
        return True

    def beat(self) -> bool:
        """Touch the lease; False if another owner has the cell."""
        try:
            os.utime(self.path)
            return not self._next().exists()
        except FileNotFoundError:
            return False
        except OSError:  # a disk that is briefly unavailable
            return True

    def superseded(self, look: bool = False) -> bool:
        """Whether another owner has taken the cell, by the last beat or a check of the disk."""
        if look and not self.beat():
            self.lost = True
        return self.lost

    def _next(self) -> Path:
        """The lease that the next owner would create.

        Checking one file is much cheaper than listing a folder, as a thousand owners would do.
        """
        name, own = _parse(self.path)
        return _path(self.path.parent, name, own + 1)


class _Heart:
    """Touches every lease of this process, in one thread.

    Attributes:
        held: Leases to touch.
        owed: Pending actions, by file, on leases that were released or finished while their file
            was not writable.
    """

    def __init__(self) -> None:
        self.held: set[Lease] = set()
        self.owed: dict[Path, Callable[[], bool]] = {}
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def hold(self, lease: Lease) -> None:
        """Start touching a lease."""
        with self.changed:
            self.held.add(lease)
            self._wake()

    def drop(self, lease: Lease) -> None:
        """Stop touching a lease."""
        with self.changed:
            self.held.discard(lease)
            self.changed.notify()

    def owe(self, path: Path, settle: Callable[[], bool]) -> None:
        """Free a lease's file when the disk allows; for this process it is free already."""
        with self.changed:
            self.owed[path] = settle
            self._wake()

    def forgive(self, path: Path) -> None:
        """Forget the pending action on a lease that this process has taken again."""
        with self.changed:
            self.owed.pop(path, None)

    def _wake(self) -> None:
        self.changed.notify()
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, daemon=True)
            self.thread.start()

    def _run(self) -> None:
        beaten = time.monotonic()
        while True:
            with self.changed:
                self.changed.wait(max(0.0, beaten + BEAT_SECONDS - time.monotonic()))
                held, owed = tuple(self.held), tuple(self.owed)
                if not held and not owed:
                    self.thread = None
                    return
            if time.monotonic() - beaten < BEAT_SECONDS:
                continue  # woken only by a change
            beaten = time.monotonic()
            for lease in held:
                with self.changed:  # one by one, so that releasing a lease need not wait for all
                    if lease in self.held:
                        lease.superseded(look=True)
            for path in owed:
                with self.changed:
                    if path in self.owed and self.owed[path]():
                        del self.owed[path]


_heart = _Heart()


@dataclass(frozen=True)
class _Sight:
    """Observations of another machine's lease, in seconds of the monotonic clock.

    Attributes:
        changed: Modification time of its file, by any clock.
        since: When that time was first seen without a long gap since.
        looked: Time of the last check.
    """

    changed: int
    since: float
    looked: float


class Leases:
    """The leases of a folder, with observations of other machines' beats.

    Args:
        folder: Their folder; created with the first lease.
        patience: Observed silence in seconds after which another machine's owner counts as
            dead.
    """

    def __init__(self, folder: Path, patience: float = PATIENCE_SECONDS) -> None:
        self.folder = folder
        self.patience = patience
        self._seen: dict[Path, _Sight] = {}

    def holder(self, name: str) -> Owner | None:
        """The owner of a cell; None if the cell is free."""
        newest = self._newest(name)
        return self._holder_of(newest[0]) if newest else None

    def take(self, name: str, pid: int | None = None) -> Lease | None:
        """Take a cell for a process of this machine.

        Args:
            name: Name of the cell.
            pid: The process that will run it; by default this one.

        Returns:
            The lease, or None if another process owns the cell.

        Raises:
            UserError: The folder is not writable, or a file in it has the last generation.
        """
        newest = self._newest(name)
        if newest and self._holder_of(newest[0]):
            return None
        generation = newest[1] + 1 if newest else 1
        if generation > _LAST_GENERATION:
            raise UserError(
                f"'{newest[0].absolute() if newest else self.folder}' is not a lease of this "
                "project: its number is too large. Remove the file and run again."
            )
        path = _path(self.folder, name, generation)
        owner = Owner.of(os.getpid() if pid is None else pid)
        if not self._link(path, owner):
            return None
        if newest:
            _heart.forgive(newest[0])
        return Lease(path, owner)

    def clear(self, name: str) -> None:
        """Remove the leases of a cell that has its record, unless a live process owns it.

        A kill between record and removal leaves some behind.
        """
        found = self._generations(name)
        if found and not self.holder(name):
            for path, _ in found:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def _link(self, path: Path, owner: Owner) -> bool:
        """Create a lease atomically; False if one with that name exists."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                _write_beside(path, owner, _link_or_know)
            except FileExistsError:
                return False
        except FileNotFoundError:
            return False  # another process has just removed the empty folder: try again
        except OSError as error:
            raise UserError(
                f"No cell can be taken in '{self.folder}' ({error.strerror}); the results folder "
                "and the work directory must be writable, on disks with hard links. Choose others "
                "with --results and --work-dir."
            ) from error
        return True

    def _newest(self, name: str) -> tuple[Path, int] | None:
        return next(reversed(self._generations(name)), None)

    def _generations(self, name: str) -> list[tuple[Path, int]]:
        try:
            return _generations(self.folder, name)
        except OSError:
            return []

    def _holder_of(self, path: Path) -> Owner | None:
        """A lease's owner, if it is alive and has not released the cell."""
        if path in _heart.owed:
            return None
        owner, changed = Owner(host="an unknown machine", machine="", pid=0, started=""), None
        try:
            changed = path.stat().st_mtime_ns
            owner = Owner.read(path)
        except FileNotFoundError:
            return None
        except (OSError, UserError):
            if changed is None:  # the disk is unavailable: this was not a check
                return owner
        if owner.free:
            return None
        if owner.on_this_machine:
            return owner if owner.runs() else None
        return owner if self._silence(path, changed) < self.patience else None

    def _silence(self, path: Path, changed: int) -> float:
        """Seconds of continuous observation without a change of the lease.

        Args:
            path: The lease's file.
            changed: Its modification time, by any clock.
        """
        now = time.monotonic()
        before = self._seen.get(path)
        silent = (
            before is not None
            and before.changed == changed
            and now - before.looked <= _LONGEST_GAP * self.patience
        )
        since = before.since if before and silent else now
        self._seen[path] = _Sight(changed, since, now)
        return now - since


def wait_for(
    leases: Leases, name: str, done: Callable[[], bool], tell: Callable[[str], None]
) -> Lease | None:
    """Take a cell for this process as soon as it is free.

    Args:
        leases: The folder's.
        name: Name of the cell.
        done: Returns whether the cell is finished.
        tell: Called once with the owner, if there is one.

    Returns:
        The lease, or None if another process has finished the cell.

    Raises:
        UserError: The folder is not writable.
        Interrupted: This process was asked to stop.
    """
    notified = False
    while not done():
        if lease := leases.take(name):
            if not done():
                return lease
            lease.finish()
            break
        holder = leases.holder(name)
        if holder and not notified:
            tell(f"waiting for {name}, which {holder} runs")
            notified = True
        if stopping.requested():
            raise stopping.Interrupted(f"stopped while waiting for {name}")
        time.sleep(_LOOK_EVERY)
    return None


@contextlib.contextmanager
def owned(lease: Lease) -> Iterator[Lease]:
    """Hold a lease; finish it on success, release it on failure.

    Trainings inside raise :class:`backbones.runtime.stopping.Superseded` if it is lost.
    """
    try:
        with stopping.fenced(lease.superseded):
            yield lease
    except BaseException:
        lease.give_back()
        raise
    lease.finish()


@contextlib.contextmanager
def owned_together(
    leases: Leases, name: str, done: Callable[[], bool], tell: Callable[[str], None]
) -> Iterator[bool]:
    """Hold a cell for all processes that train together; one of them manages the lease.

    Yields:
        Whether they own the cell; False if another driver has finished it.

    Raises:
        UserError: The folder is not writable.
        Interrupted: This process was asked to stop.
    """
    taken: list[Lease] = []

    def take() -> bool:
        if lease := wait_for(leases, name, done, tell):
            taken.append(lease)
        return bool(taken)

    ours = ranks.on_main(take)
    with owned(taken[0]) if taken else contextlib.nullcontext():
        yield ours


def _generations(folder: Path, name: str) -> list[tuple[Path, int]]:
    """The leases of a cell with their generations, the newest last.

    Raises:
        OSError: The folder cannot be listed.
    """
    names = [e for e in os.listdir(folder) if e.startswith(f"{name}.") and e.endswith(_SUFFIX)]
    parsed = [(folder / found, *_parse(folder / found)) for found in names]
    # A file without a generation is not a lease and is left alone.
    own = [(path, number) for path, of, number in parsed if of == name and number]
    return sorted(own, key=lambda one: one[1])


def _path(folder: Path, name: str, generation: int) -> Path:
    return folder / f"{name}.{generation:03d}{_SUFFIX}"


def _parse(path: Path) -> tuple[str, int]:
    """A lease's cell and generation; a foreign file's generation is 0."""
    name, _, generation = path.name.removesuffix(_SUFFIX).rpartition(".")
    return name, int(generation) if _GENERATION.fullmatch(generation) else 0


def _write_beside(path: Path, owner: Owner, put: Callable[[Path, Path], None]) -> None:
    """Write the lease to a temporary file and move it into place.

    It is not synced, which would take longer than everything else in scheduling a cell: a lease
    that a power failure truncates names no live process.
    """
    with staged(path) as (file, side):
        file.write(json.dumps(asdict(owner)).encode())
        file.flush()
        put(side, path)


def _link_or_know(side: Path, path: Path) -> None:
    """Link a lease to its name, and recognise one's own link.

    If a network disk's answer is lost, the system retries and reports that the name exists: it may
    be the link that this process asked for.
    """
    try:
        os.link(side, path)
    except FileExistsError:
        if not os.path.samefile(side, path):
            raise


@cache
def _this_machine() -> str:
    """Host, boot and process namespace: equal only if process numbers are comparable."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _start_of(pid: int) -> str | None:
    """Start of a process of this machine; None if it is not alive."""
    if not os.path.isdir("/proc/self"):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return ""
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    status, started = fields[0], fields[19]
    return None if status in "ZX" else started  # a zombie runs nothing
