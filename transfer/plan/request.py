"""From a request to its cells; imports nothing heavy."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.common import hardware
from backbones.common.errors import UserError
from backbones.common.hashing import sha256
from backbones.common.resources import cache_dir
from backbones.training.known_images import recorded_name_of_images
from backbones.weights.safetensors_header import read_own_metadata
from backbones.zoo import zoo
from backbones.zoo.entry import IMAGENET_MEAN, IMAGENET_STD, PerChannel
from backbones.zoo.sources import is_public, weights_file
from transfer.datasets import catalogue, sample
from transfer.plan.sample_classifiers import OF_SAMPLE, PUBLIC, TRAINED, choose, trained
from transfer.protocols import protocol_files, protocols
from transfer.protocols.protocol_files import OwnProtocol
from transfer.records.cells import SHUFFLED, Cell

DEFAULT_DATA = {"detection": "voc0712", "segmentation": "ade20k"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for.

    Attributes:
        backbone: Row of the zoo, ``timm/<name>``, or a user's ``.toml``.
        tasks: Tasks; of several, those that the data set supports.
        against: ``"auto"`` (the zoo's control), a row, or ``"none"``.
        data: ``"auto"``, a data set's name, or a user's ``.toml``.
        data_root: Folder of the data sets.
        protocol: ``"auto"``, a protocol's name, or a config of the user's own.
        weights: ``"auto"``, ``"none"``, a file, or a name that
            :func:`backbones.weights.weights.locate` takes.
        precision: ``"auto"`` or a precision.
        seed: Seed of the fine-tuning.
        classifier_seed: Seed of classifiers trained on the sample.
        processes: Number of processes that train a cell together.
        own_protocol: The content of ``protocol`` once it is read, if it is the user's own.
    """

    backbone: str
    tasks: tuple[str, ...]
    against: str
    data: str
    data_root: Path
    protocol: str
    weights: str
    precision: str
    seed: int
    classifier_seed: int
    processes: int = 1
    own_protocol: OwnProtocol | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The cells to run, with remarks.

    Attributes:
        cells: In run order: task by task, the control first.
        rows: Their rows of the zoo, by name.
        baseline: Row that gains are computed against, or empty.
        remarks: Sentences for the user.
        data: The argument of :func:`load_data` for each data set's name in a cell.
        margin: Largest difference, in points, that does not matter; None if none is fixed.
        variant: Name of a suite's settings for titles, or empty.
    """

    cells: tuple[Cell, ...]
    rows: dict[str, zoo.Variant]
    baseline: str
    remarks: tuple[str, ...]
    data: dict[str, str]
    margin: float | None = None
    variant: str = ""


def make_plan(request: Request) -> Plan:
    """Choose data, rows and protocol.

    Raises:
        UserError: A named item is unknown or missing.
    """
    remarks: list[str] = []
    if (own := read_own(request.protocol)) is not None:
        tasks = served_by(own, request.tasks, remarks)
        request = dataclasses.replace(request, tasks=tasks, own_protocol=own)
    data_of = _choose_data(request, remarks)
    on_sample = catalogue.SAMPLE in data_of.values()
    if request.weights == TRAINED and not on_sample:
        raise UserError(
            "--weights sample trains classifiers on the built-in sample and needs --data sample: "
            "pass a file or the name of public weights."
        )
    row = zoo.find(request.backbone)
    if row.alias_of:
        remarks.append(f"{row.name} {row.note}.")
    control = _control(request, row)
    if request.weights == "none":
        row = zoo.scratch_of_row(row)
    rows = [row]
    if control:
        rows.insert(0, control)
        if not on_sample:  # the sample's controls are trained on it
            remarks += _trained_elsewhere(request.weights, row, control)
    elif request.against == "auto" and not row.scratch:
        why = "is its own 'control'" if row.control else "has no control in the zoo"
        remarks.append(
            f"'{row.name}' {why}, so no gain is computed; choose a baseline with --against."
        )
    remarks += [f"{member.name} {member.note}." for member in rows if member.rename]
    given = "auto"  # the request's weights belong to the requested row
    if on_sample:
        lacking = [r for r in rows if r is not row or request.weights in ("auto", TRAINED)]
        given, notes = choose(
            [r for r in lacking if r.recipe],
            request.classifier_seed,
            fetch=request.weights != TRAINED,
        )
        remarks += notes
    plain = dataclasses.replace(request, weights=given)
    request = plain if request.weights == "auto" else request
    cells = tuple(
        make_cell(
            dataclasses.replace(request if member is row else plain, data=data), member, task, lists
        )
        for task, data in data_of.items()
        for lists in [fingerprint(data, request.data_root, task)]
        for member in rows
    )
    if control:
        remarks += _beside_the_samples(cells, row, control)
    return Plan(
        cells=cells,
        rows={member.name: member for member in rows},
        baseline=control.name if control else "",
        remarks=tuple(remarks),
        data=by_name(data_of.values()),
    )


def read_own(protocol: str) -> OwnProtocol | None:
    """A protocol of the user's own; None if it is named otherwise.

    Raises:
        UserError: It cannot be loaded, or is no config of a detector or segmenter.
    """
    return protocol_files.read(protocol) if protocol_files.is_own(protocol) else None


def served_by(own: OwnProtocol, tasks: tuple[str, ...], remarks: list[str]) -> tuple[str, ...]:
    """The requested tasks that a protocol of the user's own is for, which is one.

    Args:
        own: The protocol.
        tasks: Requested tasks.
        remarks: Receives a remark for a task that is left out.

    Raises:
        UserError: The requested task is the other one.
    """
    for task in tasks:
        if len(tasks) == 1:
            protocol_files.require_served(own, task)
        elif task != own.task:
            remarks.append(f"The protocol '{own.name}' is for {own.task}, so {task} is left out.")
    return (own.task,)


def load_data(
    name: str, data_root: Path, progress: Callable[[int, int], None] | None = None
) -> catalogue.DataSet:
    """A data set by name; a missing sample is drawn and reported to ``progress``."""
    if name != catalogue.SAMPLE:
        return catalogue.load(name, data_root)
    sample.ensure_sample(cache_dir() / catalogue.SAMPLE, progress=progress)
    return catalogue.load(name, cache_dir())


def served(
    tasks: tuple[str, ...], data: str, data_root: Path, remarks: list[str]
) -> tuple[str, ...]:
    """The requested tasks that a data set supports; a task requested alone is always kept.

    Args:
        tasks: Requested tasks.
        data: Name of the data set, or a user's ``.toml``.
        data_root: Folder of the data sets.
        remarks: Receives a remark for each task that is left out.
    """
    if len(tasks) == 1 or data == catalogue.SAMPLE:
        return tasks
    loaded = catalogue.load(data, data_root)
    has = tuple(task for task in tasks if getattr(loaded, task))
    remarks += [
        f"'{loaded.name}' has no data for {task}, so this task is left out."
        for task in tasks
        if task not in has
    ]
    return has


def _choose_data(request: Request, remarks: list[str]) -> dict[str, str]:
    if request.data != "auto":
        asked = served(request.tasks, request.data, request.data_root, remarks)
        return dict.fromkeys(asked, request.data)
    lacks = {task: catalogue.lack(DEFAULT_DATA[task], request.data_root) for task in request.tasks}
    found = {task: DEFAULT_DATA[task] for task, lack in lacks.items() if not lack}
    missing = [DEFAULT_DATA[task] for task in lacks if task not in found]
    if missing:
        names_by_lack: dict[str, list[str]] = {}
        for task, lack in lacks.items():
            if lack:
                names_by_lack.setdefault(lack, []).append(DEFAULT_DATA[task])
        lacking = "; ".join(
            f"{' and '.join(names)} {lack}" for lack, names in names_by_lack.items()
        )
        root = shlex.quote(str(request.data_root))
        fetch = [f"'transfer prepare {name} --root {root}'" for name in missing]
        consequence = "this task is left out" if found else "the built-in sample is used instead"
        remarks.append(
            f"{lacking}; {consequence}. {' and '.join(fetch)} "
            + ("download them." if len(missing) > 1 else "downloads it.")
        )
    return found or dict.fromkeys(request.tasks, catalogue.SAMPLE)


def _control(request: Request, row: zoo.Variant) -> zoo.Variant | None:
    """The baseline; None if there is none or it is the row itself."""
    named = row.control if request.against == "auto" else request.against
    if named in ("", "none"):
        return None
    control = zoo.find(named)
    if control.name != row.name:
        return control
    if control != row:
        raise UserError(
            f"'{named}' and '{request.backbone}' are two backbones with the same name "
            f"'{row.name}': "
            "give one of them another 'name'."
        )
    return None


def _trained_elsewhere(weights: str, row: zoo.Variant, control: zoo.Variant) -> list[str]:
    """A remark if the given weights were trained on other images than the control's."""
    if weights in ("auto", "none") or is_public(weights) or not control.weights:
        return []
    images = recorded_name_of_images(read_own_metadata(weights_file(weights)))
    of_control = control.weights.top1_on
    if images in ("", of_control) or not of_control:
        return []
    return [
        f"'{row.name}' was trained on {images}, its control '{control.name}' on {of_control}: the "
        "gain is not due to the recipe alone. A suite compares classifiers of the same images, "
        "listed as each row's 'classifiers' (docs/suites.md)."
    ]


