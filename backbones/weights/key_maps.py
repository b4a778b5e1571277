"""Translates the names that libraries give to the parts of a network into timm's.

For a ResNet:

================  =======================  ===========================  ========================
part              timm, torchvision        mmdet, mmseg                 mmpretrain
================  =======================  ===========================  ========================
7×7 stem          conv1, bn1               conv1, bn1                   conv1, bn1
deep stem         conv1.{0,1,3,4,6}, bn1   stem.{0,1,3,4,6,7}           stem.{0,1,2}.{conv,bn}
shortcut          downsample.{0,1}         downsample.{0,1}             downsample.{0,1}
shortcut, pooled  downsample.{1,2}         downsample.{1,2}             downsample.{1,2}; {0,1}
                                                                        where it does not stride
squeeze, excite   se.fc1, se.fc2                                        se_layer.conv{1,2}.conv
classifier        fc                                                    head.fc
================  =======================  ===========================  ========================

GluonCV's ``ResNetV1b`` family writes one of two forms. ``save_parameters`` writes timm's names with
``gamma`` and ``beta`` for a batch norm's ``weight`` and ``bias``. ``export``, and Gluon before
MXNet 1.3, number the layers of a stage consecutively: ``resnetv1d_layers2_conv4_weight`` is the
second convolution of the second bottleneck, ``resnetv1d_down2_conv0_weight`` that of the shortcut,
and the prefix may be absent. These flat names do not show how many layers a shortcut has.

Sources: timm ``models/resnet.py``; mmdet and mmseg ``ResNet`` and ``ResLayer``; mmpretrain
``models/backbones/resnet.py`` and ``seresnet.py``; GluonCV ``model_zoo/resnetv1b.py``; Gluon's
rules for names in MXNet's ``gluon/block.py``. Names of EfficientNets are in
:mod:`backbones.weights.efficientnet_names`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from backbones.common.errors import UserError
from backbones.weights import efficientnet_names

Convention = Literal["timm", "mmseg", "mmpretrain", "gluoncv", "efficientnet_pytorch", "unknown"]
"""The origin of names: ``timm`` includes torchvision, ``mmseg`` includes mmdet."""


class Renamed(NamedTuple):
    """A state dict under timm's names.

    Attributes:
        state: Tensors or arrays, the same objects as in the input.
        convention: The origin of their names.
    """

    state: dict[str, Any]
    convention: Convention


_TORCH_PREFIXES = ("module.", "_orig_mod.")
_BACKBONE_PREFIXES = ("backbone.timm_model.", "timm_model.", "backbone.")
_STEMS = ("conv1.", "stem.", "layer1.")
_LONGEST_PREFIX = 6  # segments

# mmdet and mmseg put the stem's last batch norm inside the stem.
_MMSEG_STEM = {f"stem.{i}.": f"conv1.{i}." for i in (0, 1, 3, 4, 6)} | {"stem.7.": "bn1."}
_MMPRETRAIN_STEM = {
    "stem.0.conv.": "conv1.0.",
    "stem.0.bn.": "conv1.1.",
    "stem.1.conv.": "conv1.3.",
    "stem.1.bn.": "conv1.4.",
    "stem.2.conv.": "conv1.6.",
    "stem.2.bn.": "bn1.",
}
_PREFIXES: dict[Convention, dict[str, str]] = {
    "mmseg": _MMSEG_STEM,
    "mmpretrain": {**_MMPRETRAIN_STEM, "head.fc.": "fc."},
}
_SQUEEZE_EXCITE = re.compile(r"(layer[1-4]\.[0-9]+)\.se_layer\.conv([12])\.conv\.")
_SHORTCUT = re.compile(r"layer([1-4])\.0\.downsample\.([0-2])\.(.+)")

_BATCH_NORM_FIELDS = {"gamma": "weight", "beta": "bias"}
_FLAT = re.compile(
    r"(?:(?!layers|down)(?P<net>[A-Za-z0-9]+)_)?(?:(?P<part>layers|down)(?P<stage>[1-4])_)?"
    r"(?P<kind>conv|(?:sync)?batchnorm|dense)(?P<index>[0-9]{1,3})"
    r"_(?P<field>weight|bias|gamma|beta|running_mean|running_var)"
)
_FLAT_DEEP_STEM = {
    "conv": ("conv1.0", "conv1.3", "conv1.6"),
    "bn": ("conv1.1", "conv1.4", "bn1"),
    "fc": ("fc",),
}
_FLAT_STEM = {"conv": ("conv1",), "bn": ("bn1",), "fc": ("fc",)}
_POOLED_VARIANTS = ("d", "e", "t", "tn")
_VARIANT = re.compile(r"resnet(?:[0-9]+(?:_?v1)?|v1)([b-e]|s|tn?)?(?:$|[._])")


def to_timm(table: Mapping[str, Any], architecture: str = "") -> Renamed:
    """Translate the names of a ResNet's or an EfficientNet's weights into timm's.

    torch's own prefixes (``module.``, ``_orig_mod.``) are always removed. Names of parts that a
    classifier lacks, such as a detector's neck, are unchanged; the caller decides what to do with
    them.

    Args:
        table: A state dict, of tensors or arrays.
        architecture: timm's or GluonCV's name of the network, such as ``resnet50d`` or
            ``resnet50_v1d``. Only GluonCV's flat names need it.

    Returns:
        The weights under timm's names, and the convention. Names of an unknown convention, as of
        other networks, are unchanged.

    Raises:
        UserError: Two names mean the same part, or neither the architecture nor the prefix of flat
            names shows whether shortcuts pool.
    """
    state = without_torchs_prefixes(table)
    if any(_is_flat_block(name) for name in state):
        return Renamed(_rename(state, _flat_names(state, architecture)), "gluoncv")
    if efficientnet_names.has_these_names(state):
        renamed = _rename(state, efficientnet_names.timm_names(state))
        return Renamed(renamed, "efficientnet_pytorch")
    names, from_toolbox = _without_backbone(state)
    convention = _recognise(set(names.values()), from_toolbox)
    if convention == "unknown":
        return Renamed(state, "unknown")
    translated = {old: _translate(new, convention) for old, new in names.items()}
    return Renamed(_rename(state, _shifted(translated)), convention)


def prefixes(names: Iterable[str], parts: Collection[str]) -> list[str]:
    """Prefixes of the names of a network's parts: ``model.``, ``backbone.``, or similar.

    Args:
        names: Names of a file.
        parts: Names of the network, without heads.

    Returns:
        The prefixes that cover most of the parts, each up to its last dot, in the order of the
        names; empty if most parts have no common prefix.
    """
    counts = Counter(prefix for name in names for prefix, rest in _split(name) if rest in parts)
    return [prefix for prefix, count in counts.items() if 2 * count > len(parts)]


def _split(name: str) -> Iterator[tuple[str, str]]:
    """All splits of a name into a prefix and the name of a part."""
    *segments, _ = name.split(".", _LONGEST_PREFIX)
    for count in range(1, len(segments) + 1):
        prefix = ".".join(segments[:count]) + "."
        yield prefix, name[len(prefix) :]


def without_prefix(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """A state dict without a prefix; names that do not begin with it are unchanged.

    Raises:
        UserError: Two names became equal.
    """
    return _rename(state, {name: name.removeprefix(prefix) for name in state})


def without_torchs_prefixes(table: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict without the prefixes of torch's wrappers, which all names have or none."""
    state = dict(table)
    for prefix in _TORCH_PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def is_openai_clip(names: Iterable[str]) -> bool:
    """Whether they are those of CLIP's image encoder, as OpenAI and OpenCLIP write them.

    Its tensors also have other shapes than timm's.
    """
    last = {name.rpartition(".")[-1] for name in names if "transformer" not in name}
    return {"class_embedding", "positional_embedding"} <= last


