"""Classifiers of a run on the sample: public weights, or trained on the sample's own images."""

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
"""Prefix of the weights of classifiers that are trained on the sample if they are missing."""

TRAINED = "sample"
"""Choice: train the classifiers on the sample and download nothing."""

PUBLIC = "public"
"""Choice: use the rows' public weights."""

_BYTES = 4  # bytes of a float32 parameter


@dataclass(frozen=True, kw_only=True)
class SampleTraining:
    """Training of the sample's classifiers: small, fixed, and the same for every row.

    Attributes:
        epochs: Passes over the sample's images.
        batch_size: Images per step.
        image_size: Side length of the crops in pixels.
        base_lr: Learning rate at batch size 256.
        min_area: Smallest share of an image that a crop covers, 0 to 1.
        warmup: Share of the training over which the learning rate rises from 0. Every row has
            warm-up and cosine decay: after so few epochs the paper's step schedule leaves a network
            without tricks untrained, and an untrained control shows nothing.
    """

    epochs: int = 4
    batch_size: int = 16
    image_size: int = 48
    base_lr: float = 0.25
    min_area: float = 0.8
    warmup: float = 0.1

    def recipe(self, row: Variant) -> Recipe:
        """A row's recipe, adapted to the sample.

        Raises:
            UserError: The row has no recipe, or one that needs a teacher.
        """
        if row.recipe is None:
            raise UserError(
                f"'{row.name}' has no recipe for training on the sample: pass its weights with "
                "--weights."
            )
        if row.recipe.teacher:
            raise UserError(
                f"'{row.name}' is distilled and the sample has no teacher: train it with "
                f"'{row.how_to_train()}' and pass the file with --weights."
            )
        warm = self.warmup * row.recipe.epochs
        return replace(row.recipe, schedule="cosine", warmup_epochs=warm)


SAMPLE_TRAINING = SampleTraining()


def trained(row: Variant, seed: int) -> tuple[str, str, str]:
    """Source of a row's classifier of the sample, its identity, and its seed.

    Raises:
        UserError: As :meth:`SampleTraining.recipe`.
    """
    identity = {
        "architecture": row.architecture,
        "recipe": SAMPLE_TRAINING.recipe(row).content(),
        "training": asdict(SAMPLE_TRAINING),
        "version": TRAINING_VERSION,
        "sample": sample.VERSION,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return f"{OF_SAMPLE}{row.alias_of or row.name}:{seed}", f"{OF_SAMPLE}{digest}", f"seed {seed}"


def choose(rows: Sequence[Variant], seed: int, *, fetch: bool) -> tuple[str, list[str]]:
    """Choose public weights or training for the rows of a run on the sample.

    All rows get the same kind: otherwise a gain would not be due to the recipe alone. A run that
    has started with classifiers of the sample continues with them.

    Args:
        rows: Rows of the run that have a recipe and no given weights.
        seed: Of classifiers trained on the sample.
        fetch: Whether public weights may be downloaded.

    Returns:
        :data:`PUBLIC` or :data:`TRAINED`, and sentences for the user.
    """
    if not rows:
        return TRAINED, []
    names = " and ".join(row.name for row in rows)
    schedule = (
        f"The classifiers of {names} are trained on the sample, with warm-up and cosine decay in "
        "every row: in so few epochs, the paper's step schedule leaves the control untrained."
    )
    sources = [row.weights.source for row in rows if row.weights]
    on_hub = len(sources) == len(rows) and all(s.startswith(hub_status.SCHEME) for s in sources)
    if seed or not fetch or not on_hub:
        return TRAINED, [schedule]
    missing = [source for source in sources if not hub_status.is_here(source)]
    if not missing:
        return PUBLIC, [f"The ImageNet weights of {names} are in the cache and will be used."]
    if any(any(_files(f"{row.alias_of or row.name}:{seed}")) for row in rows):
        return TRAINED, [schedule]
    if not hub_status.answers(missing[0]):
        return TRAINED, [f"The weights hub does not answer. {schedule}"]
    fetched = [row for row in rows if row.weights and row.weights.source in missing]
    sizes = [size.parameters * _BYTES for row in fetched if (size := size_of(row.architecture))]
    return PUBLIC, [
        f"The ImageNet weights of {names} will be used; {', '.join(missing)} "
        f"({size_text(sum(sizes))}) will be downloaded. To download nothing and train on "
        "the sample instead, pass --weights sample."
    ]


def is_trained(source: str) -> bool:
    """Whether a classifier of the sample, as named by :func:`trained`, exists already."""
    return any(path.suffix == ".safetensors" for path in _files(source.removeprefix(OF_SAMPLE)))


def _files(name: str) -> Iterator[Path]:
    """Classifiers of a row and seed, ``<row>:<seed>``, and the folders of their trainings."""
    row, _, seed = name.rpartition(":")
    return (cache_dir() / "classifiers" / TRAINED).glob(f"{row}_s{seed}_*")
