"""How many runs ``--jobs auto`` puts side by side, on machines that are stand-ins."""

import argparse
import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from backbones.common import cards, hardware
from backbones.common.cards import Look
from backbones.common.errors import UserError
from tests.support import synthetic
from transfer.cli import main
from transfer.driver import fitting
from transfer.driver.fitting import AUTO, jobs_of, learn_needs, need_of, on_a_card, room_of
from transfer.plan.durations import Durations, Estimate

GIB = 1 << 30
TASKS = [SimpleNamespace(cell=synthetic.cell("resnet50_baseline", seed=s)) for s in range(40)]


def args(jobs):
    return argparse.Namespace(jobs=jobs, ray=None)


@pytest.fixture
def machine(monkeypatch):
    """A machine with GPUs of 100 GiB and cores as a test asks for them, and 1000 GiB of memory."""

    def pretend(gpus, cores):
        monkeypatch.setattr(hardware, "cuda_devices", lambda: gpus)
        monkeypatch.setattr(hardware, "cuda_names", lambda: ("A GPU",) * gpus)
        monkeypatch.setattr(hardware, "cpu_cores", lambda: cores)
        monkeypatch.setattr(hardware, "available_memory", lambda: 1000 * GIB)
        monkeypatch.setattr(cards, "look", lambda device: Look(100 * GIB, 0, 0.0))

    return pretend


class Known(Durations):
    """What every run takes."""

    def __init__(self, gpu, host=GIB):
        super().__init__()
        self.estimate = Estimate(60.0, host, gpu, same_network=True)

    def of(self, cell):
        return self.estimate


def test_as_many_go_side_by_side_as_memory_cores_and_runs_allow(machine):
    auto = args(AUTO)
    ten = (10 * GIB - fitting._CONTEXT_BYTES) / fitting._SPARE
    machine(gpus=1, cores=64)
    assert jobs_of(auto, TASKS, Known(ten)) == 9, "of 95 GiB"
    assert jobs_of(auto, TASKS[:4], Known(ten)) == 4
    assert jobs_of(auto, TASKS, Known(200 * GIB)) == 1
    assert jobs_of(auto, TASKS, Known(ten, host=250 * GIB)) == 4
    machine(gpus=2, cores=64)
    assert jobs_of(auto, TASKS, Known(ten)) == 18
    machine(gpus=2, cores=6)
    assert jobs_of(auto, TASKS, Known(ten)) == 6, "a core for each"
    assert jobs_of(auto, TASKS, Durations()) == 2, "one on each GPU as long as nothing is known"
    assert jobs_of(auto, TASKS) == 6, "the most"
    assert on_a_card(5) == 3


def test_a_number_is_taken_as_it_is_and_without_a_gpu_auto_is_the_default(machine):
    machine(gpus=2, cores=6)
    assert [jobs_of(args(jobs), TASKS, Known(GIB)) for jobs in (None, 1, 30)] == [2, 1, 30]
    assert room_of(args(30), Durations()).packing is None
    assert room_of(args(AUTO), Durations()).packing is not None
    machine(gpus=0, cores=6)
    assert jobs_of(args(AUTO), TASKS) == jobs_of(args(None), TASKS) == 1
    sample = [
        SimpleNamespace(cell=synthetic.cell("resnet50_baseline", data="sample", protocol="quick"))
    ] * 9
    assert jobs_of(args(AUTO), sample) == 6
    assert room_of(args(AUTO), Durations()).packing is None
    assert on_a_card(6) == 6, "without GPUs, all share the machine"


def test_runs_of_unknown_need_are_probed_once_for_each_kind(monkeypatch, tmp_path):
    """A probe that fails leaves its runs without a need."""
    asked = []

    class Pool:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, call, task):
            asked.append(task.cell.task)

            def result():
                if task.cell.task == "segmentation":
                    raise UserError("Memory ran out.")
                return task

            return SimpleNamespace(result=result)

    def read(task):
        content = {
            "cell": {**vars(task.cell), "overrides": []},
            "seconds": {"train": 60.0},
            "memory": {"gpu": 9 * GIB},
            "hardware": fitting_machine,
        }
        return fitting.probes.Record(tmp_path, content)

    durations = Durations()
    fitting_machine = {**durations.here, "gpus": [durations.here["gpu"]]}
    monkeypatch.setattr(fitting.child_processes, "pool", lambda _: Pool())
    monkeypatch.setattr(fitting.probes, "read", read)
    other = SimpleNamespace(cell=synthetic.cell("resnet50_baseline", "segmentation"), name="other")
    tasks = [SimpleNamespace(cell=task.cell, name="one") for task in TASKS[:3]]
    learn_needs([*tasks, other], durations, Console(file=io.StringIO()))
    assert asked == ["detection", "segmentation"]
    assert need_of(tasks[2].cell, durations) == pytest.approx(
        9 * GIB * fitting._SPARE + fitting._CONTEXT_BYTES
    )
    assert need_of(other.cell, durations) is None


@pytest.mark.parametrize(
    ("given", "fault"), [("some", "neither a number nor 'auto'"), ("0", "must be 1 or more")]
)
def test_what_is_no_number_of_runs_is_refused(given, fault, capsys):
    asked = ["run", "--suite", "quick", "--jobs", given, "--dry-run"]
    try:
        code = main.main(asked)
    except SystemExit as end:  # of argparse
        code = end.code
    assert code == 2
    assert fault in capsys.readouterr().err


def test_on_a_cluster_auto_is_refused(capsys):
    asked = ["run", "--suite", "quick", "--jobs", AUTO, "--ray", "auto", "--dry-run"]
    assert main.main(asked) == 2
    assert "--ray" in capsys.readouterr().err
