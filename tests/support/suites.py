"""Small suites, and what a schedule of them reports."""

import json
import struct

from backbones.zoo import zoo
from tests.support import chaos_suite
from transfer.plan import suites
from transfer.plan.suite_cells import Choice, make_suite_plan
from transfer.records.cells import Task
from transfer.scheduling.process import ProcessExecutor
from transfer.scheduling.schedule import Schedule

QUICK = """
kind = "transfer"
data = "sample"
protocol = "quick"
precision = "float32"
"""


def suite_file(folder, text):
    path = folder / "own.toml"
    path.write_text(text)
    return str(path)


def plan_of(text, folder, **choice):
    return make_suite_plan(
        suites.load(suite_file(folder, text)), Choice(data_root=folder / "data", **choice)
    )


def classifier(path, seed, row="resnet18d_mixup", **more):
    """A safetensors file with the header that the project's training writes."""
    metadata = {"row": row, "architecture": zoo.find(row).architecture, "seed": seed, **more}
    own = json.dumps(metadata)
    header = json.dumps({"__metadata__": {"transfer_bench": own}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def tasks_of(suite, folder):
    """The tasks of a suite on the small sample, as the driver makes them."""
    plan = make_suite_plan(suites.load(str(suite)), Choice(data_root=folder))
    return [
        Task(
            cell=cell,
            row=plan.rows[cell.backbone],
            data=plan.data[cell.data],
            data_root=folder,
            results=folder / "results",
            work_dir=folder / "work",
            command="",
        )
        for cell in plan.cells
    ]


class EventLog:
    """A watcher that records its events, and may act on them."""

    def __init__(self, act=None):
        self.events = []
        self.act = act

    def __getattr__(self, name):
        def tell(*arguments):
            self.events.append((name, *arguments))
            if self.act:
                self.act(name, *arguments)

        return tell

    def of(self, name):
        return [event[1].name for event in self.events if event[0] == name]


def schedule(tasks, watcher, **options):
    options = {"jobs": 1, "retry": 0, **options}
    executor = ProcessExecutor(options["jobs"], tasks[0].work_dir)
    return Schedule(tasks, **options, executor=executor, watcher=watcher)


def quick_suite(folder, cache, **options):
    """A suite of cells of a few steps on the small sample."""
    options = {"rows": ["resnet18_scratch"], "seeds": [0], "epochs": 1, **options}
    return chaos_suite.write_suite(folder, cache / "sample", **options)