def _beside_the_samples(cells: Sequence[Cell], row: zoo.Variant, control: zoo.Variant) -> list[str]:
    """A remark if the control was trained on the sample and the row was not."""
    trained_on_sample = {
        cell.backbone: OF_SAMPLE in cell.weights for cell in cells if not cell.scratch
    }
    if not trained_on_sample.get(control.name) or trained_on_sample.get(row.name, True):
        return []
    return [
        f"The control '{control.name}' is trained on the few images of the sample, '{row.name}' on "
        "others: the gain is not due to the classifier alone. Such a run shows that everything "
        "works; use your own images with --data to learn more."
    ]


def make_cell(request: Request, row: zoo.Variant, task: str, data_fingerprint: str) -> Cell:
    """One cell of a request whose data set is chosen.

    Raises:
        UserError: The protocol is unknown, or the weights are missing or belong to another row.
    """
    own = request.own_protocol
    protocol = own.name if own else _protocol(request, task)
    weights, identity, classifier = _weights(request, row)
    mean, std = _own_preprocessing(row, identity)
    return Cell(
        backbone=row.name,
        architecture=row.architecture,
        weights=weights,
        weights_id=identity,
        classifier=classifier,
        task=task,
        protocol=protocol,
        protocol_version=own.version if own else protocols.version(task, protocol),
        data=data_name(request.data),
        data_fingerprint=data_fingerprint,
        precision=_precision(request, protocol),
        seed=request.seed,
        scratch=not weights,
        processes=request.processes,
        mean=mean,
        std=std,
        rename=row.rename if weights else "",
        protocol_config=own.config if own else "",
    )


