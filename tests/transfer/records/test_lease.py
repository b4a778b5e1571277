"""One owner a cell: among processes of this machine, and among machines."""

import errno
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from backbones.common.errors import UserError
from backbones.runtime import stopping
from transfer.records import lease
from transfer.records.lease import Leases, Owner, owned, wait_for

SPAWN = multiprocessing.get_context("fork")


def take_all(folder, names, own, start):
    """Take every cell that can be had, in an order of one's own, and keep it."""
    leases = Leases(folder)
    names = list(names)
    random.shuffle(names)
    start.wait()
    held = [name for name in names if leases.take(name)]
    own.put(held)
    time.sleep(2)  # alive until all have tried


def in_processes(count, target, *arguments):
    own, start = SPAWN.Queue(), SPAWN.Event()
    processes = [SPAWN.Process(target=target, args=(*arguments, own, start)) for _ in range(count)]
    for process in processes:
        process.start()
    start.set()
    answers = [own.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    return answers


def test_of_many_processes_each_cell_has_one(tmp_path):
    names = [f"cell_{number}" for number in range(60)]
    taken = in_processes(6, take_all, tmp_path, names)
    assert sorted(name for held in taken for name in held) == sorted(names)


def test_dead_owners_cells_are_taken_over_once(tmp_path):
    names = [f"cell_{number}" for number in range(60)]
    first = in_processes(1, take_all, tmp_path, names)
    assert sorted(first[0]) == sorted(names)
    taken = in_processes(6, take_all, tmp_path, names)
    assert sorted(name for held in taken for name in held) == sorted(names)


def hold(folder, held):
    Leases(folder).take("cell")
    held.set()
    signal.pause()


def test_an_owner_that_is_killed_is_replaced_at_once_and_not_before(tmp_path):
    held = SPAWN.Event()
    process = SPAWN.Process(target=hold, args=(tmp_path, held))
    process.start()
    assert held.wait(20)
    leases = Leases(tmp_path)
    assert leases.take("cell") is None
    assert leases.holder("cell").pid == process.pid
    os.kill(process.pid, signal.SIGSTOP)  # suspended is not dead
    assert leases.take("cell") is None
    os.kill(process.pid, signal.SIGKILL)
    while lease._start_of(process.pid) is not None:  # not yet reaped is dead all the same
        time.sleep(0.01)
    assert leases.take("cell").owner.pid == os.getpid()
    process.join()


def write(folder, name="cell.001.lease", **changes):
    """A lease of another process, as its owner would write it."""
    folder.mkdir(exist_ok=True)
    fields = {**vars(Owner.of(os.getpid())), **changes}
    (folder / name).write_text(json.dumps(fields))
    return folder / name


def test_a_process_that_inherited_the_number_is_not_the_owner(tmp_path):
    write(tmp_path, started="1")
    assert Leases(tmp_path).holder("cell") is None


ELSEWHERE = {"host": "elsewhere", "machine": "elsewhere another-boot pid:[1]"}


class Clock:
    """What the leases' module takes for the time."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def taken_after(self, leases, seconds, every=2.0):
        """Look at a cell for so long, and every so often; the seconds until it could be taken."""
        began = self.now
        while self.now < began + seconds:
            self.now += every
            if lease := leases.take("cell"):
                assert lease.owner.pid == os.getpid()
                return self.now - began
        return None


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(lease, "time", clock)
    monkeypatch.setattr(lease._heart, "hold", lambda own: None)  # it beats by the true clock
    return clock


def test_another_machine_is_dead_after_a_silence_by_our_own_clock(tmp_path, clock):
    path = write(tmp_path, **ELSEWHERE)
    leases = Leases(tmp_path, patience=150.0)
    assert leases.holder("cell").host == "elsewhere"
    # Its clock is set back by a year, and it beats: it lives, however old the file looks.
    for beat in range(4):
        assert clock.taken_after(leases, 140.0) is None
        os.utime(path, (1e9 - beat, 1e9 - beat))
    assert leases.take("cell") is None, "one look without a beat between is no silence"
    assert clock.taken_after(leases, 200.0) == 150.0


@pytest.mark.parametrize("silence", [20.0, 148.0])
def test_a_server_that_stalls_for_owner_and_watcher_costs_no_owner_its_cell(
    silence, tmp_path, clock
):
    """The watcher is served first, and sees a file that nobody could touch."""
    path = write(tmp_path, **ELSEWHERE)
    leases = Leases(tmp_path, patience=150.0)
    assert leases.take("cell") is None
    assert clock.taken_after(leases, silence) is None
    clock.now += 200.0
    assert leases.take("cell") is None
    os.utime(path, (1, 1))
    assert clock.taken_after(leases, 140.0) is None
    assert clock.taken_after(leases, 20.0) == 12.0, "an owner that is dead is replaced all the same"


def test_a_disk_that_cannot_be_asked_tells_no_silence(tmp_path, clock, monkeypatch):
    def away(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    write(tmp_path, **ELSEWHERE)
    leases = Leases(tmp_path, patience=150.0)
    with monkeypatch.context() as disk:
        disk.setattr(Path, "stat", away)
        assert clock.taken_after(leases, 400.0) is None
    assert leases.take("cell") is None
    assert clock.taken_after(leases, 200.0) == 150.0


def test_looks_that_are_far_between_tell_no_silence(tmp_path, clock):
    write(tmp_path, **ELSEWHERE)
    leases = Leases(tmp_path, patience=150.0)
    assert clock.taken_after(leases, 1000.0, every=60.0) is None
    assert clock.taken_after(leases, 1000.0, every=45.0) == 180.0


def test_a_first_look_waits_however_old_the_file_is(tmp_path):
    path = write(tmp_path, **ELSEWHERE)
    os.utime(path, (1, 1))
    assert Leases(tmp_path).take("cell") is None


def test_the_same_host_after_a_reboot_is_judged_by_its_silence(tmp_path, clock):
    write(tmp_path, machine=f"{os.uname().nodename} earlier-boot pid:[1]")
    leases = Leases(tmp_path, patience=150.0)
    assert leases.take("cell") is None
    assert clock.taken_after(leases, 200.0) == 150.0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1}', "\x00\xff"])
def test_a_damaged_lease_blocks_only_for_a_while(text, tmp_path, clock):
    (tmp_path / "cell.001.lease").write_text(text)
    leases = Leases(tmp_path, patience=150.0)
    assert leases.take("cell") is None
    assert clock.taken_after(leases, 200.0) == 150.0


def dead(path, **changes):
    """A lease of a process that no longer runs."""
    gone = {"host": "h", "machine": lease._this_machine(), "pid": 2**22, "started": "1"}
    path.write_text(json.dumps({**gone, "free": False, **changes}))


def test_a_lease_of_a_large_generation_is_followed_and_removed_without_counting_to_it(tmp_path):
    dead(tmp_path / "cell.900000000.lease")
    dead(tmp_path / "cell.007.lease")
    began = time.process_time()
    taken = Leases(tmp_path).take("cell")
    assert taken.path.name == "cell.900000001.lease"
    taken.finish()
    assert time.process_time() - began < 1
    assert not tmp_path.exists()


def test_nobody_waits_for_ever_behind_the_last_generation(tmp_path):
    dead(tmp_path / "cell.999999999.lease")
    with pytest.raises(UserError, match=r"cell\.999999999\.lease"):
        wait_for(Leases(tmp_path), "cell", lambda: False, print)


def test_the_owner_in_a_message_is_one_plain_line(tmp_path):
    dead(tmp_path / "cell.001.lease", host="\x1b[31m" + "h" * 5000 + "\n[/a]", machine="other")
    name = str(Leases(tmp_path).holder("cell"))
    assert name.isprintable()
    assert len(name) < 150


def test_an_owner_that_was_held_for_dead_finds_out(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    own = Leases(tmp_path).take("cell")
    time.sleep(0.2)
    assert not own.lost
    write(tmp_path, "cell.002.lease", **ELSEWHERE)
    time.sleep(0.3)
    assert own.lost


def test_a_disk_that_is_away_for_a_moment_costs_no_lease(tmp_path, monkeypatch):
    own = Leases(tmp_path).take("cell")

    def away(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as disk:
        disk.setattr(os, "utime", away)
        assert not own.superseded(look=True)
    own.path.unlink()
    assert own.superseded(look=True), "removed is lost"
    assert own.mark_free(), "the end of a finished owner need not be announced"


def test_a_cell_that_is_finished_while_its_lease_is_taken_is_not_run_again(tmp_path):
    finished = iter([False, True])
    folder = tmp_path / "leases"
    assert wait_for(Leases(folder), "cell", lambda: next(finished), pytest.fail) is None
    assert not folder.exists()


def test_who_waits_says_for_whom_and_leaves_when_asked_to(tmp_path):
    write(tmp_path, **ELSEWHERE)
    messages, unfinished = [], iter([False] * 3)
    with stopping.on_signals():
        stopping.request()
        with pytest.raises(stopping.Interrupted, match="while waiting for cell"):
            wait_for(Leases(tmp_path), "cell", lambda: next(unfinished, True), messages.append)
    assert messages == [f"waiting for cell, which process {os.getpid()} on elsewhere runs"]


def test_what_is_given_back_is_taken_by_a_later_generation(tmp_path):
    leases = Leases(tmp_path)
    leases.take("cell").give_back()
    assert leases.holder("cell") is None
    again = leases.take("cell")
    assert again.path.name == "cell.002.lease"
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["cell.001.lease", "cell.002.lease"]
    again.finish()
    assert not tmp_path.exists(), "a finished cell leaves nothing"


def test_a_slow_process_cannot_take_an_old_generation(tmp_path, monkeypatch):
    """Both see the same dead lease; the slow one links after the quick one."""
    write(tmp_path, started="1")
    slow, quick = Leases(tmp_path), Leases(tmp_path)
    newest = slow._newest("cell")
    assert quick.take("cell") is not None
    monkeypatch.setattr(slow, "_newest", lambda name: newest)
    assert slow.take("cell") is None


def test_a_lease_whose_making_was_answered_twice_is_our_own(tmp_path, monkeypatch):
    """A network disk makes the link, its answer is lost, and the system asks once more."""
    link = os.link

    def twice(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    own = Leases(tmp_path).take("cell")
    assert own.path.name == "cell.001.lease"
    assert [p.name for p in tmp_path.iterdir()] == ["cell.001.lease"]
    assert Leases(tmp_path).take("cell") is None, "it is held, by this process"


def test_cells_whose_names_begin_alike_are_kept_apart(tmp_path):
    leases = Leases(tmp_path)
    assert leases.take("cell_a")
    assert leases.take("cell_a.b")
    assert leases.take("cell")


def test_owned_finishes_or_gives_back(tmp_path):
    leases = Leases(tmp_path)
    with pytest.raises(RuntimeError), owned(leases.take("cell")):
        raise RuntimeError
    assert leases.holder("cell") is None
    assert len(list(tmp_path.iterdir())) == 1
    with owned(leases.take("cell")):
        assert leases.holder("cell").pid == os.getpid()
    assert not tmp_path.exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "leases").write_text("a file where the folder should be")
    with pytest.raises(
        UserError, match=r"the results folder and the work directory must be writable"
    ):
        Leases(tmp_path / "leases").take("cell")
