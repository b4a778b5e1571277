"""A cell: one fine-tuning with everything that can change its result."""

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
        weights: Source of the weights, as :func:`backbones.weights.weights.locate`
            takes it; empty for random weights.
        weights_id: Identity of the weights before they are fetched: a file's sha256, a hub name, or
            the identity of the training that produces them.
        classifier: ``"public"``, ``"none"``, ``"seed N"`` of its own training, or ``"file"`` if
            that is unknown.
        task: ``"detection"`` or ``"segmentation"``.
        protocol: Name of the protocol.
        protocol_version: Hash of the protocol's content.
        data: Name of the data set.
        data_fingerprint: Hash of its lists of images.
        precision: ``"float32"`` or ``"bfloat16"``.
        seed: Seed of the fine-tuning.
        scratch: Whether it starts from random weights, with nothing frozen and BN trained.
        overrides: Further settings of the config, as in ``--cfg-options``.
        processes: Number of processes that train it together, one GPU each; batch norms, sums and,
            in some protocols, the batch size depend on it.
        mean: Channel means, 0 to 1, of a user's own row, whose file may change; None for rows of
            the zoo and for weights that bring their own.
        std: Channel standard deviations, likewise.
        rename: Mapping from the weight names of a user's own row to timm's; empty for names
            of a known library.
        protocol_config: Config of a protocol of the user's own, as Python literals; empty for those
            of this project. ``protocol_version`` is its identity; records have the composed config.
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
    protocol_config: str = ""

    @property
    def id(self) -> str:
        """Hash of the cell, 12 hexadecimal digits; the location of the weights does not count."""
        identity = self.plain()
        del identity["weights"]
        if self.processes == 1:  # as in older versions, which had one process only
            del identity["processes"]
        for name in ("mean", "std"):
            if identity[name] is None:  # as in older versions, which lacked these
                del identity[name]
        if not self.rename:  # as in older versions, which lacked renaming
            del identity["rename"]
        text = json.dumps(identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def plain(self) -> dict[str, Any]:
        """All fields as plain data, without the protocol's config, which its version identifies."""
        fields = dataclasses.asdict(self)
        del fields["protocol_config"]
        return fields

    @property
    def name(self) -> str:
        """A name for people."""
        classifier = self.classifier.replace(" ", "")
        name = f"{self.task}_{self.protocol}_{self.backbone}_{classifier}_s{self.seed}"
        beside = f"_x{self.processes}" if self.processes > 1 else ""
        return f"{name}{beside}".replace("/", "-")

    @property
    def stem(self) -> str:
        """The stem of its file names."""
        return f"{self.name}_{self.id}"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A cell with the places of its inputs and outputs, which do not change its result.

    Attributes:
        cell: The cell to run.
        row: Its row of the zoo.
        data: Its data set, as :func:`transfer.plan.request.load_data` takes it.
        data_root: Folder that holds the data sets.
        results: Results folder.
        work_dir: Folder for logs and checkpoints.
        command: The command that runs this cell again.
        backends: MMEngine visualiser backends for curves, such as ``"TensorboardVisBackend"``.
        save_minutes: Checkpoint interval in minutes.
        storage: fsspec URL of a folder for copies of checkpoints; empty for none.
        evaluate_every: Epochs or iterations between evaluations during training; 0 for none.
        baseline: Row that its run computes gains against; empty for none.
        variant: The suite's name for its settings, for titles; empty for none.
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
    variant: str = ""

    @property
    def state_copy(self) -> str:
        """The URL of the copy of this cell's checkpoint; empty for none."""
        return f"{self.storage.rstrip('/')}/{self.name}.pt" if self.storage else ""

    @property
    def name(self) -> str:
        """The name of the cell's files."""
        return self.cell.stem

    @property
    def place(self) -> Path:
        """The cell's own folder for its log and checkpoints."""
        return self.work_dir / self.name

    @property
    def work_leases(self) -> Path:
        """The folder of the leases for the cells' own folders."""
        return self.work_dir / "leases"
