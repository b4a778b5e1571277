import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

import transfer.openmmlab  # noqa: F401
from backbones.common.errors import UserError
from backbones.openmmlab.backbone import TimmPyramid
from backbones.openmmlab.c4_head import RoIStage
from backbones.openmmlab.layer_decay import LayerDecay

NETWORKS = [
    *("resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto"),
    *("samvit_base_patch16", "caformer_s18"),  # the last has no group_matcher
]
SETTINGS = {"type": "AdamW", "lr": 1.0, "weight_decay": 0.05}


def optimised(model, layer_decay=0.8, **settings):
    """Learning rate and weight decay of each trained parameter by its name, in their order."""
    cfg = {"type": "OptimWrapper", "optimizer": {**SETTINGS, **settings}}
    optimizer = LayerDecay(cfg, {"layer_decay": layer_decay})(model).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def detector(architecture, **settings):
    with torch.device("meta"):
        backbone = TimmPyramid(architecture, **settings)
        return nn.ModuleDict({"backbone": backbone, "head": nn.Linear(8, 4)})


def name_in_classifier(name):
    """timm's extractors put a network behind ``model.``, or write ``stages_0`` for ``stages.0``."""
    name = name.removeprefix("backbone.network.").removeprefix("model.")
    for parent in ("layers", "stages", "downsample", "stem"):
        name = name.replace(f"{parent}_", f"{parent}.")
    return name


@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_backbone_learns_as_timms_own_groups_say(architecture):
    with torch.device("meta"):
        classifier = timm.create_model(architecture)
    names = {id(parameter): name for name, parameter in classifier.named_parameters()}
    listed = getattr(classifier, "no_weight_decay", tuple)()
    groups = param_groups_layer_decay(classifier, 0.05, listed, layer_decay=0.8)
    expected = {
        names[id(parameter)]: (group["lr_scale"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }
    found = optimised(detector(architecture))
    own = {n: found[n] for n in found if n.startswith("backbone.network.")}
    assert len(own) > 50
    for name, settings in own.items():
        if "rel_pos" in name and architecture.startswith("samvit"):  # timm forgets to list them
            assert settings == (expected[name_in_classifier(name)][0], 0.0)
        else:
            assert settings == expected[name_in_classifier(name)]


def test_layers_are_counted_from_the_head():
    of_resnet = optimised(detector("resnet18"))  # stem, 8 blocks, and the classifier's head
    assert of_resnet["backbone.network.conv1.weight"] == (pytest.approx(0.8**9), 0.05)
    assert of_resnet["backbone.network.bn1.weight"] == (pytest.approx(0.8**9), 0.0)
    assert of_resnet["backbone.network.layer3.0.conv2.weight"] == (pytest.approx(0.8**4), 0.05)
    assert of_resnet["backbone.network.layer4.1.bn2.bias"] == (pytest.approx(0.8), 0.0)
    of_vit = optimised(detector("vit_tiny_patch16_224"))  # embeddings, 12 blocks, and the head
    model = "backbone.network.model."
    assert of_vit[f"{model}pos_embed"] == (pytest.approx(0.8**13), 0.0)
    assert of_vit[f"{model}patch_embed.proj.weight"] == (pytest.approx(0.8**13), 0.05)
    assert of_vit[f"{model}blocks.3.attn.qkv.weight"] == (pytest.approx(0.8**9), 0.05)
    assert of_vit[f"{model}norm.weight"] == (pytest.approx(0.8), 0.0)


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "convnext_atto"])
def test_what_the_classifier_lacks_learns_at_the_full_rate(architecture):
    model = detector(architecture)
    sizes = {name: parameter.ndim for name, parameter in model.named_parameters()}
    found = optimised(model)
    new = {name: found[name] for name in found if not name.startswith("backbone.network.")}
    assert any(name.startswith("backbone.parts.") for name in new)
    assert new == {name: (1.0, 0.05 if sizes[name] > 1 else 0.0) for name in new}
    assert next(iter(found.values()))[0] == 1.0, "records state the first group's learning rate"


def test_every_trained_parameter_is_optimised_once():
    model = detector("resnet18", frozen_stages=1)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    cfg = {"optimizer": SETTINGS}
    groups = LayerDecay(cfg, {"layer_decay": 0.8})(model).optimizer.param_groups
    assert optimised(model).keys() == trained
    assert sum(len(group["params"]) for group in groups) == len(trained)


def test_the_last_stage_as_a_head_keeps_its_layers():
    with torch.device("meta"):
        backbone = TimmPyramid("resnet18", out_indices=(2,))
        model = nn.ModuleDict({"backbone": backbone, "head": RoIStage("resnet18")})
    found = optimised(model)
    assert found["head.layer4.0.conv1.weight"] == (pytest.approx(0.8**2), 0.05)
    assert found["backbone.network.layer3.1.conv1.weight"] == (pytest.approx(0.8**3), 0.05)


@pytest.mark.parametrize(
    ("paramwise", "fact"),
    [
        (None, "layer_decay"),
        ({"layer_decay": 0.9, "num_layers": 12}, "num_layers"),
        ({"layer_decay": 0}, "0;"),
        ({"layer_decay": 1.5}, "1.5"),
        ({"layer_decay": "0.9"}, "'0.9'"),
        ({"layer_decay": float("nan")}, "nan"),
    ],
)
def test_other_settings_are_refused(paramwise, fact):
    with pytest.raises(UserError, match=fact):
        LayerDecay({"optimizer": SETTINGS}, paramwise)


def test_an_optimizer_without_learning_rate_is_refused():
    with pytest.raises(UserError, match="'lr'"):
        LayerDecay({"optimizer": {"type": "AdamW"}}, {"layer_decay": 0.9})


def test_a_model_without_a_known_backbone_is_refused():
    with pytest.raises(UserError, match="TimmPyramid"):
        LayerDecay({"optimizer": SETTINGS}, {"layer_decay": 0.9})(nn.Linear(2, 2))
