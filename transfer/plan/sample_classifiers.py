"""The classifiers of a run on the sample: ImageNet's from the hub, or trained on its own images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.resources import cache_dir
from backbones.weights import hub_status
from backbones.weights.download import size_text
from backbones.zoo.entry import TRAINING_VERSION, Recipe, Variant
from backbones.zoo.sizes import size_of
from transfer.datasets import sample

OF_SAMPLE = "sample:"
"""What the weights of a classifier begin with that is trained on the sample where it is missing."""

TRAINED = "sample"
"""The choice of classifiers that are trained on the sample; nothing is fetched."""

PUBLIC = "public"
"""The choice of the rows' public weights."""

_BYTES = 4  # of a parameter, in float32


@dataclass(frozen=True, kw_only=True)
class SampleTraining:
    """How the sample's classifiers are trained: the same for every row, small, and fixed.

    Attributes:
        epochs: Passes over the sample's images.
        batch_size: Images a step.
        image_size: Side of the crops in pixels.
        base_lr: Learning rate at a batch of 256.
        min_area: Smallest share of an image that a crop covers.
        warmup: Share of the training over which the learning rate rises from 0. Warm-up and the
            cosine after it are in every row: after so few epochs the paper's step schedule leaves
            a network without tricks untrained, and a control that has learned nothing shows
            nothing.
    """

    epochs: int = 4
    batch_size: int = 16
    image_size: int = 48
    base_lr: float = 0.2
    min_area: float = 0.5
    warmup: float = 0.1

    def recipe(self, row: Variant) -> Recipe:
        """A row's recipe as it is carried out on the sample.

        Raises:
            UserError: The row has no recipe, or one that needs a teacher.
        """
        if row.recipe is None:
            raise UserError(
                f"'{row.name}' has no recipe to be trained by on the sample: give its weights with "
                "--weights."
            )
        if row.recipe.teacher:
            raise UserError(
                f"'{row.name}' is distilled and the sample has no teacher: train it with "
                f"'{row.how_to_train()}' and give the file with --weights."
            )
        warm = self.warmup * row.recipe.epochs
        return replace(row.recipe, schedule="cosine", warmup_epochs=warm)


SAMPLE_TRAINING = SampleTraining()


def trained(row: Variant, seed: int) -> tuple[str, str, str]:
    """Where a row's classifier of the sample comes from, what identifies it, and its seed.

    Raises:
        UserError: As :meth:`SampleTraining.recipe`.
    """
    told = {
        "architecture": row.architecture,
        "recipe": SAMPLE_TRAINING.recipe(row).content(),
        "training": asdict(SAMPLE_TRAINING),
        "version": TRAINING_VERSION,
        "sample": sample.VERSION,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    return f"{OF_SAMPLE}{row.alias_of or row.name}:{seed}", f"{OF_SAMPLE}{digest}", f"seed {seed}"


def choose(rows: Sequence[Variant], seed: int, *, fetch: bool) -> tuple[str, list[str]]:
    """Whether the rows of a run on the sample get public weights, and what to say about it.

    All rows get the same kind: a gain between two kinds would not be the recipe's. What was begun
    with classifiers of the sample is finished with them.

    Args:
        rows: Those of the run that have a recipe and were given no weights.
        seed: Of classifiers trained on the sample.
        fetch: Whether public weights may be fetched.

    Returns:
        :data:`PUBLIC` or :data:`TRAINED`, and sentences for the user.
    """
    if not rows:
        return TRAINED, []
    names = " and ".join(row.name for row in rows)
    schedule = (
        f"The classifiers of {names} are trained on the sample, with warm-up and cosine decay in "
        "every row: in so few epochs the paper's step schedule leaves the control untrained."
    )
    sources = [row.weights.source for row in rows if row.weights]
    on_hub = len(sources) == len(rows) and all(s.startswith(hub_status.SCHEME) for s in sources)
    if seed or not fetch or not on_hub:
        return TRAINED, [schedule]
    missing = [source for source in sources if not hub_status.is_here(source)]
    if not missing:
        return PUBLIC, [f"The ImageNet weights of {names} are here, and are used."]
    if any(any(_files(f"{row.alias_of or row.name}:{seed}")) for row in rows):
        return TRAINED, [schedule]
    if not hub_status.answers(missing[0]):
        return TRAINED, [f"The hub of weights does not answer. {schedule}"]
    fetched = [row for row in rows if row.weights and row.weights.source in missing]
    sizes = [size.parameters * _BYTES for row in fetched if (size := size_of(row.architecture))]
    return PUBLIC, [
        f"The ImageNet weights of {names} are used; {', '.join(missing)} "
        f"({size_text(sum(sizes))}) will be fetched from the hub. To fetch nothing and train on "
        "the sample instead, give --weights sample."
    ]


def is_trained(source: str) -> bool:
    """Whether a classifier of the sample, as :func:`trained` calls it, is here already."""
    return any(path.suffix == ".safetensors" for path in _files(source.removeprefix(OF_SAMPLE)))


def _files(name: str) -> Iterator[Path]:
    """Classifiers of a row and seed, ``<row>:<seed>``, and the folders of trainings of them."""
    row, _, seed = name.rpartition(":")
    return (cache_dir() / "classifiers" / TRAINED).glob(f"{row}_s{seed}_*")