def _own_preprocessing(
    row: zoo.Variant, identity: str
) -> tuple[PerChannel | None, PerChannel | None]:
    """Mean and deviation of a user's own row; None if the weights bring them, as timm's do."""
    if not row.own:
        return None, None
    if identity.removeprefix(f"{SHUFFLED}:").startswith("timm:"):
        return row.mean, row.std
    return row.mean or IMAGENET_MEAN, row.std or IMAGENET_STD


def data_name(data: str) -> str:
    """The name of a data set in cells, given its name or file."""
    return Path(data).stem if data.endswith(".toml") else data


def by_name(asked: Iterable[str]) -> dict[str, str]:
    """Data sets, each a known name or a file, by their names in cells.

    Raises:
        UserError: Two files have the same name.
    """
    named: dict[str, str] = {}
    for data in asked:
        first = named.setdefault(data_name(data), data)
        if first != data:
            raise UserError(
                f"'{first}' and '{data}' are both called '{data_name(data)}' in records and "
                "tables: rename one of the files."
            )
    return named


def fingerprint(data: str, data_root: Path, task: str) -> str:
    """Fingerprint of the lists of images that a task trains and tests on.

    Raises:
        UserError: The data set is unknown or not on this machine.
    """
    if data == catalogue.SAMPLE:  # follows from the drawing code; the sample may not be drawn yet
        return f"sample-v{sample.VERSION}"
    return catalogue.load(data, data_root).fingerprint(task)