def _without_backbone(state: Iterable[str]) -> tuple[dict[str, str], bool]:
    """Names without the prefix of a complete model's backbone, by old name.

    Names outside the backbone are kept; of these, only mmpretrain's ``head.fc`` exists in timm.

    Returns:
        The names, and whether the backbone is one of OpenMMLab's own.
    """
    names = {name: name for name in state}
    for prefix in _BACKBONE_PREFIXES:
        begins = tuple(prefix + stem for stem in _STEMS)
        if any(name.startswith(begins) for name in names):
            return {name: name.removeprefix(prefix) for name in names}, prefix == "backbone."
    return names, False


def _recognise(names: set[str], from_toolbox: bool) -> Convention:
    if "layer1.0.conv1.weight" not in names:
        return "unknown"
    if "layer1.0.bn1.gamma" in names:
        return "gluoncv"
    if {"stem.0.conv.weight", "head.fc.weight", "layer1.0.se_layer.conv1.conv.weight"} & names:
        return "mmpretrain"
    if "stem.0.weight" in names or from_toolbox:
        return "mmseg"
    return "timm" if {"conv1.weight", "conv1.0.weight"} & names else "unknown"


def _translate(name: str, convention: Convention) -> str:
    """Translate a name that shows its place in the network."""
    if convention == "gluoncv":
        module, _, field = name.rpartition(".")
        return f"{module}.{_BATCH_NORM_FIELDS.get(field, field)}"
    name = _replace_prefix(name, _PREFIXES.get(convention, {}))
    return _SQUEEZE_EXCITE.sub(r"\1.se.fc\2.", name)


