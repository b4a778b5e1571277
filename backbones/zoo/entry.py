"""The parts of a row of the zoo: network, recipe, weights, and the paper's results.

Sections are those of He et al., "Bag of Tricks for Image Classification with Convolutional Neural
Networks" (CVPR 2019).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any

from backbones.zoo.paper_figures import Figures, figures

PerChannel = tuple[float, float, float]
"""A number for each of R, G and B."""

BY_SHAPE = "by shape"

Rename = str | tuple[tuple[str, str], ...]
"""How to translate the names in a file of weights: ``""`` for names of a known library,
:data:`BY_SHAPE`, or pairs of a name (or a prefix of names up to a dot) and timm's name."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

TRAINING_VERSION = 2
"""Version of the training; it changes whenever the resulting classifiers change."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a classifier is trained; the defaults are the paper's baseline (section 2.1).

    Attributes:
        epochs: Passes over the training set.
        batch_size: Global batch size.
        base_lr: Learning rate for a batch size of 256; scaled linearly (section 3.1).
        warmup_epochs: The learning rate rises linearly from 0 over these epochs (section 3.1).
        schedule: ``"step"``, divided by 10 at 1/4, 2/4 and 3/4 of the epochs, or ``"cosine"``.
        zero_gamma: The last BN scale of each residual block starts at 0 (section 3.1).
        bias_decay: Whether weight decay also acts on biases, gamma and beta (section 3.1).
        half_precision: Compute in 16 bits with float32 master weights (section 3.2).
        label_smoothing: Epsilon of section 5.2; 0 is off.
        mixup: Alpha of the Beta distribution of section 5.4; 0 is off.
        teacher: Row of the teacher (section 5.3); empty for none.
        extra: Value of each trick that is not the paper's, by its name in ``backbones/tricks``.
    """

    epochs: int = 120
    batch_size: int = 256
    base_lr: float = 0.1
    warmup_epochs: float = 0.0
    schedule: str = "step"
    zero_gamma: bool = False
    bias_decay: bool = True
    half_precision: bool = False
    label_smoothing: float = 0.0
    mixup: float = 0.0
    teacher: str = ""
    extra: tuple[tuple[str, float], ...] = ()

    def settings(self) -> dict[str, Any]:
        """The value of each active trick of the training, by its registered name."""
        on = {
            "warmup_epochs": self.warmup_epochs > 0,
            "zero_gamma": self.zero_gamma,
            "bias_decay": not self.bias_decay,
            "schedule": self.schedule == "cosine",
            "label_smoothing": self.label_smoothing > 0,
            "teacher": bool(self.teacher),
            "mixup": self.mixup > 0,
        }
        return {name: getattr(self, name) for name, used in on.items() if used} | dict(self.extra)

    def content(self) -> dict[str, Any]:
        """The recipe as plain data, for records and identities."""
        fields = asdict(self)
        extra = dict(fields.pop("extra"))  # keeps the identities of recipes without any
        return fields | ({"extra": extra} if extra else {})

    def tricks(self) -> tuple[str, ...]:
        """Names of the active tricks, in the paper's order."""
        on = {
            "large batch": self.batch_size > 256,
            "warmup": self.warmup_epochs > 0,
            "zero gamma": self.zero_gamma,
            "no bias decay": not self.bias_decay,
            "half precision": self.half_precision,
            "cosine": self.schedule == "cosine",
            "label smoothing": self.label_smoothing > 0,
            "distillation": bool(self.teacher),
            "mixup": self.mixup > 0,
        }
        return (*(name for name, used in on.items() if used), *dict(self.extra))


@dataclass(frozen=True)
class Weights:
    """The public weights of a row.

    Attributes:
        source: ``timm:<name>.<tag>`` on timm's hub, ``package:<module>/<path>`` in an installed
            package, or an ``https://`` address.
        near: ``"exact"``, the authors' own weights of this row; ``"proxy"``; ``"own"``, a user's.
        top1: Published top-1 of these weights in percent; None if not reported.
        note: How they differ from the row's recipe.
        top1_on: The data set of top1; empty if not reported.
    """

    source: str
    near: str
    top1: float | None
    _: KW_ONLY
    note: str = ""
    top1_on: str = "ImageNet"


@dataclass(frozen=True)
class Variant:
    """A row of the zoo.

    Attributes:
        name: The row's name.
        architecture: timm's name of the network, or one registered by this project.
        recipe: Its recipe; None if it is not one of the paper's.
        weights: Public weights; None if the row must be trained.
        control: Row of the same depth and family without tricks; empty for none.
        alias_of: The row that this name refers to, or empty.
        scratch: Fine-tuned from random weights, with nothing frozen and BN trained.
        start: Source of the random weights: empty for the network's own start, or
            :data:`backbones.zoo.sources.RANDOM_GAMMA_ONE`.
        shuffled_of: The row whose shuffled weights this one has; empty for none.
        note: A remark for users.
        mean: Channel means of the preprocessing, on the scale 0 to 1. None means timm's values or,
            for a user's row without timm's weights, ImageNet's.
        std: Channel standard deviations, likewise.
        own: Whether the row comes from a user's file, which may change.
        rename: How to translate the names in the weights.
        reference: A file with an image and the logits that renamed weights must reproduce, or
            empty.
    """

    name: str
    architecture: str
    recipe: Recipe | None = None
    weights: Weights | None = None
    _: KW_ONLY
    control: str = ""
    alias_of: str = ""
    scratch: bool = False
    start: str = ""
    shuffled_of: str = ""
    note: str = ""
    mean: PerChannel | None = None
    std: PerChannel | None = None
    own: bool = False
    rename: Rename = ""
    reference: str = ""

    @property
    def paper(self) -> Figures:
        """The paper's results for this row."""
        return figures(self.alias_of or self.name)

    def how_to_train(self, data: str = "IMAGENET", suite: str = "") -> str:
        """The command that trains the row, or a suite with it, including its teacher."""
        what = f"--suite {suite}" if suite else f"--recipe {self.name}"
        teacher = self.recipe.teacher if self.recipe else ""
        return f"python backbones/train.py {what} --data {data}" + (
            f" --teacher {teacher}=WEIGHTS" if teacher else ""
        )
