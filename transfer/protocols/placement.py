"""Where a model's config depends on the backbone's channels and on the number of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import ConfigDict

from transfer.protocols.misfit import Misfit

_SEGMENTERS = ("decode_head", "auxiliary_head")
"""Parts of a segmenter that take maps by ``in_index``, each a head or a list of heads."""


def place_channels(model: ConfigDict, channels: Sequence[int], last: int) -> None:
    """Set the channels of the parts that take the backbone's maps, in place.

    Args:
        model: Config of a detector or segmenter.
        channels: Channels of the backbone's maps, in its order.
        last: Channels of the network's last stage, which a C4 detector applies to RoIs.

    Raises:
        Misfit: A part takes other maps than the backbone gives.
    """
    if model.get("roi_head", {}).get("shared_head"):
        model.rpn_head.in_channels = channels[-1]
        model.roi_head.bbox_roi_extractor.out_channels = channels[-1]
        model.roi_head.bbox_head.in_channels = last
    elif model.get("neck"):
        first = model.neck[0] if isinstance(model.neck, list | tuple) else model.neck
        name = "model.neck.0" if first is not model.neck else "model.neck"
        _place_all(first, channels, name)
    elif any(head in model for head in _SEGMENTERS):
        for name, head in _segmenters(model):
            _place_selected(head, channels, name)
    else:
        for name in ("rpn_head", "bbox_head"):
            if name in model:
                _place_all(model[name], channels, f"model.{name}")


def _place_all(part: ConfigDict, channels: Sequence[int], name: str) -> None:
    """Set the channels of a part that takes all maps."""
    own = part.get("in_channels")
    if isinstance(own, list | tuple) and len(own) == len(channels):
        part.in_channels = list(channels)
    elif isinstance(own, int) and len(channels) == 1:
        part.in_channels = channels[0]
    else:
        wanted = "no in_channels" if own is None else f"in_channels = {own!r}"
        raise Misfit(
            name,
            f"({part.get('type')}) has {wanted}, but the backbone gives {len(channels)} maps",
            "choose a part whose in_channels lists the channels of each map, or other "
            "'out_indices' of the backbone, one for each of its in_channels",
        )


def _segmenters(model: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    """The heads of a segmenter, by their dotted names."""
    for name in _SEGMENTERS:
        heads = model.get(name)
        if isinstance(heads, list | tuple):
            yield from ((f"model.{name}.{i}", head) for i, head in enumerate(heads))
        elif heads:
            yield f"model.{name}", heads


def _place_selected(head: ConfigDict, channels: Sequence[int], name: str) -> None:
    """Set the channels of a head, and of heads inside it, that take some of the maps."""
    if _takes_all(head):
        _place_all(head, channels, name)
        return
    for part in nodes(head):
        if "in_channels" not in part or (part is not head and "in_index" not in part):
            continue
        index = part.get("in_index", -1)
        several = isinstance(index, list | tuple)
        try:
            taken = [channels[i] for i in index] if several else channels[index]
        except (IndexError, TypeError) as error:
            raise Misfit(
                f"{name}.in_index",
                f"is {index!r}, but the backbone gives {len(channels)} maps",
                "choose the maps in 'in_index', or more of them in the backbone's 'out_indices'",
            ) from error
        part.in_channels = taken
        if part.get("c1_in_channels"):  # DeepLabV3+ adds the first map
            part.c1_in_channels = channels[0]


def _takes_all(head: ConfigDict) -> bool:
    """Whether a segmenter's head takes all maps, such as Mask2Former's."""
    return "in_index" not in head and isinstance(head.get("in_channels"), list | tuple)


def read_maps(model: ConfigDict, count: int) -> list[int] | None:
    """Places of the maps that a segmenter's heads take; None for all maps.

    Args:
        model: Config of a detector or segmenter.
        count: Number of the backbone's maps.
    """
    heads = [head for _, head in _segmenters(model)]
    if model.get("neck") or not heads:
        return None
    parts = [part for part in nodes(heads) if "in_channels" in part]
    if any(_takes_all(head) for head in heads):
        return None
    taken = [part.get("in_index", -1) for part in parts if part in heads or "in_index" in part]
    flat = {i % count for one in taken for i in (one if isinstance(one, list | tuple) else [one])}
    return sorted(flat | ({0} if any(part.get("c1_in_channels") for part in parts) else set()))


def place_classes(model: ConfigDict, count: int) -> None:
    """Set the number of classes of every head, in place.

    Raises:
        Misfit: No head has one, or a setting lists a value for each class.
    """
    names = [name for name in model if name not in ("backbone", "neck", "rpn_head")]
    if not sum(_place_count(model[name], f"model.{name}", count) for name in names):
        raise Misfit(
            "model",
            "has no head with 'num_classes', and no rule for other heads exists",
            "choose a head for detection by boxes, or for semantic segmentation",
        )


def _place_count(part: Any, name: str, count: int, before: int = 0) -> int:
    """Set the number of classes in a part and below; returns in how many places.

    Args:
        part: Any part of a config.
        name: Its dotted name.
        count: The number of classes.
        before: The number of classes that the part around it had.
    """
    if isinstance(part, list | tuple):
        return sum(_place_count(one, f"{name}.{i}", count, before) for i, one in enumerate(part))
    if not isinstance(part, dict):
        return 0
    placed = int("num_classes" in part)
    if placed:
        before, part["num_classes"] = part["num_classes"], count
        _place_outputs(part, name, before, count)
    if isinstance(weights := part.get("class_weight"), list | tuple):
        part["class_weight"] = _weights(weights, before, count, f"{name}.class_weight")
    inner = [key for key in part if key != "class_weight"]
    return placed + sum(_place_count(part[key], f"{name}.{key}", count, before) for key in inner)


def _place_outputs(part: ConfigDict, name: str, before: int, count: int) -> None:
    """Set the channels of a segmenter's scores, where they are given beside the classes.

    Raises:
        Misfit: There is one channel, which is enough for two classes only.
    """
    if part.get("out_channels") == before:
        part.out_channels = count
    elif part.get("out_channels") == 1 and count != 2:
        raise Misfit(
            f"{name}.out_channels",
            f"is 1, which separates two classes, but the data have {count}",
            "leave out out_channels and threshold, and use_sigmoid of the loss",
        )


def _weights(own: Sequence[float], before: int, count: int, name: str) -> list[float]:
    """A loss's weights of classes, for another number of classes.

    Heads that match queries have one weight for all classes and another for "none of them".

    Raises:
        Misfit: The weights of classes differ, or the number of classes is not known.
    """
    if not before:
        raise Misfit(
            name,
            "belongs to a head without 'num_classes', and no rule for other heads exists",
            "choose a head for detection by boxes, or for semantic segmentation",
        )
    if len(set(own)) == 1:
        return [own[0]] * (len(own) - before + count)
    if len(own) == before + 1 and len(set(own[:-1])) == 1:
        return [own[0]] * count + [own[-1]]
    key = name.rpartition(".")[2]
    equal = f"{key}=None there, or one equal weight for each class"
    with_none = f"{key}=[1.0] * {before} + [{own[-1]!r}] there, equal weights for the classes"
    raise Misfit(
        name,
        f"lists {len(own)} weights for the classes of other data",
        f"write {with_none if len(own) == before + 1 else equal}",
    )


def kind_of(node: Any) -> str:
    """The class of a table, without its toolbox's scope; empty if it states none."""
    return str(node.get("type") or "").rpartition(".")[2]


def nodes(tree: Any) -> list[Any]:
    """Every dict in a tree of dicts and lists."""
    if isinstance(tree, dict):
        return [tree, *(node for value in tree.values() for node in nodes(value))]
    if isinstance(tree, list | tuple):
        return [node for value in tree for node in nodes(value)]
    return []
