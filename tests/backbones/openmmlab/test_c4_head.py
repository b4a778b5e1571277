import pytest
import timm
import torch

import transfer.openmmlab  # noqa: F401
from backbones.common.errors import UserError
from backbones.openmmlab.backbone import TimmPyramid, feature_shape
from backbones.openmmlab.c4_head import RoIStage
from backbones.weights import weights


@pytest.fixture
def classifier(tmp_path):
    """A classifier whose batch norms are far from the identity, and its file."""

    def write(architecture):
        torch.manual_seed(2)
        network = timm.create_model(architecture, num_classes=5).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.1)
        path = tmp_path / f"{architecture}.pth"
        torch.save(network.state_dict(), path)
        return network, str(path)

    return write


FAMILY = ["resnet18", "resnet18d", "resnet50v1", "ecaresnet26t"]


@pytest.mark.parametrize("architecture", FAMILY)
def test_map_and_stage_together_are_the_classifier(architecture, classifier):
    network, path = classifier(architecture)
    backbone = TimmPyramid(architecture, out_indices=(2,), weights=path)
    stage = RoIStage(architecture, weights=path)
    backbone.init_weights()
    stage.init_weights()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        (features,) = backbone.eval()(images)
        torch.testing.assert_close(stage.eval()(features), network.forward_features(images))
    channels = feature_shape(architecture).channels
    assert features.shape[1:] == (channels[2], 4, 6)
    assert backbone.channels == [channels[2]]


def test_every_tensor_is_the_classifiers(classifier):
    network, path = classifier("resnet26d")
    stage = RoIStage("resnet26d", weights=path)
    stage.init_weights()
    own = {k.removeprefix("layer4."): v for k, v in stage.state_dict().items()}
    theirs = network.layer4.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)


def test_the_report_tells_what_was_left_to_the_other_part(classifier):
    _, path = classifier("resnet18")
    map_network = TimmPyramid("resnet18", out_indices=(2,)).network
    of_map = weights.load_into_features(map_network, "resnet18", path).by_stage()
    of_stage = weights.load_into_features(RoIStage("resnet18"), "resnet18", path).by_stage()
    size = len(RoIStage("resnet18").state_dict())
    assert of_map["layer4"] == {"unused": size}
    assert of_stage["layer4"] == {"matched": size}
    for stage in ("conv1", "bn1", "layer1", "layer2", "layer3"):
        assert list(of_map[stage]) == ["matched"]
        assert list(of_stage[stage]) == ["unused"]


def test_pooled_bins_are_halved():
    assert RoIStage("resnet18").eval()(torch.zeros(3, 256, 14, 14)).shape == (3, 512, 7, 7)


@pytest.mark.parametrize("frozen", [True, False])
def test_norms(frozen):
    stage = RoIStage("resnet18", norm_eval=frozen, norm_frozen=frozen).train()
    norms = stage._norms()
    assert norms
    assert {norm.training for norm in norms} == {not frozen}
    assert {p.requires_grad for norm in norms for p in norm.parameters()} == {not frozen}
    rest = {id(p) for p in stage.parameters()} - {id(p) for n in norms for p in n.parameters()}
    assert all(p.requires_grad for p in stage.parameters() if id(p) in rest)


def test_both_scopes_build_it():
    from mmdet.registry import MODELS

    assert type(MODELS.build({"type": "RoIStage", "architecture": "resnet18"})) is RoIStage


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        ("mobilenetv1_100", "'mobilenetv1_100' has no stage 'layer4'"),
        ("inception_v3", "the protocol 'openmmlab'"),
        ("resnet51", "timm has no network 'resnet51'; similar names are"),
    ],
)
def test_networks_without_such_a_stage(architecture, sentence):
    with pytest.raises(UserError, match=sentence):
        RoIStage(architecture)


def test_weights_of_another_depth_are_refused(classifier):
    _, path = classifier("resnet18")
    with pytest.raises(UserError, match="are not those of 'resnet34'"):
        RoIStage("resnet34", weights=path).init_weights()
