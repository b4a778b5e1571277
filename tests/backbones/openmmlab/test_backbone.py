import os

import pytest
import timm
import torch

import transfer.openmmlab  # noqa: F401
from backbones.common.errors import UserError
from backbones.openmmlab.backbone import TimmPyramid, feature_shape, require_maps
from backbones.openmmlab.c4_head import RoIStage
from backbones.weights import weights
from tests.support.toolbox_names import toolbox_names

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}  # He et al. 2016, table 1


def randomise_norms(network):
    """Running statistics and scales that no two channels share."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)


@pytest.mark.parametrize(("weights", "gamma"), [(None, 0.0), ("random:gamma=1", 1.0)])
@pytest.mark.parametrize(
    ("kind", "architecture", "norm"),
    [
        (TimmPyramid, "resnet18", "bn2"),
        (TimmPyramid, "resnet50", "bn3"),
        (RoIStage, "resnet50", "bn3"),
    ],
)
def test_random_weights_start_with_or_without_zero_gamma(kind, architecture, norm, weights, gamma):
    module = kind(architecture, weights=weights)
    module.init_weights()
    last = [m.weight for name, m in module.named_modules() if name.split(".")[-1] == norm]
    blocks = BLOCKS[architecture]
    assert len(last) == (blocks[-1] if kind is RoIStage else sum(blocks))
    assert all((weight == gamma).all() for weight in last)


@pytest.fixture
def classifier_file(tmp_path):
    """A classifier's weights in a file, by architecture."""

    def write(architecture):
        torch.manual_seed(1)
        network = timm.create_model(architecture, num_classes=7)
        randomise_norms(network)
        path = tmp_path / f"{architecture}.pth"
        torch.save(network.state_dict(), path)
        return network.eval(), path

    return write


@pytest.mark.parametrize("architecture", ["resnet18d", "resnet50", "mobilenetv1_100"])
def test_maps_are_the_classifiers_own(architecture, classifier_file):
    network, path = classifier_file(architecture)
    backbone = TimmPyramid(architecture, weights=str(path))
    backbone.init_weights()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = backbone.eval()(images)
        last = network.forward_features(images)
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert [m.shape[1] for m in maps] == backbone.channels
    torch.testing.assert_close(maps[3], last, rtol=1e-5, atol=1e-5)


def test_at_output_stride_8_it_is_mmsegs_resnet_v1d(classifier_file):
    from mmseg.models.backbones import ResNetV1d

    network, path = classifier_file("resnet50d")
    ours = TimmPyramid("resnet50d", output_stride=8, weights=str(path))
    ours.init_weights()
    theirs = ResNetV1d(
        depth=50, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True
    )
    state = toolbox_names(network.state_dict())
    theirs.load_state_dict(state, strict=True)
    theirs.eval()
    images = torch.randn(1, 3, 72, 64)
    with torch.no_grad():
        for own, other in zip(ours.eval()(images), theirs(images), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)


def test_stock_timm_is_another_network_at_output_stride_8(classifier_file):
    """What the shortcut pools would change; see backbones/tricks/resnet_d.py."""
    network, path = classifier_file("resnet18d")
    ours = TimmPyramid("resnet18d", output_stride=8, weights=str(path))
    ours.init_weights()
    stock = timm.create_model("resnet18d", features_only=True, output_stride=8).eval()
    stock.load_state_dict(network.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(ours.eval()(images)[3], stock(images)[-1], atol=1e-2)


@pytest.mark.parametrize(("output_stride", "sides"), [(16, [16, 8, 4, 4]), (8, [16, 8, 8, 8])])
def test_output_stride(output_stride, sides):
    backbone = TimmPyramid("resnet18", output_stride=output_stride)
    assert [m.shape[-1] for m in backbone(torch.zeros(1, 3, 64, 64))] == sides


@pytest.mark.parametrize("frozen_stages", [-1, 0, 1, 4])
@pytest.mark.parametrize("norm_eval", [True, False])
def test_what_is_frozen_does_not_move(frozen_stages, norm_eval):
    backbone = TimmPyramid("resnet18d", frozen_stages=frozen_stages, norm_eval=norm_eval).train()
    before = {k: v.clone() for k, v in backbone.network.state_dict().items()}
    trained = [p for p in backbone.parameters() if p.requires_grad]
    maps = backbone(torch.randn(2, 3, 64, 64))
    if trained:
        loss = sum(m.square().mean() for m in maps)
        loss.backward()
        torch.optim.SGD(trained, lr=1.0).step()
    frozen = ("conv1.", "bn1.", *(f"layer{i}." for i in range(1, frozen_stages + 1)))
    if frozen_stages < 0:
        frozen = ()
    for name, value in backbone.network.state_dict().items():
        moved = not torch.equal(value, before[name])
        statistic = "running" in name or "batches_tracked" in name
        if name.startswith(frozen) and frozen:
            assert not moved, name
        elif statistic:
            assert moved != norm_eval, name
        elif name.endswith("weight") and "bn2" not in name and value.ndim > 1:
            # Behind a zero gamma some weights get no gradient in the first step.
            assert moved or torch.count_nonzero(before[name]) == 0 or "conv" in name, name


def test_layers_after_a_frozen_stem_are_trained():
    backbone = TimmPyramid("resnet18", frozen_stages=1, norm_eval=True).train()
    before = backbone.network.layer4[1].bn2.weight.clone()
    backbone(torch.randn(2, 3, 64, 64))[3].square().mean().backward()
    torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=1.0).step()
    assert not torch.equal(before, backbone.network.layer4[1].bn2.weight)
    assert all(p.grad is None for p in backbone.network.layer1.parameters())


