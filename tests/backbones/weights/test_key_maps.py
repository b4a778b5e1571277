"""Key maps, against the real networks of timm, mmdet and mmseg, and others' names.

mmpretrain and GluonCV are not installed with this project: their names are composed here as their
sources compose them, and pinned by literal names from files that they wrote.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from backbones.common.errors import UserError
from backbones.weights.key_maps import to_timm
from backbones.weights.mxnet_params import read_params
from tests.support.toolbox_names import toolbox_names

FIXTURE = Path(__file__).parents[4] / "shared/data/fixtures/gluoncv-cifar_resnet20_v1-0000.params"

# timm's name and further arguments; mmdet's and mmseg's arguments for the same network.
NETWORKS: dict[str, tuple[str, dict, dict]] = {
    "18": ("resnet18", {}, {"depth": 18}),
    "18c": (
        "resnet18",
        {"stem_type": "deep", "stem_width": 32},
        {"depth": 18, "deep_stem": True},
    ),
    "18d": ("resnet18d", {}, {"depth": 18, "deep_stem": True, "avg_down": True}),
    "50": ("resnet50", {}, {"depth": 50}),
    "50c": ("resnet50c", {}, {"depth": 50, "deep_stem": True}),
    "50d": ("resnet50d", {}, {"depth": 50, "deep_stem": True, "avg_down": True}),
    "50s": ("resnet50s", {}, {"depth": 50, "deep_stem": True, "stem_channels": 128}),
    # Pooled shortcuts behind a plain stem have no letter, and are one argument away in mmdet.
    "50 pooled": ("resnet50", {"avg_down": True}, {"depth": 50, "avg_down": True}),
}
DEEP = [name for name, (_, _, options) in NETWORKS.items() if "deep_stem" in options]


def timm_network(name: str, **options: object) -> nn.Module:
    architecture, own, _ = NETWORKS[name]
    return timm.create_model(architecture, **own, **options)


@functools.cache  # so that "the same tensors" can be asserted: by identity, for they are empty
def timm_keys(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return timm_network(name).state_dict()


@pytest.fixture(scope="module")
def toolboxes() -> dict[str, type[nn.Module]]:
    stand_in = pytest.importorskip("transfer.operators.stand_in")
    stand_in.install()
    from mmdet.models.backbones import ResNet as DetectorResNet
    from mmseg.models.backbones import ResNet as SegmenterResNet

    return {"mmdet": DetectorResNet, "mmseg": SegmenterResNet}


def randomised(network: nn.Module) -> nn.Module:
    """In eval mode, with batch norms whose every number is random, so that no mix-up cancels."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.0, generator=generator)
            for tensor in (module.bias, module.running_mean):
                nn.init.uniform_(tensor, -0.2, 0.2, generator=generator)
    network.eval()
    return network


@torch.no_grad()
def last_map(network: nn.Module, images: Tensor) -> Tensor:
    forward = getattr(network, "forward_features", network)
    maps = forward(images)
    return maps if isinstance(maps, Tensor) else maps[-1]


