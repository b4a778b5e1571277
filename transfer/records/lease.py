"""One owner a cell: leases, for drivers on one machine or on a shared disk.

The owner of a cell is the process that runs it. What it owns stands in a file
``<cell>.<generation>.lease``, and the file with the highest generation counts.

- **Taking.** A lease is written to the side and linked to its name, which succeeds for one process
  only, on network disks too. A cell whose newest lease is free or whose owner is dead is taken by
  linking the next generation; of several processes that try, one succeeds.
- **Who is dead.** A lease names machine, boot, process and the process's start. On the same machine
  the kernel is asked, so that a killed owner is replaced at once and a process that inherited its
  number is not taken for it. Of another machine nothing can be asked: its owner touches the lease
  every :data:`BEAT_SECONDS`, and is dead when the file has not changed for :data:`PATIENCE_SECONDS`
  of the *watcher's* monotonic clock. No two clocks are compared, and a clock set back does no harm.
  Where the watcher did not look for a while the silence begins anew: a server that stalls keeps
  both from the disk, and may serve the watcher first.
- **Giving back.** A finished cell's leases are removed, after its record stands: whoever takes the
  cell later finds the record and does nothing. An unfinished cell's lease is marked free and stays,
  so that generations never start again and a slow process cannot take an old one. Where a disk
  takes neither, it is tried again at every beat; for this process the cell is free at once.
- **Fencing.** An owner that was held for dead (a suspended machine) sees at its next beat that its
  lease was superseded, and stops: a driver ends the worker, a training leaves at its next step.
  Before a state, a cell's outcomes or its record is written, the disk is asked again.

No lock of the file system is used: on shared disks they are missing, or local, more often than
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
from backbones.common.json_file import read_json
from backbones.common.regular_file import UnfitFile
from backbones.runtime import ranks, stopping

BEAT_SECONDS = 15.0
"""Time between two touches of a lease by its owner."""

PATIENCE_SECONDS = 150.0
"""Silence after which an owner on another machine is dead; network disks show changes late."""

_LONGEST_GAP = 1 / 3
"""Part of the patience: after a longer time between two looks nothing is known of it."""

_SUFFIX = ".lease"
_GENERATION = re.compile("[0-9]{3,9}")
_MAX_BYTES = 1 << 16
_LOOK_EVERY = 1.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process, told apart from every other on every machine.

    Attributes:
        host: Name of the machine, for people.
        machine: Identity of the running system: host, boot and process namespace.
        pid: Number of the process there.
        started: When it started, in the kernel's ticks since the boot; empty where unknown.
        free: Whether it has given the cell back.
    """

    host: str
    machine: str
    pid: int
    started: str
    free: bool = False

    @classmethod
    def of(cls, pid: int) -> Owner:
        """A process of this machine."""
        return cls(
            host=platform.node(), machine=_this_machine(), pid=pid, started=_start_of(pid) or ""
        )

    @classmethod
    def read(cls, path: Path) -> Owner:
        """Whom a lease names.

        Raises:
            UserError: It is no lease.
            OSError: It cannot be read.
        """
        content = read_json(path, _MAX_BYTES)
        kinds = {"host": str, "machine": str, "pid": int, "started": str, "free": bool}
        fits = isinstance(content, dict) and content.keys() <= kinds.keys()
        if not fits or any(type(value) is not kinds[name] for name, value in content.items()):
            raise UnfitFile(path, "is no lease")
        try:
            return cls(**content)
        except TypeError as error:
            raise UnfitFile(path, "is no lease") from error

    @property
    def on_this_machine(self) -> bool:
        """Whether the kernel here can be asked about it."""
        return self.machine == _this_machine()

    def runs(self) -> bool:
        """Whether a process of this machine is alive."""
        started = _start_of(self.pid)
        return started is not None and started == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Lease:
    """A cell that is owned, until it is given back.

    Args:
        path: The lease's file.
        owner: Who holds it.

    Attributes:
        lost: Whether another has taken the cell over.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path = path
        self.owner = owner
        self.lost = False
        _heart.hold(self)

    def finish(self) -> None:
        """The cell has its record: remove its leases."""
        _heart.drop(self)
        if not self.remove():
            _heart.owe(self.path, self.remove)

    def give_back(self) -> None:
        """The cell is not finished: let another have it."""
        _heart.drop(self)
        if not self.mark_free():
            _heart.owe(self.path, self.mark_free)

    def remove(self) -> bool:
        """Remove this lease and those before it; False where the disk does not take that.

        The newest goes last: as long as it stands nobody else makes one of its name, which a
        further attempt would remove.
        """
        name, own = _parse(self.path)
        try:
            os.stat(self.path)
            for generation in range(1, own + 1):
                _path(self.path.parent, name, generation).unlink(missing_ok=True)
        except FileNotFoundError:  # another has taken the cell over, and finished it
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
        except FileNotFoundError:  # another has taken the cell over, and finished it
            return True
        except OSError:
            return False
        return True

    def beat(self) -> bool:
        """Touch the lease; False when the cell is another's now."""
        try:
            os.utime(self.path)
            return not self._next().exists()
        except FileNotFoundError:
            return False
        except OSError:  # a disk that is away for a moment
            return True

    def superseded(self, look: bool = False) -> bool:
        """Whether another has taken the cell over, by the last beat or by a look at the disk."""
        if look and not self.beat():
            self.lost = True
        return self.lost

    def _next(self) -> Path:
        """What whoever takes the cell over links.

        One file to ask for, not a folder to list, which a thousand owners would do all the time.
        """
        name, own = _parse(self.path)
        return _path(self.path.parent, name, own + 1)


