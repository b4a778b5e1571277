"""A smaller ImageFolder for short runs: links to the first images of each class."""

from __future__ import annotations

from pathlib import Path

from backbones.common.errors import UserError
from backbones.training.image_folder import class_names
from transfer.plan.request import load_data


def link_subset(data: str, folder: Path, images: int, batch_size: int) -> tuple[Path, int]:
    """Link images of an ImageFolder into another one, evenly over its classes.

    Args:
        data: ImageFolder, or ``"sample"``.
        folder: Folder for the links.
        images: Largest number of training images.
        batch_size: The number of images becomes a multiple of this.

    Returns:
        The folder and the number of training images.

    Raises:
        UserError: Not an ImageFolder, or fewer images than a batch.
    """
    source = load_data(data, Path()).classifier_images if data == "sample" else Path(data)
    assert source is not None
    classes = class_names(source)
    target = folder / source.name
    counts = {}
    for split, wanted in (("train", images), ("val", max(images // 10, len(classes)))):
        files = [
            sorted((source / split / name).iterdir())[: -(-wanted // len(classes))]
            for name in classes
        ]
        chosen = [path for tier in zip(*files, strict=False) for path in tier][:wanted]
        counts[split] = len(chosen) // batch_size * batch_size if split == "train" else len(chosen)
        for name in classes:
            (target / split / name).mkdir(parents=True)
        for path in chosen[: counts[split]]:
            (target / split / path.parent.name / path.name).symlink_to(path.resolve())
    if not counts["train"]:
        raise UserError(
            f"'{source}' has fewer training images than one batch of {batch_size}; choose a "
            "smaller --batch-size."
        )
    return target, counts["train"]