def _replace_prefix(name: str, prefixes: Mapping[str, str]) -> str:
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def _shifted(names: dict[str, str]) -> dict[str, str]:
    """Shift indices of shortcuts, because timm counts a pool in every pooled shortcut.

    mmpretrain leaves the pool out where a shortcut does not stride, which is stage 1 of a network
    of bottlenecks, and in a dilated network also stages 3 and 4. timm has an identity there.
    """
    matches = {old: _SHORTCUT.fullmatch(new) for old, new in names.items()}
    stages = {match[1] for match in matches.values() if match}
    pooled = {match[1] for match in matches.values() if match and match[2] == "2"}
    unpooled = stages - pooled if pooled else set()
    return {
        old: f"layer{match[1]}.0.downsample.{int(match[2]) + 1}.{match[3]}"
        if (match := matches[old]) and match[1] in unpooled
        else new
        for old, new in names.items()
    }


def _is_flat_block(name: str) -> bool:
    match = _FLAT.fullmatch(name)
    return match is not None and match["part"] == "layers"


class _FlatLayout(NamedTuple):
    """Properties of a network that flat names do not show."""

    deep_stem: bool
    layers_in_block: int
    shortcut_pools: bool


def _flat_names(state: Mapping[str, Any], architecture: str) -> dict[str, str]:
    matches = {name: _FLAT.fullmatch(name) for name in state}
    found = [match for match in matches.values() if match]
    first_convs = [m.string for m in found if m["part"] == "layers" and _layer(m) == ("conv", 0)]
    layout = _FlatLayout(
        any(m["part"] is None and _layer(m) == ("conv", 2) for m in found),
        # A bottleneck begins with a 1×1 convolution, a basic block with a 3×3.
        3 if any(tuple(state[name].shape)[-1:] == (1,) for name in first_convs) else 2,
        _shortcut_pools({m["net"] for m in found}, architecture),
    )
    return {name: _flat_name(m, layout) if m else name for name, m in matches.items()}


def _layer(match: re.Match[str]) -> tuple[str, int]:
    """The kind of a layer in timm's terms, and its number."""
    kind = {"conv": "conv", "dense": "fc"}.get(match["kind"], "bn")
    return kind, int(match["index"])


def _flat_name(match: re.Match[str], layout: _FlatLayout) -> str:
    """Translate a flat name into timm's; unchanged if the network has no such layer."""
    kind, index = _layer(match)
    stem = (_FLAT_DEEP_STEM if layout.deep_stem else _FLAT_STEM)[kind]
    if match["part"] is None and index < len(stem):
        module = stem[index]
    elif match["part"] == "layers" and kind != "fc":
        block, layer = divmod(index, layout.layers_in_block)
        module = f"layer{match['stage']}.{block}.{kind}{layer + 1}"
    elif match["part"] == "down" and kind != "fc" and index == 0:
        position = layout.shortcut_pools + (kind == "bn")
        module = f"layer{match['stage']}.0.downsample.{position}"
    else:
        return match.string
    return f"{module}.{_BATCH_NORM_FIELDS.get(match['field'], match['field'])}"


def _shortcut_pools(nets: set[str | None], architecture: str) -> bool:
    """Whether shortcuts pool, by the prefix of the names or else by the architecture."""
    prefixes = [_VARIANT.search(f"{net}_") for net in nets if net]
    variants = [match[1] for match in prefixes if match and match[1]]
    if not variants and (match := _VARIANT.search(architecture)):
        variants = [match[1] or "b"]
    if not variants:
        raise UserError(
            "GluonCV's flat names (layers1_conv0_weight, ...) do not tell whether the shortcuts "
            "pool: give the architecture they were trained with, such as resnet50d or resnet50, "
            f"instead of '{architecture}'."
        )
    return variants[0] in _POOLED_VARIANTS


def _rename(state: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The state dict with names replaced.

    Raises:
        UserError: Two old names have the same new one.
    """
    old_names: dict[str, str] = {}
    for old, new in names.items():
        if (other := old_names.setdefault(new, old)) != old:
            raise UserError(
                f"The weights contain one part twice: {other!r} and {old!r} both mean {new!r}; "
                "give a file with the weights of one network."
            )
    return {new: state[old] for new, old in old_names.items()}