class _Heart:
    """Beats for every lease that this process holds, in one thread, however many they are.

    Attributes:
        held: Leases that are beaten for.
        owed: What is still to be done with leases that were given back or finished while their file
            could not be written, by that file.
    """

    def __init__(self) -> None:
        self.held: set[Lease] = set()
        self.owed: dict[Path, Callable[[], bool]] = {}
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def hold(self, lease: Lease) -> None:
        """Beat for a lease from now on."""
        with self.changed:
            self.held.add(lease)
            self._wake()

    def drop(self, lease: Lease) -> None:
        """Never beat for a lease again."""
        with self.changed:
            self.held.discard(lease)
            self.changed.notify()

    def owe(self, path: Path, settle: Callable[[], bool]) -> None:
        """Free a lease's file when the disk takes that; for this process it is free already."""
        with self.changed:
            self.owed[path] = settle
            self._wake()

    def forgive(self, path: Path) -> None:
        """A lease that is owed was taken over by this process: nobody need be told."""
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
                continue  # woken by a change only
            beaten = time.monotonic()
            for lease in held:
                with self.changed:  # one by one: who gives a lease back need not wait for all
                    if lease in self.held:
                        lease.superseded(look=True)
            for path in owed:
                with self.changed:
                    if path in self.owed and self.owed[path]():
                        del self.owed[path]


_heart = _Heart()


@dataclass(frozen=True)
class _Sight:
    """What was seen of another machine's lease; times in seconds of the monotonic clock.

    Attributes:
        changed: When its file was changed last, by whatever clock.
        since: When that was seen first, of the looks without a long gap.
        looked: When it was looked at last.
    """

    changed: int
    since: float
    looked: float


