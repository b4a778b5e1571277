"""Networks of any kind as pyramids for images of any size, against timm's own features."""

import importlib
import math

import cv2
import numpy as np
import pytest
import timm
import torch

from backbones.common.errors import UserError
from backbones.openmmlab.backbone import TimmPyramid, require_maps
from backbones.openmmlab.feature_shape import feature_shape, way_to_stride
from backbones.openmmlab.nearest import NEAREST

PLAIN = ["test_vit", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"]
LARGER_PLAIN = ["deit3_small_patch16_224", "vit_base_patch16_clip_224", "vit_small_patch16_dinov3"]
HIERARCHIES = ["convnext_atto", "mambaout_femto", "pvt_v2_b0", "resnet18"]
LARGER_HIERARCHIES = [
    *("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "maxvit_rmlp_pico_rw_256"),
    *("twins_svt_small", "davit_tiny", "hrnet_w18_small", "regnety_002"),
]


def slow(names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture
def classifier_file(tmp_path):
    """A classifier with random weights, no two of them alike, and the file of its weights."""

    def write(architecture, **options):
        torch.manual_seed(1)
        network = timm.create_model(architecture, **options).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        path = tmp_path / f"{architecture}.pth"
        torch.save(network.state_dict(), path)
        return network, str(path)

    return write


def backbone(architecture, path, **settings):
    made = TimmPyramid(architecture, weights=path, **settings)
    made.init_weights()
    return made.eval()


def close(ours, theirs):
    scale = float(theirs.abs().max())
    torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=1e-6)


@pytest.mark.parametrize("architecture", PLAIN + slow(LARGER_PLAIN))
def test_at_its_own_size_a_plain_transformer_gives_timms_features(architecture, classifier_file):
    network, path = classifier_file(architecture)
    ours = backbone(architecture, path)
    images = torch.randn(1, *network.pretrained_cfg["input_size"])
    with torch.no_grad():
        (found,) = ours.network(images)
        (wanted,) = network.forward_intermediates(images, [-1], norm=True, intermediates_only=True)
    close(found, wanted)


@pytest.mark.parametrize("architecture", HIERARCHIES + slow(LARGER_HIERARCHIES))
def test_at_its_own_size_a_hierarchy_gives_timms_features(architecture, classifier_file):
    network, path = classifier_file(architecture)
    ours = backbone(architecture, path)
    ours.parts = torch.nn.ModuleList(torch.nn.Identity() for _ in ours.parts)
    images = torch.randn(1, *network.pretrained_cfg["input_size"])
    with torch.no_grad():
        found = ours(images)
        wanted = network.forward_intermediates(images, intermediates_only=True)[-4:]
    for one, other in zip(found, wanted, strict=True):
        close(one, other)


RESAMPLED = [("vit_tiny_patch16_224", {}), ("eva02_tiny_patch14_224", {"patch_size": 16})]
LARGER_RESAMPLED = [
    pytest.param(name, {"patch_size": 16}, marks=pytest.mark.slow)
    for name in ("vit_small_patch14_dinov2", "vit_small_patch8_224", "vit_small_patch32_224")
]


@pytest.mark.parametrize(("architecture", "patches"), RESAMPLED + LARGER_RESAMPLED)
def test_at_other_sizes_patches_and_positions_are_resampled_as_timm_does(
    architecture, patches, classifier_file
):
    """timm's own way: a network of that size, to which its filter adapts the weights."""
    network, path = classifier_file(architecture)
    ours = backbone(architecture, path)
    other = timm.create_model(architecture, img_size=(64, 96), **patches).eval()
    adapt = importlib.import_module(type(network).__module__).checkpoint_filter_fn
    other.load_state_dict(adapt(network.state_dict(), other))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        (found,) = ours.network(images)
        (wanted,) = other.forward_intermediates(images, [-1], norm=True, intermediates_only=True)
    assert found.shape[2:] == (4, 6)
    close(found, wanted)


SIZES = [(96, 128), (75, 100), (33, 257)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("output_stride", [32, 8])
@pytest.mark.parametrize(
    "architecture", ["test_vit", *slow(["swin_tiny_patch4_window7_224", "maxvit_rmlp_pico_rw_256"])]
)
def test_images_of_any_size_give_maps_of_every_stride(architecture, output_stride, size):
    made = TimmPyramid(architecture, output_stride=output_stride).eval()
    with torch.no_grad():
        maps = made(torch.randn(1, 3, *size))
    strides = [min(stride, output_stride) for stride in (4, 8, 16, 32)]
    assert [tuple(each.shape[2:]) for each in maps] == [
        tuple(math.ceil(side / stride) for side in size) for stride in strides
    ]
    assert [each.shape[1] for each in maps] == made.channels == list(made.shape.channels)


def test_padding_does_not_change_what_a_network_sees_of_the_image(classifier_file):
    _, path = classifier_file("test_vit")
    ours = backbone("test_vit", path)
    images = torch.randn(1, 3, 64, 96)
    images[..., 50:, :] = 0
    with torch.no_grad():
        whole, part = ours(images), ours(images[..., :50, :])
    for one, other in zip(whole, part, strict=True):
        torch.testing.assert_close(one[..., : other.shape[2], :], other)


@pytest.mark.parametrize(
    ("architecture", "normed"),
    [
        *(
            ("convnext_atto", True),
            ("mambaout_femto", True),
            ("swin_tiny_patch4_window7_224", True),
        ),
        *(("maxvit_tiny_tf_224", True), ("davit_tiny", True), ("poolformer_s12", True)),
        *(("resnet18", False), ("regnety_002", False), ("pvt_v2_b0", False), ("vgg11", False)),
        *(("tf_efficientnet_lite0", False), ("mobilenetv3_small_100", False), ("dla34", False)),
    ],
)
def test_maps_that_no_norm_has_scaled_get_a_layer_norm_each(architecture, normed):
    with torch.device("meta"):
        parts = TimmPyramid(architecture).parts
    norms = [m for part in parts for m in part.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert [norm.normalized_shape[0] for norm in norms] == (
        list(feature_shape(architecture).channels) if normed else []
    )


def test_normed_maps_have_no_mean_and_unit_variance():
    made = TimmPyramid("test_convnext").eval()
    with torch.no_grad():
        for each in made(10 * torch.randn(1, 3, 64, 64)):
            torch.testing.assert_close(
                each.mean(1), torch.zeros_like(each[:, 0]), atol=1e-4, rtol=0
            )
            assert (each.var(1, unbiased=False) - 1).abs().max() < 0.05


@pytest.mark.parametrize("architecture", ["test_vit", "convnext_atto"])
def test_parts_that_no_head_reads_are_left_out_and_the_rest_is_trained(architecture):
    made = TimmPyramid(architecture, output_stride=8, read=[2, 3])
    maps = made(torch.randn(2, 3, 64, 64))
    assert len(maps) == 4
    sum(each.square().mean() + each.mean() for each in maps[2:]).backward()
    assert [n for n, p in made.named_parameters() if p.requires_grad and p.grad is None] == []
    assert [len(list(part.parameters())) > 0 for part in made.parts] == [False, False, True, True]


@pytest.mark.parametrize(
    ("architecture", "way"),
    [
        *(("resnet18", "dilated"), ("convnext_atto", "dilated"), ("regnety_002", "dilated")),
        *(("test_vit", "pyramid"), ("densenet121", "resized"), ("pvt_v2_b0", "resized")),
        *(("hrnet_w18_small", "resized"), ("mambaout_femto", "resized")),
    ],
)
def test_every_network_has_a_way_to_output_stride_8(architecture, way):
    assert way_to_stride(architecture, 8) == way
    with torch.device("meta"):
        maps = TimmPyramid(architecture, output_stride=8)(torch.zeros(2, 3, 128, 192))
    assert [round(128 / each.shape[2]) for each in maps] == [4, 8, 8, 8]


def test_resized_maps_are_bilinear():
    torch.manual_seed(0)
    strided, resized = TimmPyramid("pvt_v2_b0"), TimmPyramid("pvt_v2_b0", output_stride=8)
    resized.load_state_dict(strided.state_dict())
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        own, large = strided.eval()(images)[3][0], resized.eval()(images)[3][0]
    wanted = [cv2.resize(channel, (12, 8)) for channel in own.numpy()]
    torch.testing.assert_close(large, torch.from_numpy(np.stack(wanted)))


STEM = {
    "test_vit": ("patch_embed", "pos_embed", "cls_token", "reg_token", "norm_pre"),
    "vit_tiny_patch16_224": ("patch_embed", "pos_embed", "cls_token"),
    "swin_tiny_patch4_window7_224": ("patch_embed",),
    "convnext_atto": ("stem",),
    "pvt_v2_b0": ("patch_embed",),
    "twins_svt_small": ("patch_embeds.0.",),
    "mvitv2_tiny": ("patch_embed",),
    "sam2_hiera_base_plus": ("patch_embed", "pos_embed"),
}
FIRST = {
    "test_vit": ("blocks.0", "blocks.1"),
    "vit_tiny_patch16_224": ("blocks.0.", "blocks.1.", "blocks.2."),
    "swin_tiny_patch4_window7_224": ("layers_0",),
    "convnext_atto": ("stages_0",),
    "pvt_v2_b0": ("stages_0",),
    "twins_svt_small": ("blocks.0.", "pos_block.0."),
    "mvitv2_tiny": ("stages.0.",),
    "sam2_hiera_base_plus": ("blocks.0.", "blocks.1."),
}


@pytest.mark.parametrize("architecture", FIRST)
def test_frozen_stages_are_the_stem_and_quarters_of_the_blocks_or_stages(architecture):
    names = STEM[architecture] + FIRST[architecture]
    with torch.device("meta"):
        made = TimmPyramid(architecture, frozen_stages=1)
        stem_only = TimmPyramid(architecture, frozen_stages=0)
    for network, frozen in ((made, names), (stem_only, STEM[architecture])):
        for name, parameter in network.network.named_parameters():
            assert parameter.requires_grad != name.removeprefix("model.").startswith(frozen), name
    assert all(p.requires_grad for p in made.parts.parameters())


def test_a_frozen_network_still_trains_the_parts_that_are_new():
    made = TimmPyramid("test_vit", frozen_stages=4).train()
    assert not any(
        p.requires_grad or m.training for m in made.network.modules() for p in m.parameters()
    )
    sum(each.mean() for each in made(torch.randn(1, 3, 64, 64))).backward()


@pytest.mark.parametrize(
    ("architecture", "facts"),
    [
        ("hiera_tiny_224", ("224 x 224 pixels", "sam2_hiera_tiny")),
        ("coatnet_0_rw_224", ("224 x 224 pixels", "maxvit_tiny_tf_224")),
        ("efficientformerv2_s0", ("224 x 224 pixels", "fastvit_t8")),
        ("beit_base_patch16_224", ("224 x 224 pixels", "deit3_base_patch16_224")),
        ("mixer_s16_224", ("224 x 224 pixels", "vit_small_patch16_224")),
        ("levit_128s", ("strides [16, 32, 64] but not at 4", "efficientvit_b0")),
    ],
)
def test_what_timm_builds_for_one_size_is_refused_in_one_sentence(architecture, facts):
    with pytest.raises(UserError) as refusal:
        require_maps(architecture)
    message = str(refusal.value)
    assert message.startswith(f"'{architecture}' ")
    assert "\n" not in message
    assert "()" not in message.replace(" ", "")
    assert all(fact in message for fact in facts)


@pytest.mark.parametrize("architecture", sorted(NEAREST))
def test_the_nearest_network_works(architecture):
    require_maps(architecture)