@pytest.mark.parametrize("toolbox", ["mmdet", "mmseg"])
class TestOpenMMLab:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_the_real_networks_keys_become_timms(self, toolboxes, toolbox, name):
        with torch.device("meta"):
            theirs = toolboxes[toolbox](**NETWORKS[name][2]).state_dict()
        expected = {k: v for k, v in timm_keys(name).items() if not k.startswith("fc.")}
        found, convention = to_timm(theirs)
        assert convention == ("mmseg" if name in DEEP else "timm")
        assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}

    @pytest.mark.parametrize("name", NETWORKS)
    def test_with_timms_weights_the_real_network_computes_timms_map(self, toolboxes, toolbox, name):
        ours = randomised(timm_network(name))
        theirs = toolboxes[toolbox](**NETWORKS[name][2])
        theirs.eval()
        theirs.load_state_dict(toolbox_names(ours.state_dict()), strict=True)
        images = torch.randn(2, 3, 75, 64)  # an odd size, which pools and strides round
        expected = last_map(ours, images)
        assert expected.std() > 0.1
        torch.testing.assert_close(last_map(theirs, images), expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("name", ["18d", "50d", "50"])
    def test_with_its_weights_timms_network_computes_its_map(self, toolboxes, toolbox, name):
        theirs = randomised(toolboxes[toolbox](**NETWORKS[name][2]))
        ours = timm_network(name, num_classes=0).eval()
        detector = {f"backbone.{k}": v for k, v in theirs.state_dict().items()}
        state, convention = to_timm(detector)
        assert convention == "mmseg"
        ours.load_state_dict(state, strict=True)
        images = torch.randn(2, 3, 64, 64)
        torch.testing.assert_close(
            last_map(ours, images), last_map(theirs, images), atol=1e-5, rtol=1e-5
        )


def test_mmseg_at_output_stride_8_computes_timms_map(toolboxes):
    ours = randomised(timm_network("50c", output_stride=8))
    theirs = toolboxes["mmseg"](
        depth=50,
        deep_stem=True,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=True,
    )
    theirs.eval()
    theirs.load_state_dict(toolbox_names(ours.state_dict()), strict=True)
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(
        last_map(theirs, images), last_map(ours, images), atol=1e-5, rtol=1e-5
    )


def mmpretrain_names(name: str, strides: tuple[int, ...] = (1, 2, 2, 2)) -> dict[str, Tensor]:
    """A whole classifier's state as mmpretrain's ``ResNet`` and ``ResLayer`` name it.

    The stem is three ConvModules, each ``conv`` and ``bn``; a shortcut gets its pool only where
    it strides (``if avg_down and stride != 1``).
    """
    stem = {"0.": "0.conv.", "1.": "0.bn.", "3.": "1.conv.", "4.": "1.bn.", "6.": "2.conv."}
    state: dict[str, Tensor] = {}
    for key, value in timm_keys(name).items():
        shortcut = re.fullmatch(r"(layer([1-4])\.0\.downsample)\.([12])\.(\w+)", key)
        if key.startswith("fc."):
            key = f"head.{key}"
        elif name in DEEP and key.startswith("conv1."):
            key = f"backbone.stem.{stem[key[6:8]]}{key[8:]}"
        elif name in DEEP and key.startswith("bn1."):
            key = f"backbone.stem.2.{key[:2]}.{key[4:]}"
        elif shortcut and NETWORKS[name][2].get("avg_down") and strides[int(shortcut[2]) - 1] == 1:
            key = f"backbone.{shortcut[1]}.{int(shortcut[3]) - 1}.{shortcut[4]}"
        else:
            key = f"backbone.{key}"
        state[key] = value
    return state


class TestMMPretrain:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_its_classifiers_keys_become_timms(self, name):
        theirs = mmpretrain_names(name)
        found, convention = to_timm(theirs)
        assert convention == "mmpretrain"
        assert found == timm_keys(name)  # the same tensors, not only the same shapes

    def test_the_composed_names_are_those_of_its_sources(self):
        names = set(mmpretrain_names("50d"))
        assert {
            "backbone.stem.0.conv.weight",
            "backbone.stem.2.bn.running_var",
            "backbone.layer1.0.downsample.0.weight",
            "backbone.layer1.0.downsample.1.running_mean",
            "backbone.layer2.0.downsample.1.weight",
            "backbone.layer2.0.downsample.2.running_mean",
            "head.fc.weight",
            "head.fc.bias",
        } <= names
        assert "backbone.layer1.0.downsample.2.weight" not in names

    def test_a_dilated_network_whose_later_shortcuts_do_not_stride(self):
        found, _ = to_timm(mmpretrain_names("50d", strides=(1, 2, 1, 1)))
        assert found == timm_keys("50d")

    def test_squeeze_and_excitation(self, toolboxes):
        from mmdet.models.layers import SELayer

        with torch.device("meta"):
            ours = timm.create_model("seresnet50").state_dict()
            # The layer itself is the same in mmdet, where its names can be read off.
            theirs = set(SELayer(256).state_dict())
        state = {}
        for key, value in ours.items():
            key = re.sub(r"\.se\.fc([12])\.", r".se_layer.conv\1.conv.", key)
            state[f"head.{key}" if key.startswith("fc.") else f"backbone.{key}"] = value
        prefix = "backbone.layer1.0.se_layer."
        assert {key.removeprefix(prefix) for key in state if key.startswith(prefix)} == theirs
        found, convention = to_timm(state)
        assert convention == "mmpretrain"
        assert found == ours

    def test_a_timm_network_inside_it(self):
        ours = timm_keys("50d")
        state = {
            f"head.{k}" if k.startswith("fc.") else f"backbone.timm_model.{k}": v
            for k, v in ours.items()
        }
        assert to_timm(state).state == ours


class Gluon:
    """Names as Gluon composes them: a parent's prefix, the layer's kind, and a running number.

    Follows the order in which GluonCV's ``resnetv1b.py`` creates its layers. A block is created in
    its stage's name scope and opens none of its own, so numbers run through a stage; a shortcut
    has a scope of its own, ``down<stage>_``.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.made: dict[tuple[str, str], int] = {}

    def layer(self, scope: str, kind: str, *fields: str) -> Iterator[str]:
        number = self.made.get((scope, kind), 0)
        self.made[scope, kind] = number + 1
        for field in fields:
            yield f"{self.prefix}{scope}{kind}{number}_{field}"

    def conv_norm(self, scope: str) -> Iterator[str]:
        yield from self.layer(scope, "conv", "weight")
        yield from self.layer(scope, "batchnorm", "gamma", "beta", "running_mean", "running_var")

    def network(self, blocks: tuple[int, ...], layers: int, deep: bool) -> Iterator[str]:
        for _ in range(3 if deep else 1):
            yield from self.conv_norm("")
        for stage, count in enumerate(blocks, start=1):
            for block in range(count):
                for _ in range(layers):
                    yield from self.conv_norm(f"layers{stage}_")
                if block == 0 and (layers == 3 or stage > 1):
                    yield from self.conv_norm(f"down{stage}_")
        yield from self.layer("", "dense", "weight", "bias")


BLOCKS = {"18": ((2, 2, 2, 2), 2), "50": ((3, 4, 6, 3), 3)}
GLUONCV = [name for name in NETWORKS if name != "50 pooled"]


def gluon_flat(name: str, prefix: str = "") -> dict[str, Tensor]:
    """timm's tensors in timm's order, which is that of creation, under GluonCV's flat names."""
    tensors = [v for k, v in timm_keys(name).items() if not k.endswith("num_batches_tracked")]
    names = list(Gluon(prefix).network(*BLOCKS[name[:2]], deep=name in DEEP))
    return dict(zip(names, tensors, strict=True))


def gluon_dotted(name: str) -> dict[str, Tensor]:
    """``save_parameters``' names: the attributes' path, and the fields of Gluon's batch norm."""
    norms = {k.rpartition(".")[0] for k in timm_keys(name) if k.endswith("running_mean")}
    fields = {"weight": "gamma", "bias": "beta"}
    state = {}
    for key, value in timm_keys(name).items():
        module, _, field = key.rpartition(".")
        if field != "num_batches_tracked":
            state[f"{module}.{fields.get(field, field) if module in norms else field}"] = value
    return state


def without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


class TestGluonCV:
    @pytest.mark.parametrize("name", GLUONCV)
    def test_names_of_save_parameters(self, name):
        found, convention = to_timm(gluon_dotted(name))
        assert convention == "gluoncv"
        assert found == without_counters(timm_keys(name))

    @pytest.mark.parametrize("prefix", ["", "resnetv1b0_", "net_"])
    @pytest.mark.parametrize("name", GLUONCV)
    def test_flat_names(self, name, prefix):
        found, convention = to_timm(gluon_flat(name, prefix), f"resnet{name}")
        assert convention == "gluoncv"
        assert found == without_counters(timm_keys(name))

    @pytest.mark.parametrize("name", GLUONCV)
    @pytest.mark.parametrize("architecture", ["", "resnet50d", "resnet50"])
    def test_a_prefix_that_tells_the_variant_needs_no_architecture(self, name, architecture):
        prefix = f"resnetv1{name[2:] or 'b'}_"
        found, _ = to_timm(gluon_flat(name, prefix), architecture)
        assert found == without_counters(timm_keys(name))

    @pytest.mark.parametrize(
        ("architecture", "pools"),
        [
            ("resnet50d", True),
            ("resnet50d.gluon_in1k", True),
            ("timm/resnet50d", True),
            ("seresnet152d", True),
            ("resnet26t", True),
            ("resnet50_v1d", True),
            ("resnet101_v1e", True),
            ("resnet50", False),
            ("resnet50v1", False),
            ("resnet50.tv_in1k", False),
            ("resnet50c", False),
            ("resnet50_v1s", False),
            ("wide_resnet50_2", False),
        ],
    )
    def test_which_architectures_pool_in_the_shortcut(self, architecture, pools):
        found, _ = to_timm(gluon_flat("50"), architecture)
        assert ("layer2.0.downsample.2.weight" in found) == pools

    @pytest.mark.parametrize("architecture", ["", "convnext_tiny", "resnetv2_50d"])
    def test_without_either_it_asks_for_the_architecture(self, architecture):
        with pytest.raises(UserError, match="give the architecture"):
            to_timm(gluon_flat("50", "resnetv1b0_"), architecture)

    def test_the_composed_names_are_those_of_real_files(self):
        # Of published lists of resnet50_v1d's exported and resnet50_v1b's saved parameters.
        flat = list(gluon_flat("50d", "resnetv1d_"))
        assert len(flat) == 277  # 55 convolutions, as many batch norms, the classifier's 2
        assert flat[:2] == ["resnetv1d_conv0_weight", "resnetv1d_batchnorm0_gamma"]
        last = flat.index("resnetv1d_layers1_batchnorm2_running_var")
        assert flat[last + 1] == "resnetv1d_down1_conv0_weight"
        assert {
            "resnetv1d_batchnorm2_running_var",
            "resnetv1d_down1_batchnorm0_gamma",
            "resnetv1d_layers1_conv8_weight",
            "resnetv1d_layers2_batchnorm11_beta",
            "resnetv1d_layers3_conv17_weight",
            "resnetv1d_layers4_batchnorm8_running_var",
            "resnetv1d_down4_conv0_weight",
            "resnetv1d_dense0_bias",
        } <= set(flat)
        assert not {"resnetv1d_conv3_weight", "resnetv1d_layers4_conv9_weight"} & set(flat)
        assert {
            "conv1.weight",
            "bn1.gamma",
            "layer1.0.bn3.running_var",
            "layer1.0.downsample.0.weight",
            "layer1.0.downsample.1.beta",
            "layer3.5.conv3.weight",
            "layer4.2.bn1.beta",
            "fc.bias",
        } <= set(gluon_dotted("50"))

    def test_layers_that_no_such_network_has_are_left_over(self):
        extra = {"layers1_dense0_weight", "down1_conv1_weight", "conv3_weight", "dense1_bias"}
        state = gluon_flat("50") | {name: torch.zeros(1) for name in extra}
        found, _ = to_timm(state, "resnet50")
        assert set(found) - set(timm_keys("50")) == extra

    @pytest.mark.skipif(not FIXTURE.exists(), reason=f"GluonCV's file is not at {FIXTURE}")
    def test_a_real_file_of_another_family_stays_as_it_is(self):
        arrays = read_params(FIXTURE)
        found, convention = to_timm(arrays, "resnet50d")
        assert convention == "unknown"
        assert found == arrays
        # What this file shows of Gluon's counting: numbers run through a stage and start anew.
        for stage in (1, 2, 3):
            numbers = [re.search(rf"stage{stage}_conv(\d+)_weight", name) for name in arrays]
            found_numbers = [int(match[1]) for match in numbers if match]
            assert found_numbers == list(range(6 if stage == 1 else 7))


class TestTimmAndTorch:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_timms_own_names_stay(self, name):
        ours = timm_keys(name)
        assert to_timm(ours) == (ours, "timm")

    def test_torchvisions_are_timms(self):
        torchvision = pytest.importorskip("torchvision")
        with torch.device("meta"):
            theirs = torchvision.models.resnet50().state_dict()
        found, convention = to_timm(theirs)
        assert convention == "timm"
        assert list(found) == list(timm_keys("50"))

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
    def test_torchs_prefixes(self, prefix):
        ours = timm_keys("18d")
        assert to_timm({f"{prefix}{k}": v for k, v in ours.items()}) == (ours, "timm")

    @pytest.mark.parametrize("architecture", ["mobilenetv1_100", "inception_v3", "convnext_atto"])
    def test_other_networks_are_unknown_and_unchanged(self, architecture):
        with torch.device("meta"):
            ours = timm.create_model(architecture).state_dict()
        assert to_timm(ours, architecture) == (ours, "unknown")
        assert to_timm({f"module.{k}": v for k, v in ours.items()}) == (ours, "unknown")
        backbone = {f"backbone.{k}": v for k, v in ours.items()}
        assert to_timm(backbone) == (backbone, "unknown")

    def test_arrays_do_as_well_as_tensors(self):
        arrays = {k: np.zeros(v.shape, "float32") for k, v in gluon_flat("18d").items()}
        found, _ = to_timm(arrays, "resnet18d")
        assert {k: v.shape for k, v in found.items()} == {
            k: v.shape for k, v in without_counters(timm_keys("18d")).items()
        }


FRAGMENTS = [
    *("module.", "backbone.", "stem.", "0.", "2.", "7.", "conv.", "bn.", "layer1.0.", "layer2.0."),
    *(
        "conv1.",
        "bn1.",
        "downsample.",
        "1.",
        "se_layer.",
        "fc.",
        "head.",
        "weight",
        "bias",
        "gamma",
    ),
    *(
        "layers1_",
        "down1_",
        "conv0_",
        "conv2_",
        "batchnorm0_",
        "dense0_",
        "resnetv1d_",
        "running_var",
    ),
]


class TestStrangeInput:
    def test_parts_of_a_detector_are_left_over(self, toolboxes):
        theirs = {f"backbone.{k}": v for k, v in timm_keys("50").items() if k[:3] != "fc."}
        extra = {"neck.lateral_convs.0.conv.weight": torch.ones(1), "rpn_head.b": torch.ones(1)}
        found, convention = to_timm({**theirs, **extra})
        assert convention == "mmseg"
        assert set(found) - set(timm_keys("50")) == set(extra)

    def test_one_part_twice(self):
        state = timm_keys("18")
        with pytest.raises(UserError, match=r"'backbone\.conv1\.weight' and"):
            to_timm({**{f"backbone.{k}": v for k, v in state.items()}, **state})

    def test_two_flat_networks_in_one_file(self):
        state = gluon_flat("18", "resnetv1b0_") | gluon_flat("18", "resnetv1b1_")
        with pytest.raises(UserError, match="one part twice"):
            to_timm(state, "resnet18")

    def test_a_number_too_long_for_an_integer(self):
        name = f"layers1_conv{'9' * 5000}_weight"
        assert to_timm({name: torch.ones(1)}) == ({name: torch.ones(1)}, "unknown")

    @settings(max_examples=300, deadline=None)
    @given(
        st.dictionaries(
            st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=6).map("".join)
            | st.text(max_size=9),
            st.lists(st.integers(0, 2), max_size=4).map(np.zeros),
            max_size=8,
        ),
        st.sampled_from(["", "resnet50d", "resnet18"]),
    )
    def test_any_names_give_every_array_back_or_a_clear_error(self, state, architecture):
        try:
            found, _ = to_timm(state, architecture)
        except UserError:
            return
        assert sorted(map(id, found.values())) == sorted(map(id, state.values()))
