"""Two users and one results folder."""

import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from backbones.common.errors import UserError
from tests.support import synthetic
from transfer.cli import main
from transfer.records import records
from transfer.records.lease import Leases
from transfer.records.writable import require_writable

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")

ANOTHER = 54321  # not in the list of users


def _become(answers, act, *arguments):
    os.umask(0o022)
    os.setgroups([])
    os.setgid(ANOTHER)
    os.setuid(ANOTHER)
    try:
        answers.put(act(*arguments))
    except UserError as error:
        answers.put(f"error: {error}")


def as_another(act, *arguments):
    """What a function gives, or says, as another user."""
    context = multiprocessing.get_context("fork")  # who has no right to read this Python
    answers = context.Queue()
    process = context.Process(target=_become, args=(answers, act, *arguments))
    process.start()
    result = answers.get(timeout=60)
    process.join()
    return result


@pytest.fixture
def shared():
    """A results folder of root's with a record, below folders that all may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    synthetic.write(folder / "results", synthetic.cell("resnet50_baseline"), 80.0)
    for path in [folder / "results", *(folder / "results").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield folder / "results"
    shutil.rmtree(folder)


def wanted(results):
    return [(results / "records", "--results"), (results / "leases", "--results")]


def look(results):
    require_writable(wanted(results))
    return "writable"


def read(results):
    found, bad = records.read_all(results, "")
    return [record.value for record in found], bad


def lease(results):
    return Leases(results / "leases").take("cell") is not None


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_results_folder_of_another_user_is_read_and_refused_before_a_run(shared, mode):
    """0777 is not enough: the folder of the records in it is another's."""
    shared.chmod(mode)
    assert as_another(read, shared) == ([80.0], [])
    message = as_another(look, shared)
    assert message.startswith(f"error: '{shared}")
    assert "it belongs to user 'root'" in message
    assert "--results" in message
    before = sorted(shared.rglob("*"))
    assert look(shared) == "writable"
    assert sorted(shared.rglob("*")) == before


def test_a_folder_that_both_may_write_serves_both(shared):
    for path in (shared, shared / "records"):
        path.chmod(0o777)
    assert as_another(look, shared) == "writable"
    assert as_another(lease, shared)


def test_a_folder_that_is_not_there_is_judged_by_where_it_would_be(shared):
    assert "is not writable" in as_another(look, shared.parent / "new" / "results")
    shared.parent.chmod(0o777)
    assert as_another(look, shared.parent / "new" / "results") == "writable"
    assert not (shared.parent / "new").exists()


def test_a_log_of_another_user_is_refused(shared):
    log = shared / "worker-0.log"
    log.touch(mode=0o644)

    message = as_another(_look_at_log, log)
    assert str(log) in message
    assert "--work-dir" in message


def _look_at_log(log):
    require_writable([], [log])
    return "writable"


def test_a_file_in_the_folders_place_is_named(tmp_path):
    (tmp_path / "results").touch()
    with pytest.raises(UserError, match="results' is not writable"):
        require_writable(wanted(tmp_path / "results"))


def test_a_dry_run_tells_it_beside_the_costs(tmp_path, capsys):
    (tmp_path / "results").touch()
    asked = ["run", "--backbone", "resnet18_scratch", "--against", "none", "--data", "sample"]
    asked += ["--results", str(tmp_path / "results"), "--work-dir", str(tmp_path / "w")]
    assert main.main([*asked, "--dry-run"]) == 2
    printed = capsys.readouterr()
    assert "Planned runs" in printed.out
    assert "results' is not writable" in printed.err
