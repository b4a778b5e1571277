"""Images in both the training set and the test set, found by content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer.datasets.file_checks import Looked
from transfer.datasets.findings import Finding
from transfer.datasets.listing import Listing

# Root mean square difference of two thumbnails in grey levels: on VOC, copies with another quality
# or size differ by 1 to 3, and no two images by less than 13.
_ALIKE = 5.0
_FLAT = 10.0  # grey levels, standard deviation; below it thumbnails are too uniform to compare
_BLOCK = 1024


def leaks(listing: Listing, looked: dict[Path, Looked]) -> Iterator[Finding]:
    """Find training images that are also in the test set, by content.

    Args:
        listing: The training and test images.
        looked: The result of each image's check; all are decoded.
    """
    reported: set[Path] = set()
    for task, test in listing.test.items():
        train = [
            path for path in dict.fromkeys(listing.train.get(task, [])) if path not in reported
        ]
        by_content = {_content(looked[path]): path for path in test}
        twins = {path: by_content.get(_content(looked[path])) for path in train}
        for path, twin in twins.items():
            if twin:
                detail = "is listed for both" if path == twin else f"equals '{twin.name}'"
                yield Finding("leak", path, detail, path)
        alike = dict(_look_alikes([path for path in train if not twins[path]], test, looked))
        for path, twin in alike.items():
            yield Finding("alike", path, f"looks like '{twin.name}'")
        reported.update((path for path in train if twins[path]), alike)


def _content(result: Looked) -> bytes:
    """The identity of an image: its bytes, or its path if it is unreadable."""
    return result.digest or str(result.item.image).encode()


def _look_alikes(
    train: list[Path], test: list[Path], looked: dict[Path, Looked]
) -> Iterator[tuple[Path, Path]]:
    """Pairs with nearly equal thumbnails: copies with another size or quality."""
    train, test = _eventful(train, looked), _eventful(test, looked)
    if not train or not test:
        return
    test_pixels = np.stack([_pixels(looked[path]) for path in test])
    test_lengths = np.square(test_pixels).sum(axis=1)
    most = _ALIKE**2 * test_pixels.shape[1]
    for start in range(0, len(train), _BLOCK):
        block = train[start : start + _BLOCK]
        pixels = np.stack([_pixels(looked[path]) for path in block])
        products = pixels @ test_pixels.T
        distances = np.square(pixels).sum(axis=1)[:, None] + test_lengths - 2 * products
        nearest = distances.argmin(axis=1)
        for path, twin, distance in zip(block, nearest, distances.min(axis=1), strict=True):
            if distance < most:
                yield path, test[twin]


def _eventful(paths: list[Path], looked: dict[Path, Looked]) -> list[Path]:
    """The readable images that are not uniform."""
    read = (path for path in dict.fromkeys(paths) if looked[path].thumbnail)
    return [path for path in read if _pixels(looked[path]).std() >= _FLAT]


def _pixels(result: Looked) -> NDArray[np.float32]:
    """A thumbnail's values, centred on the middle grey."""
    return np.frombuffer(result.thumbnail, np.uint8).astype(np.float32) - 128
