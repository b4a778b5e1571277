import ast
import sys
import types
from importlib import import_module
from pathlib import Path

import mmdet
import mmseg
import pytest
import torch
from mmcv import ops
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode

from backbones.common.errors import UserError
from transfer.operators import stand_in
from transfer.operators.deformable_convolution import (
    deform_conv_backward_input,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from transfer.operators.families import FAMILIES, provided
from transfer.operators.roi_pooling import (
    roi_align_backward,
    roi_align_forward,
    roi_pool_forward,
)
from transfer.operators.suppression import nms


def test_other_operators_say_what_is_missing():
    with pytest.raises(UserError, match="'nms_rotated' is not compiled"):
        ops.nms_rotated(torch.tensor([[5.0, 5, 9, 9, 0]]), torch.tensor([0.5]), 0.5)


def test_a_compiled_mmcv_is_left_alone(monkeypatch):
    compiled = types.ModuleType(stand_in.NAME)
    monkeypatch.setitem(sys.modules, stand_in.NAME, compiled)
    stand_in.install()
    assert sys.modules[stand_in.NAME] is compiled


def test_installing_twice_changes_nothing():
    before = sys.modules[stand_in.NAME]
    stand_in.install()
    assert sys.modules[stand_in.NAME] is before


def test_every_family_is_listed_with_its_package():
    by_package = dict(reversed(part.rsplit(" by ", 1)) for part in provided().split("; "))
    for family in FAMILIES:
        assert family.title in by_package[family.package].split(", ")


UNUSED = {  # by the detectors and segmenters; lanes are neither
    *("line_nms_forward", "nms_rotated", "nms_quadri"),
    *("carafe_naive_forward", "carafe_naive_backward"),
}
BY_NAME = ("RoIAlign", "RoIPool", "DeformRoIPoolPack", "DeformConv2dPack", "CARAFE", "SAConv2d")


def imported_from_mmcv(package):
    """What a toolbox imports from mmcv.ops."""
    for path in Path(package.__file__).parent.joinpath("models").rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "mmcv.ops" in text else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmcv.ops"):
                yield from (getattr(import_module(node.module), each.name) for each in node.names)


def home_of(operator):
    """The module that defines a class or a function, which may be a class's method."""
    return getattr(operator, "__self__", operator).__module__


def compiled_names(path):
    """The operators that a module of mmcv asks the compiled module for."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ext_loader.load_ext":
            yield from ast.literal_eval(node.args[1])


@pytest.mark.parametrize("package", [mmdet, mmseg])
def test_operators_that_the_toolboxes_import_are_provided(package):
    operators = [*imported_from_mmcv(package), *(getattr(ops, name) for name in BY_NAME)]
    assert ops.point_sample in operators
    have = {operator for family in FAMILIES for operator in family.operators}
    for operator in operators:
        home = Path(import_module(home_of(operator)).__file__)
        if home.parent.name == "ops":
            assert set(compiled_names(home)) <= have | UNUSED, operator


class TorchvisionTypes(TorchDispatchMode):
    """Notes the floating types that each of torchvision's operators is given."""

    def __init__(self):
        super().__init__()
        self.given = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "torchvision":
            name = func.name().partition("::")[2]
            self.given[name] = {a.dtype for a in args if isinstance(a, torch.Tensor)}
        return func(*args, **(kwargs or {}))


@pytest.fixture
def pretended_gpu():
    try:
        with FakeTensorMode():
            torch.zeros(1, device="cuda").copy_(torch.ones(1, device="cuda"))
    except RuntimeError:
        pytest.skip("torch before 2.7 cannot pretend to have a GPU")


@pytest.mark.usefixtures("pretended_gpu")
@pytest.mark.parametrize(
    ("device", "given", "asked"),
    [
        ("cuda", torch.bfloat16, torch.float32),
        ("cuda", torch.float16, torch.float16),
        ("cuda", torch.float32, torch.float32),
        ("cpu", torch.bfloat16, torch.float32),
        ("cpu", torch.float16, torch.float32),
    ],
)
def test_torchvision_is_asked_for_types_that_its_kernels_have(device, given, asked):
    """On CUDA: AT_DISPATCH_FLOATING_TYPES_AND_HALF; suppression is exact in float32 only."""
    with FakeTensorMode(shape_env=ShapeEnv()), TorchvisionTypes() as types:
        features = torch.zeros(2, 3, 9, 12, dtype=given, device=device)
        rois = torch.zeros(5, 5, dtype=given, device=device)
        pooled = features.new_zeros(5, 3, 7, 7)
        none, how = features.new_zeros(0), (7, 7, 0.25, 2, 1, True)
        roi_align_forward(features, rois, pooled, none, none, *how)
        roi_align_backward(pooled, rois, none, none, features, *how)
        nms(rois[:, 1:], rois[:, 0], 0.5, 1)
    assert pooled.dtype == features.dtype == given
    assert types.given == {
        "roi_align": {asked},
        "_roi_align_backward": {asked},
        "nms": {torch.float32},
    }


@pytest.mark.usefixtures("pretended_gpu")
@pytest.mark.parametrize("given", [torch.bfloat16, torch.float16, torch.float32])
def test_coordinates_are_computed_in_float32(given):
    with FakeTensorMode(shape_env=ShapeEnv()), TorchvisionTypes() as types:
        features = torch.zeros(2, 4, 9, 12, dtype=given, device="cuda")
        rois = torch.zeros(5, 5, dtype=given, device="cuda")
        pooled = features.new_zeros(5, 4, 7, 7)
        roi_pool_forward(features, rois, pooled, pooled.int(), 7, 7, 0.25)
        weight, bias = features.new_zeros(4, 4, 3, 3), features.new_zeros(4)
        offset, mask = features.new_zeros(2, 18, 9, 12), features.new_zeros(2, 9, 9, 12)
        none = features.new_zeros(0)
        grads = (features, weight, bias, offset, mask)
        v1 = {"kW": 3, "kH": 3, "dW": 1, "dH": 1, "padW": 1, "padH": 1}
        v1 |= {"dilationW": 1, "dilationH": 1, "group": 1, "deformable_group": 1}
        v2 = {"kernel_h": 3, "kernel_w": 3, "stride_h": 1, "stride_w": 1, "pad_h": 1, "pad_w": 1}
        v2 |= {"dilation_h": 1, "dilation_w": 1, "group": 1, "deformable_group": 1}
        given_v2 = (features, weight, bias, none, offset, mask)
        deform_conv_forward(features, weight, offset, features, none, none, **v1)
        deform_conv_backward_input(features, offset, features, features, offset, weight, none, **v1)
        modulated_deform_conv_forward(*given_v2, features, none, with_bias=True, **v2)
        modulated_deform_conv_backward(*given_v2, none, *grads, features, with_bias=True, **v2)
    assert set(types.given) == {"roi_pool", "deform_conv2d", "_deform_conv2d_backward"}
    assert set().union(*types.given.values()) == {torch.float32}


def in_both_directions(operator, *given):
    output = operator(*given)
    leaves = [each for each in given if isinstance(each, torch.Tensor) and each.requires_grad]
    gradients = torch.autograd.grad(output.sum(), leaves)
    return [output, *gradients]


def test_operators_stay_on_the_device_of_their_tensors():
    """Tensors of the meta device may not be mixed with the CPU's."""
    maps, logits = torch.zeros(2, 4, 9, 12), torch.zeros(5, 3)
    offset, weight = torch.zeros(2, 18, 9, 12), torch.zeros(4, 4, 3, 3)
    maps, logits, offset, weight = (
        each.to("meta").requires_grad_() for each in (maps, logits, offset, weight)
    )
    targets = torch.zeros(5, dtype=torch.long, device="meta")
    rois, masks = torch.zeros(5, 5, device="meta"), torch.zeros(2, 9, 18, 24, device="meta")
    results = [
        *in_both_directions(ops.sigmoid_focal_loss, logits, targets),
        *in_both_directions(ops.softmax_focal_loss, logits, targets),
        *in_both_directions(ops.RoIPool(7, 0.25), maps, rois),
        *in_both_directions(ops.deform_conv2d, maps, offset, weight, 1, 1),
        *in_both_directions(ops.CARAFE(3, 1, 2), maps, masks),
        *in_both_directions(ops.PSAMask("collect", (2, 2)), maps),
    ]
    assert {each.device.type for each in results} == {"meta"}
