"""Loader workers that cannot hand over a batch: an error, where torch alone waits for ever."""

import json
import resource
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from backbones.common.errors import UserError
from backbones.runtime import loader_workers, socket_folder
from backbones.runtime.faults import explained
from tests.support import processes

COUNT = 12


class Numbers(Dataset):
    """Tensors, or what ``item`` makes of an index."""

    def __init__(self, item=None):
        self.item = item

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return self.item(index) if self.item else torch.full((1000,), float(index))


def as_it_is(batch):
    return batch


def loaded(**options):
    """Every batch of a guarded loader; in a process of its own, as its workers may hang."""
    loader = loader_workers.guard(DataLoader(Numbers(options.pop("item", None)), **options))
    with explained(None):
        return [int(batch[0][0]) for batch in loader]


def loaded_with_a_long_temporary_folder(folder):
    return loaded(num_workers=2)


def loaded_where_no_short_folder_can_be_made(folder):
    socket_folder.shorten = lambda: None
    return loaded(num_workers=2)


def loaded_what_cannot_be_pickled(folder):
    return loaded(num_workers=1, collate_fn=as_it_is, item=lambda index: lambda: index)


def loaded_with_few_files(folder, most=20):
    def limit(_):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def several(index):  # each tensor is a file
        return [torch.tensor(index) for _ in range(2 * most)]

    return loaded(num_workers=2, worker_init_fn=limit, item=several)


def loaded_where_no_connection_is_accepted(folder):
    from multiprocessing import connection

    def refuse(listener):
        raise OSError(24, "Too many open files")

    connection.Listener.accept = refuse
    return loaded(num_workers=1)


def alone(name, folder):
    """What a function above gives, and the size of what it printed, in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    program = (
        "import json, multiprocessing, sys\n"
        f"sys.path.append({str(Path(__file__).parent)!r})\n"
        "import test_loader_workers as tests\n"
        "multiprocessing.set_start_method('fork')\n"
        f"try: print(json.dumps(tests.{name}({str(folder)!r})))\n"
        "except tests.UserError as error: print(json.dumps(str(error)))\n"
    )
    done = processes.alone(program, TMPDIR=str(folder))
    assert len(done.stderr) < 10_000, done.stderr[-2000:]
    assert done.stdout.strip(), done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture
def long(tmp_path):
    return tmp_path / "job-scratch-of-a-cluster-node" / ("x" * 60)


def test_batches_come_where_the_temporary_folder_is_too_long_for_a_socket(long):
    assert alone("loaded_with_a_long_temporary_folder", long) == list(range(COUNT))


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("loaded_where_no_short_folder_can_be_made", "AF_UNIX path too long"),
        ("loaded_what_cannot_be_pickled", "pickle"),
        ("loaded_with_few_files", "ulimit -n"),
        ("loaded_where_no_connection_is_accepted", "loader worker"),
    ],
)
def test_a_batch_that_cannot_be_handed_over_ends_the_training(name, fact, long):
    message = alone(name, long)
    assert fact in message
    assert "train_dataloader.num_workers" in message


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("received 0 items of ancdata"),
        RuntimeError("Too many open files. Communication with the workers is no longer possible."),
        OSError(24, "Too many open files"),
    ],
)
def test_too_many_open_files_name_the_limit(fault):
    with pytest.raises(UserError, match="ulimit -n"), explained(None):
        raise fault
