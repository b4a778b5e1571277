"""A cell: one fine-tuning, and all that can change its result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.zoo.entry import Rename, Variant

SHUFFLED = "shuffled"
"""Scheme of a cell's weights whose values are shuffled layer by layer."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One fine-tuning.

    Attributes:
        backbone: Row of the zoo, or the name of a user's own.
        architecture: timm's name of its network.
        weights: Where the weights come from, as :func:`backbones.weights.weights.locate`
            takes it; empty for random weights.
        weights_id: What identifies them before they are fetched: a file's sha256, a hub's name, or
            the identity of the training that makes them.
        classifier: ``"public"``, ``"none"``, ``"seed N"`` of its own training, or ``"file"`` where
            that is not known.
        task: ``"detection"`` or ``"segmentation"``.
        protocol: Name of the protocol.
        protocol_version: Hash of what the protocol says.
        data: Name of the data set.
        data_fingerprint: Hash of its lists of images.
        precision: ``"float32"`` or ``"bfloat16"``.
        seed: Of the fine-tuning.
        scratch: Random weights, nothing frozen, BN trained.
        overrides: Further settings of the config, as ``--cfg-options`` gives them.
        processes: How many train it together, a GPU each: batch norms, sums and, in some
            protocols, the batch depend on it.
        mean: Channel means, 0 to 1, of a user's own row, whose file can be changed; None for the
            zoo's, where the name or the weights' own file decides, and where timm's weights do.
        std: Channel deviations, likewise.
        rename: How the names in the weights of a user's own row become timm's; empty for names
            of a known library.
    """

    backbone: str
    architecture: str
    weights: str
    weights_id: str
    classifier: str
    task: str
    protocol: str
    protocol_version: str
    data: str
    data_fingerprint: str
    precision: str
    seed: int
    scratch: bool = False
    overrides: tuple[tuple[str, Any], ...] = ()
    processes: int = 1
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    rename: Rename = ""

    @property
    def id(self) -> str:
        """Hash of the cell, 12 hexadecimal digits; where the weights lie does not count."""
        told = dataclasses.asdict(self)
        del told["weights"]
        if self.processes == 1:  # as before there could be more
            del told["processes"]
        for name in ("mean", "std"):
            if told[name] is None:  # as before an own row's counted
                del told[name]
        if not self.rename:  # as before names could be others
            del told["rename"]
        text = json.dumps(told, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """A name for people."""
        classifier = self.classifier.replace(" ", "")
        name = f"{self.task}_{self.protocol}_{self.backbone}_{classifier}_s{self.seed}"
        beside = f"_x{self.processes}" if self.processes > 1 else ""
        return f"{name}{beside}".replace("/", "-")

    @property
    def stem(self) -> str:
        """What its files are called."""
        return f"{self.name}_{self.id}"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A cell, and where what it needs is and what it gives goes; none of it changes its result.

    Attributes:
        cell: What to run.
        row: The row of the zoo that it is of.
        data: Its data set, as :func:`transfer.plan.request.load_data` takes it.
        data_root: Folder of the data sets.
        results: Folder of the records.
        work_dir: Folder for logs and the states to resume from.
        command: What runs this one cell again.
        backends: Where MMEngine's visualiser writes curves, such as ``"TensorboardVisBackend"``.
        save_minutes: Time between two savings of the training's state.
        storage: Address of a folder for copies of states, as fsspec knows it; empty for none.
        evaluate_every: Epochs or iterations between evaluations on the way; 0 for none.
        baseline: Row that its run counts gains from; empty for none.
    """

    cell: Cell
    row: Variant
    data: str
    data_root: Path
    results: Path
    work_dir: Path
    command: str
    backends: tuple[str, ...] = ()
    save_minutes: float = 10.0
    evaluate_every: int = 0
    storage: str = ""
    baseline: str = ""

    @property
    def state_copy(self) -> str:
        """The address of the copy of this cell's state; empty for none."""
        return f"{self.storage.rstrip('/')}/{self.name}.pt" if self.storage else ""

    @property
    def name(self) -> str:
        """The name of the cell's files."""
        return self.cell.stem

    @property
    def place(self) -> Path:
        """The cell's own folder for its log and its state."""
        return self.work_dir / self.name

    @property
    def work_leases(self) -> Path:
        """The folder of the leases on the cells' own folders."""
        return self.work_dir / "leases"