def test_norm_frozen_takes_gamma_and_beta_out_of_training():
    backbone = TimmPyramid("resnet18", norm_eval=True, norm_frozen=True)
    trained = [name for name, p in backbone.network.named_parameters() if p.requires_grad]
    assert trained
    assert all("bn" not in name and "downsample.1" not in name for name in trained)


@pytest.fixture
def process_group():
    """A process group of this process alone."""
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenetv1_100"])
def test_synchronised_norms_keep_their_activation(architecture, classifier_file, process_group):
    _, path = classifier_file(architecture)
    plain = TimmPyramid(architecture, weights=str(path))
    synchronised = TimmPyramid(architecture, norm_sync=True, weights=str(path))
    for backbone in (plain, synchronised):
        backbone.init_weights()
        backbone.eval()
    assert all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in synchronised._norms())
    assert len(synchronised._norms()) == len(plain._norms()) > 0
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for own, other in zip(synchronised(images), plain(images), strict=True):
            torch.testing.assert_close(own, other)


def test_in_a_single_process_norms_are_plain():
    norms = TimmPyramid("mobilenetv1_100", norm_sync=True)._norms()
    assert not any(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)


def test_both_scopes_build_the_same_class():
    from mmdet.registry import MODELS as DETECTION
    from mmseg.registry import MODELS as SEGMENTATION

    config = {"type": "TimmPyramid", "architecture": "resnet18"}
    assert type(DETECTION.build(config)) is type(SEGMENTATION.build(config)) is TimmPyramid


@pytest.mark.parametrize(
    ("architecture", "channels"),
    [
        ("resnet18", (64, 128, 256, 512)),
        ("resnet26", (256, 512, 1024, 2048)),
        ("resnet26d", (256, 512, 1024, 2048)),
        ("resnet34d", (64, 128, 256, 512)),
        ("seresnet50", (256, 512, 1024, 2048)),
        ("ecaresnet26t", (256, 512, 1024, 2048)),
        ("inception_v3", (192, 288, 768, 2048)),
        ("convnext_tiny", (96, 192, 384, 768)),
    ],
)
def test_stages_of_other_families(architecture, channels):
    shape = feature_shape(architecture)
    assert shape.channels == channels
    assert set(shape.stage_of.values()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    "architecture",
    ["resnet18", "inception_v3", "convnext_tiny", "resnest14d", "skresnet18", "rexnet_100"],
)
def test_convolutions_give_such_maps(architecture):
    require_maps(architecture)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"architecture": "resnet51"}, "timm has no network 'resnet51'; similar names are"),
        ({"architecture": "levit_128s"}, "not at 4"),
        ({"architecture": "resnet18", "output_stride": 4}, "it must be 8, 16 or 32"),
        ({"architecture": "resnet18", "frozen_stages": 5}, "between -1 and 4"),
    ],
)
def test_bad_arguments(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        TimmPyramid(**arguments)


def test_report_accounts_for_every_key(classifier_file):
    _, path = classifier_file("resnet18")
    network = timm.create_model("resnet18", features_only=True)
    report = weights.load_into_features(network, "resnet18", str(path))
    assert len(report.matched) == len(network.state_dict())
    assert report.missing == report.mismatched == report.left_over == ()
    assert report.head == ("fc.weight", "fc.bias")
    stages = report.by_stage()
    assert list(stages) == ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]
    assert sum(counts["matched"] for counts in stages.values()) == len(report.matched)


@pytest.mark.parametrize(("of", "into"), [("resnet34", "resnet18"), ("resnet18", "resnet34")])
def test_weights_of_another_depth_are_refused(of, into, classifier_file):
    _, path = classifier_file(of)
    with pytest.raises(UserError, match=f"are not those of '{into}'"):
        TimmPyramid(into, weights=str(path)).init_weights()


def test_a_file_that_matches_nothing_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "odd.pth")
    with pytest.raises(UserError, match="0 keys match"):
        TimmPyramid("resnet18", weights=str(tmp_path / "odd.pth")).init_weights()


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def test_a_pickle_with_code_is_refused_unexecuted(tmp_path):
    target = tmp_path / "executed"
    torch.save({"state_dict": {"conv1.weight": Bomb(target)}}, tmp_path / "bomb.pth")
    with pytest.raises(UserError, match="would execute code"):
        TimmPyramid("resnet18", weights=str(tmp_path / "bomb.pth")).init_weights()
    assert not target.exists()


def test_a_truncated_file_is_refused(classifier_file, tmp_path):
    _, path = classifier_file("resnet18")
    short = tmp_path / "short.pth"
    short.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(UserError, match="truncated"):
        TimmPyramid("resnet18", weights=str(short)).init_weights()


def test_offline_hub_says_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with pytest.raises(UserError, match="put it at"):
        weights.locate("timm:resnet50d.gluon_in1k")