def _protocol(request: Request, task: str) -> str:
    if request.protocol != "auto":
        return request.protocol
    if request.data == catalogue.SAMPLE or not hardware.cuda_devices():
        return "quick"
    if task == "segmentation":
        return "openmmlab"
    boxes = catalogue.load(request.data, request.data_root).detection
    return "openmmlab-coco" if boxes is not None and boxes.layout == "coco" else "openmmlab"


def _precision(request: Request, protocol: str) -> str:
    if request.precision != "auto":
        return request.precision
    # Only `quick` uses 16 bits until equivalence is shown.
    return hardware.fast_precision() if protocol in protocols.QUICK else "float32"


def _weights(request: Request, row: zoo.Variant) -> tuple[str, str, str]:
    """Source of a row's weights, their identity, and the name of the classifier."""
    if row.shuffled_of:
        unshuffled = dataclasses.replace(row, name=row.shuffled_of, shuffled_of="")
        source = _weights(request, unshuffled)
        return f"{SHUFFLED}:{source[0]}", f"{SHUFFLED}:{source[1]}", source[2]
    if request.weights not in ("auto", "none", TRAINED, PUBLIC):
        if not is_public(request.weights):
            _require_trained_as(row, weights_file(request.weights))
        return _given(request.weights)
    if row.scratch:
        return row.start, row.start, "none"
    if request.data == catalogue.SAMPLE and row.recipe and request.weights != PUBLIC:
        return trained(row, request.classifier_seed)
    if row.weights is None and row.own:
        raise UserError(
            f"'{row.name}' has no weights: name them in its file, or pass a file with --weights. "
            'To start from random weights, set weights = "random".'
        )
    if row.weights is None:
        raise UserError(
            f"The weights of '{row.name}' are not public: train it with '{row.how_to_train()}' and "
            "pass the file with --weights."
        )
    return _given(row.weights.source)


def _require_trained_as(row: zoo.Variant, path: Path) -> None:
    """Refuse a classifier that this project trained for another row of the zoo.

    A user's own row has no recipe, so only its network is compared. Networks may share all names of
    weights and still differ in strides or activations.
    """
    own = read_own_metadata(path)
    trained = own.get("row") or row.name
    if not row.own and zoo.meant_by(trained) != zoo.meant_by(row.name):
        raise UserError(
            f"The classifier '{path}' was trained as '{trained}', not as '{row.name}': use it for "
            "its "
            f"own row, or choose other weights for '{row.name}'."
        )
    if (network := own.get("architecture") or row.architecture) != row.architecture:
        raise UserError(
            f"The classifier '{path}' has the network '{network}', but '{row.name}' has "
            f"'{row.architecture}': use it for a row of that network, such as your own .toml file."
        )


def _given(weights: str) -> tuple[str, str, str]:
    if is_public(weights):
        return weights, weights, "public"
    path = weights_file(weights)
    return str(path), f"sha256:{sha256(path)}", _classifier_name(path)


def _classifier_name(path: Path) -> str:
    """The name of a file's classifier in cells: the seed of its training, if recorded."""
    own = read_own_metadata(path)
    return f"seed {own['seed']}" if "seed" in own else "file"
