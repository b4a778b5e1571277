"""The dry run: cells, networks, hours, memory and disk of a run before it starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from backbones.common.errors import UserError
from backbones.weights.download import size_text
from backbones.zoo.sizes import Size, size_of
from backbones.zoo.sources import PACKAGE, is_random
from backbones.zoo.zoo import CATALOGUE
from transfer.plan.durations import Durations
from transfer.plan.network_faults import known_faults
from transfer.plan.sample_classifiers import OF_SAMPLE
from transfer.records import failures, records
from transfer.records.cells import SHUFFLED, Cell
from transfer.records.settings import in_words
from transfer.records.wording import count

_HEADS = 25_000_000
"""Most parameters that a detector or segmenter adds to its classifier: FPN's and FCN's heads."""

_CHECKPOINT_BYTES = 3 * 2 * 4
"""Of a parameter: at worst three checkpoints, each with value and momentum, in float32."""

_VALUE_BYTES = 4  # float32

_RECORD_BYTES = 2 << 20
"""Size of a record with its per-image results, where no record of the same data exists."""


def require_usable_networks(cells: Sequence[Cell], results: Path) -> None:
    """Check that the protocol of every cell without a record can use its network.

    Networks that are missing from the table of limits are built, which needs torch.

    Raises:
        UserError: A network does not fit, with the same message as the run itself.
    """
    todo = [cell for cell in cells if not records.path_of(results, cell).exists()]
    found, unknown = known_faults(todo)
    if unknown:
        from transfer.finetune.preflight import network_faults

        found += network_faults(unknown)
    if found:
        raise UserError("\n".join(found))


def require_published(cells: Sequence[Cell], results: Path) -> None:
    """Check that timm publishes the weights of every cell without a record; asks no server.

    Raises:
        UserError: It does not, with the same message as the run itself.
    """
    todo = [cell for cell in cells if not records.path_of(results, cell).exists()]
    networks = {cell.weights.removeprefix(f"{SHUFFLED}:"): cell.architecture for cell in todo}
    for row in CATALOGUE.values():
        networks.pop(row.weights.source if row.weights else "", None)
    for source, architecture in networks.items():
        # Networks whose size is known have weights under their own name.
        if source.startswith("timm:") and ("." in source or size_of(architecture) is None):
            from backbones.weights.hub import published  # imports torch

            published(source.removeprefix("timm:"))


def print_costs(
    cells: Sequence[Cell], *, results: Path, durations: Durations, jobs: int, console: Console
) -> None:
    """Print the cells of each row, what is done, and what the rest will cost.

    Args:
        cells: Planned cells.
        results: Results folder.
        durations: Times of cells on this machine.
        jobs: Cells in parallel.
        console: Where to print.
    """
    todo = [cell for cell in cells if not records.path_of(results, cell).exists()]
    sizes = _sizes(cells)
    shared = _shared_settings(cells)
    console.print(_table(cells, shared=shared, sizes=sizes, results=results, durations=durations))
    for task, settings in shared.items():
        _say(console, f"{task}: {', '.join(settings)}")
    for cell in todo:
        if failure := failures.read(records.path_of(results, cell)):
            _say(console, f"failed {failure.attempts} times: {cell.name}: {failure.reason}")
    for line in _sums(cells, todo=todo, results=results, durations=durations, jobs=jobs):
        _say(console, line)
    if todo:
        _say(console, _disk(todo, sizes=sizes, results=results, jobs=jobs))


def _sizes(cells: Sequence[Cell]) -> dict[str, Size]:
    """The size of each network, by name; those outside the zoo are built, which needs torch."""
    sizes = {}
    for architecture in dict.fromkeys(cell.architecture for cell in cells):
        size = size_of(architecture)
        if size is None:
            from backbones.zoo.cost import classifier_cost

            cost = classifier_cost(architecture)
            size = Size(cost.parameters, cost.multiply_adds)
        sizes[architecture] = size
    return sizes


def _settings(cell: Cell) -> list[str]:
    """Data set, protocol, precision and what the suite changes in the protocol, in words."""
    overrides = [in_words(name, value) for name, value in cell.overrides]
    return [cell.data, f"protocol {cell.protocol}", cell.precision, *overrides]


def _shared_settings(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """For each task, the settings of all its cells."""
    by_task: dict[str, list[list[str]]] = {}
    for cell in cells:
        by_task.setdefault(cell.task, []).append(_settings(cell))
    return {
        task: [setting for setting in of_task[0] if all(setting in other for other in of_task)]
        for task, of_task in by_task.items()
    }


def _table(
    cells: Sequence[Cell],
    *,
    shared: Mapping[str, list[str]],
    sizes: Mapping[str, Size],
    results: Path,
    durations: Durations,
) -> Table:
    """One line for each row of each task; settings common to a task are printed below."""
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        own = tuple(s for s in _settings(cell) if s not in shared[cell.task])
        groups.setdefault((cell.task, cell.backbone, cell.weights_id, own), []).append(cell)
    varied = any(own for *_, own in groups)
    shown = Table(title="Planned runs", box=box.SIMPLE_HEAD, padding=0, title_justify="left")
    shown.add_column("task", no_wrap=True)
    shown.add_column("backbone", no_wrap=True)
    for name in ("classifier", "seeds", *(["settings"] if varied else [])):
        shown.add_column(name, overflow="fold")
    for name in ("M\nparams", "G mult-\nadds", "hours", "status"):
        shown.add_column(name, justify="right")
    for (*_, own), group in groups.items():
        first = group[0]
        size = sizes[first.architecture]
        shown.add_row(
            first.task,
            first.backbone,
            _classifier(first),
            _numbers([cell.seed for cell in group]),
            *(["\n".join(own)] if varied else []),
            f"{size.parameters / 1e6:.2f}",
            f"{size.multiply_adds / 1e9:.2f}",
            _hours([c for c in group if not records.path_of(results, c).exists()], durations),
            _status(group, results),
        )
    return shown


def _classifier(cell: Cell) -> str:
    """The weights in short: the last part of a URL or path."""
    if is_random(cell.weights):
        return "random"
    if cell.weights.startswith(OF_SAMPLE):
        return f"sample, {cell.classifier}"
    if cell.classifier.startswith("seed "):
        return f"trained, {cell.classifier}"
    return cell.weights.rsplit("/", 1)[-1]


def _numbers(values: Sequence[int]) -> str:
    """Consecutive numbers as a range, other numbers as a list."""
    if len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]}–{values[-1]}"
    return ", ".join(map(str, values))


def _hours(group: Sequence[Cell], durations: Durations) -> str:
    if not group:
        return "0"
    estimate = durations.of(group[0])
    if estimate is None:
        return "?"
    hours = estimate.seconds * len(group) / 3600
    return f"{'' if estimate.same_network else '≈ '}{hours:.2g}"


def _status(group: Sequence[Cell], results: Path) -> str:
    paths = [records.path_of(results, cell) for cell in group]
    todo = [path for path in paths if not path.exists()]
    done = len(paths) - len(todo)
    failed = sum(failures.read(path) is not None for path in todo)
    status = f"{done} of {len(group)}"
    if done in (0, len(group)):
        status = "recorded" if done else "to do"
    return f"{status}, {failed} failed" if failed else status


def _sums(
    cells: Sequence[Cell], *, todo: Sequence[Cell], results: Path, durations: Durations, jobs: int
) -> list[str]:
    unknown = sum(durations.of(cell) is None for cell in todo)
    seconds = durations.until_done(todo, jobs)
    lines = [f"{count(len(cells), 'run')}: {len(cells) - len(todo)} recorded, {len(todo)} to do."]
    if todo and unknown < len(todo):
        beside = "" if jobs == 1 else f", {jobs} side by side"
        lines.append(
            f"Time: about {timedelta(seconds=round(seconds))}{beside}, estimated from runs on this "
            "hardware" + (f"; {count(unknown, 'run')} not included." if unknown else ".")
        )
    if unknown:
        lines.append(
            "The runs marked ? have not been timed on this hardware; --probe times a few steps."
        )
    estimates = [estimate for cell in todo if (estimate := durations.of(cell))]
    for name, place in (("gpu_bytes", "GPU"), ("host_bytes", "host")):
        peaks = [peak for e in estimates if (peak := getattr(e, name)) is not None]
        if peaks:
            lines.append(f"Memory ({place}): up to {size_text(int(max(peaks)))} for a run.")
    return lines


def _disk(todo: Sequence[Cell], *, sizes: Mapping[str, Size], results: Path, jobs: int) -> str:
    """Upper bounds: checkpoints of running cells, weights to download, and files that stay."""
    parameters = [sizes[cell.architecture].parameters for cell in todo]
    checkpoints = jobs * _CHECKPOINT_BYTES * (max(parameters) + _HEADS)
    kept = _VALUE_BYTES * sum(own + _HEADS for own in parameters)
    public = [c for c in todo if c.classifier == "public" and not c.weights.startswith(PACKAGE)]
    fetched = {c.weights: c.architecture for c in public}
    weights = sum(_VALUE_BYTES * sizes[a].parameters for a in fetched.values())
    largest = _largest_records({cell.data for cell in todo}, results)
    stay = sum(largest.get(cell.data, _RECORD_BYTES) for cell in todo)
    return (
        f"Disk: at most {size_text(checkpoints)} of checkpoints during runs, {size_text(weights)} "
        f"of public weights, {size_text(kept)} of final weights, {size_text(stay)} of records."
    )


def _largest_records(data: Collection[str], results: Path) -> dict[str, int]:
    """The largest record of each data set with its per-image results; reads each folder once."""
    largest: dict[str, int] = {}
    for one in {records.folder(results, name): name for name in data}.values():
        for record in records.read_all(results, one)[0]:
            files = (record.path, record.path.with_suffix(".npz"))
            size = sum(path.stat().st_size for path in files if path.is_file())
            name = record.cell["data"]
            largest[name] = max(size, largest.get(name, 0))
    return largest


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True, markup=False)