class Leases:
    """The leases of a folder, and what was seen of other machines' beats.

    Args:
        folder: Where they are; made when the first is taken.
        patience: Silence in seconds, looked at all along, after which another machine's owner is
            dead.
    """

    def __init__(self, folder: Path, patience: float = PATIENCE_SECONDS) -> None:
        self.folder = folder
        self.patience = patience
        self._seen: dict[Path, _Sight] = {}

    def holder(self, name: str) -> Owner | None:
        """Who owns a cell; None when it can be taken."""
        newest = self._newest(name)
        return self._holder_of(newest[0]) if newest else None

    def take(self, name: str, pid: int | None = None) -> Lease | None:
        """Take a cell for a process of this machine.

        Args:
            name: Of the cell.
            pid: The process that will run it; this one where none is given.

        Returns:
            The lease, or None when another owns the cell.

        Raises:
            UserError: The folder cannot be written.
        """
        newest = self._newest(name)
        if newest and self._holder_of(newest[0]):
            return None
        generation = newest[1] + 1 if newest else 1
        path = _path(self.folder, name, generation)
        owner = Owner.of(os.getpid() if pid is None else pid)
        if not self._link(path, owner):
            return None
        if newest:
            _heart.forgive(newest[0])
        return Lease(path, owner)

    def clear(self, name: str) -> None:
        """Remove the leases of a cell that has its record, unless somebody living owns it.

        Some are left where a kill came between record and removal.
        """
        found = _generations(self.folder, name)
        if found and not self.holder(name):
            for path, _ in sorted(found, key=lambda one: one[1]):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def _link(self, path: Path, owner: Owner) -> bool:
        """Make a lease whole and at once; False where there is one of that name."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                _write_beside(path, owner, _link_or_know)
            except FileExistsError:
                return False
        except FileNotFoundError:
            return False  # the last of the others has just removed the empty folder: try again
        except OSError as error:
            raise UserError(
                f"No cell can be taken in '{self.folder}' ({error.strerror}); the results folder "
                "and the work folder must be writable and their disks must know hard links. Choose "
                "others with --results and --work-dir."
            ) from error
        return True

    def _newest(self, name: str) -> tuple[Path, int] | None:
        return max(_generations(self.folder, name), key=lambda found: found[1], default=None)

    def _holder_of(self, path: Path) -> Owner | None:
        """A lease's owner if it lives, and has not given the cell back."""
        if path in _heart.owed:
            return None
        owner, changed = Owner(host="an unknown machine", machine="", pid=0, started=""), None
        try:
            changed = path.stat().st_mtime_ns
            owner = Owner.read(path)
        except FileNotFoundError:
            return None
        except (OSError, UserError):
            if changed is None:  # a disk that is away: this was no look
                return owner
        if owner.free:
            return None
        if owner.on_this_machine:
            return owner if owner.runs() else None
        return owner if self._silence(path, changed) < self.patience else None

    def _silence(self, path: Path, changed: int) -> float:
        """Seconds in which a lease was looked at all along and did not change.

        Args:
            path: The lease's file.
            changed: When it was changed last, by whatever clock.
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
    """Take a cell for this process as soon as nobody else has it.

    Args:
        leases: The folder's.
        name: Of the cell.
        done: Whether the cell is finished.
        tell: Told once who has it, where somebody does.

    Returns:
        The lease, or None when another has finished the cell.

    Raises:
        UserError: The folder cannot be written.
        Interrupted: This process was asked to stop.
    """
    told = False
    while not done():
        if lease := leases.take(name):
            if not done():
                return lease
            lease.finish()
            break
        holder = leases.holder(name)
        if holder and not told:
            tell(f"waiting for {name}, which {holder} runs")
            told = True
        if stopping.requested():
            raise stopping.Interrupted(f"stopped while waiting for {name}")
        time.sleep(_LOOK_EVERY)
    return None


@contextlib.contextmanager
def owned(lease: Lease) -> Iterator[Lease]:
    """Hold a lease while inside; finished when that went well, given back when not.

    Trainings inside leave with :class:`backbones.runtime.stopping.Superseded` when it is lost.
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
    """Hold a cell for all processes that train together; one of them takes and returns the lease.

    Yields:
        Whether the cell is theirs; False when another driver has finished it.

    Raises:
        UserError: The folder cannot be written.
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
    try:
        names = [e for e in os.listdir(folder) if e.startswith(f"{name}.") and e.endswith(_SUFFIX)]
    except OSError:
        return []
    parsed = [(folder / found, *_parse(folder / found)) for found in names]
    # What has no number of ours is no lease, and is left alone.
    return [(path, number) for path, of, number in parsed if of == name and number]


def _path(folder: Path, name: str, generation: int) -> Path:
    return folder / f"{name}.{generation:03d}{_SUFFIX}"


def _parse(path: Path) -> tuple[str, int]:
    """A lease's cell and generation; a foreign file's generation is 0."""
    name, _, generation = path.name.removesuffix(_SUFFIX).rpartition(".")
    return name, int(generation) if _GENERATION.fullmatch(generation) else 0


def _write_beside(path: Path, owner: Owner, put: Callable[[Path, Path], None]) -> None:
    """Write the lease's text beside its place, and put it there.

    It is not forced to the disk, which takes longer than all else that scheduling a cell does: a
    lease that a power failure cut short names nobody who lives.
    """
    with staged(path) as (file, side):
        file.write(json.dumps(asdict(owner)).encode())
        file.flush()
        put(side, path)


def _link_or_know(side: Path, path: Path) -> None:
    """Link a lease to its name, and know one's own.

    Where the answer of a network disk is lost, the system asks once more and is told that the name
    exists: it may be the very link that was asked for.
    """
    try:
        os.link(side, path)
    except FileExistsError:
        if not os.path.samefile(side, path):
            raise


@cache
def _this_machine() -> str:
    """Host, boot and process namespace: equal only where process numbers mean the same."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _start_of(pid: int) -> str | None:
    """When a process of this machine started; None if there is no such living process."""
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
    state, started = fields[0], fields[19]
    return None if state in "ZX" else started  # a zombie runs nothing
