"""Each trick against the paper's equation, worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest
import timm
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from scipy import stats
from torch import nn
from torch.nn.functional import one_hot

import backbones.runtime.precision
from backbones.common.errors import UserError
from backbones.training import augmentation
from backbones.training.classifier import Classifier, initialise
from backbones.tricks import trick as tricks
from backbones.tricks.cosine import cosine_scheduler
from backbones.tricks.distillation import Distillation, distillation_loss
from backbones.tricks.half_precision import optim_wrapper_type
from backbones.tricks.label_smoothing import smooth_targets
from backbones.tricks.linear_scaling import scaled_lr
from backbones.tricks.mixup import Mixup, mix
from backbones.tricks.no_bias_decay import NoBiasDecay
from backbones.tricks.resnet_c import deep_stem
from backbones.tricks.resnet_d import drop_unstrided_shortcut_pools
from backbones.tricks.warmup import warmup_scheduler
from backbones.tricks.zero_gamma import ZeroGamma, set_last_gamma
from backbones.zoo import zoo
from backbones.zoo.cost import classifier_cost


def rates(schedulers, steps, lr):
    """The learning rate of every batch under MMEngine's schedulers."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=lr))
    built = [PARAM_SCHEDULERS.build(dict(s, optimizer=wrapper)) for s in schedulers]
    seen = []
    for _ in range(steps):
        seen.append(wrapper.get_lr()["lr"][0])
        wrapper.optimizer.step()
        for scheduler in built:
            scheduler.step()
    return seen


# --- Section 3.1 ----------------------------------------------------------------------------------


def test_linear_scaling():
    assert scaled_lr(0.1, 256) == 0.1
    assert scaled_lr(0.1, 1024) == 0.4
    assert scaled_lr(0.1, 64) == 0.025


def test_warmup_is_i_eta_over_m():
    seen = rates([warmup_scheduler(10)], 14, lr=0.4)
    expected = [0.4 * min(i, 10) / 10 for i in range(1, 15)]
    assert seen == pytest.approx(expected)


def test_zero_gamma_makes_blocks_the_identity():
    network = timm.create_model("resnet50d")
    initialise(network)
    ZeroGamma(True).initialise(network)
    network.train()
    blocks = [b for i in range(1, 5) for b in getattr(network, f"layer{i}")]
    assert len(blocks) == 16
    for block in blocks:
        channels = block.conv1.in_channels
        x = torch.rand(2, channels, 8, 8)  # non-negative, as after a ReLU
        with torch.no_grad():
            result = block(x.clone())
            expected = x if block.downsample is None else block.downsample(x).relu()
        torch.testing.assert_close(result, expected)


def test_without_the_trick_timms_zero_gamma_is_switched_off():
    network = timm.create_model("resnet50")
    assert network.layer1[0].bn3.weight.abs().sum() == 0, "timm's own default"
    initialise(network)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(torch.all(norm.weight == 1) for norm in norms)
    assert set_last_gamma(network, 0.0) == 16


def test_no_bias_decay_groups_of_resnet50d():
    network = timm.create_model("resnet50d")
    group = {"params": list(network.parameters()), "weight_decay": 1e-4}
    decayed, spared = NoBiasDecay(False).parameter_groups([group])
    assert (decayed["weight_decay"], spared["weight_decay"]) == (1e-4, 0.0)
    # 3 + 16 · 3 + 4 convolutions and the FC layer; two numbers a channel of 55 norms, and a bias.
    assert len(decayed["params"]) == 3 + 48 + 4 + 1
    assert len(spared["params"]) == 2 * 55 + 1
    assert sum(p.numel() for p in spared["params"]) == 2 * 26_592 + 1000 + 64
    total = sum(p.numel() for group in (decayed, spared) for p in group["params"])
    assert total == 25_576_264
    assert len(group["params"]) == 56 + 111


def test_half_precision_keeps_float32_masters():
    assert optim_wrapper_type(False) == "OptimWrapper"
    assert optim_wrapper_type(True, "float32") == "OptimWrapper"
    assert optim_wrapper_type(True) in ("Bfloat16OptimWrapper", "AmpOptimWrapper")
    layer = torch.nn.Linear(4, 2)
    wrapper = backbones.runtime.precision.Bfloat16OptimWrapper(
        optimizer=torch.optim.SGD(layer.parameters(), lr=0.1)
    )
    with wrapper.optim_context(layer):
        result = layer(torch.randn(3, 4))
    assert result.dtype == torch.bfloat16
    wrapper.backward(result.float().square().sum())
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32


# --- Section 4 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "parameters", "multiply_adds", "printed"),
    [
        ("resnet50v1", 25_557_032, 3.86, 3.8),
        ("resnet50", 25_557_032, 4.09, 4.1),
        ("resnet50c", 25_576_264, 4.33, 4.3),
        ("resnet50d", 25_576_264, 4.33, 4.3),
    ],
)
def test_tweaks_cost_what_table_5_says(architecture, parameters, multiply_adds, printed):
    cost = classifier_cost(architecture)
    assert cost.parameters == parameters
    assert round(cost.multiply_adds / 1e9, 2) == multiply_adds
    assert cost.multiply_adds / 1e9 == pytest.approx(printed, abs=0.061)


def test_where_the_tweaks_put_their_strides():
    def strides(architecture):
        block = timm.create_model(architecture).layer2[0]
        shortcut = [m.stride for m in block.downsample if hasattr(m, "stride")]
        return block.conv1.stride, block.conv2.stride, shortcut

    assert strides("resnet50v1") == ((2, 2), (1, 1), [(2, 2)])
    assert strides("resnet50") == ((1, 1), (2, 2), [(2, 2)])
    assert strides("resnet50d") == ((1, 1), (2, 2), [2, (1, 1)])
    stem = deep_stem(timm.create_model("resnet50c"))
    assert [(c.out_channels, c.kernel_size, c.stride) for c in stem] == [
        (32, (3, 3), (2, 2)),
        (32, (3, 3), (1, 1)),
        (64, (3, 3), (1, 1)),
    ]
    with pytest.raises(TypeError, match="no deep stem"):
        deep_stem(timm.create_model("resnet18"))


def test_only_pools_that_do_not_stride_are_dropped():
    assert drop_unstrided_shortcut_pools(timm.create_model("resnet50d")) == 0
    assert drop_unstrided_shortcut_pools(timm.create_model("resnet50d", output_stride=16)) == 1
    assert drop_unstrided_shortcut_pools(timm.create_model("resnet50d", output_stride=8)) == 2


def _places_seen(network):
    """Stride of each shortcut that computes, and the number of places that one place depends on."""
    seen = []
    for name, module in network.eval().named_modules():
        if name.split(".")[-1] in ("downsample", "shortcut") and list(module.parameters()):
            first = next(m for m in module.modules() if isinstance(m, nn.Conv2d))
            image = torch.randn(1, first.in_channels, 8, 8, requires_grad=True)
            made = module(image)
            made[0, :, 1, 1].sum().backward()
            places = int(image.grad[0].abs().sum(0).count_nonzero())
            seen.append((8 // made.shape[-1], places))
    return seen


@pytest.mark.parametrize(("output_stride", "dilated"), [(16, 1), (8, 2)])
@pytest.mark.parametrize(
    "architecture",
    [
        *("resnet18d", "seresnext26d_32x4d", "ecaresnet26t", "resnetv2_50d", "nf_resnet50"),
        *("resnet50_clip", "resnet50_mlp", "regnetz_b16", "resnest14d", "resnet50"),
    ],
)
def test_a_dilated_shortcut_looks_at_one_place(architecture, output_stride, dilated):
    """A pool of stride 1 would look at four."""
    network = timm.create_model(architecture, features_only=True, output_stride=output_stride)
    drop_unstrided_shortcut_pools(network)
    found = _places_seen(network)
    assert all(places == 1 for stride, places in found if stride == 1)
    own = _places_seen(timm.create_model(architecture, features_only=True))
    strided = sorted(each for each in own if each[0] == 2)
    assert sorted(each for each in found if each[0] == 2) == strided[dilated:]


@pytest.mark.parametrize("architecture", ["resnet50d", "resnetv2_50d", "vgg11", "convnext_atto"])
def test_networks_that_are_not_dilated_keep_their_pools(architecture):
    assert drop_unstrided_shortcut_pools(timm.create_model(architecture)) == 0


# --- Section 5 ------------------------------------------------------------------------------------


def test_cosine_after_warmup_at_named_batches():
    # 200 batches of which 20 warm up: T = 180.
    seen = rates([warmup_scheduler(20), cosine_scheduler(20, 200)], 200, lr=0.4)
    assert seen[0] == pytest.approx(0.4 / 20)
    assert seen[19] == pytest.approx(0.4)
    for t in (0, 45, 90, 135, 179):
        assert seen[20 + t] == pytest.approx(0.2 * (1 + math.cos(t * math.pi / 180)))


def test_smooth_targets_are_equation_4():
    targets = smooth_targets(one_hot(torch.tensor([2]), 5), 0.1)
    torch.testing.assert_close(targets, torch.tensor([[0.025, 0.025, 0.9, 0.025, 0.025]]))
    authors = smooth_targets(one_hot(torch.tensor([2]), 5), 0.1, over_all=True)
    torch.testing.assert_close(authors, torch.tensor([[0.02, 0.02, 0.92, 0.02, 0.02]]))
    torch.testing.assert_close(
        smooth_targets(one_hot(torch.tensor([1, 0]), 3), 0.0),
        torch.tensor([[0.0, 1, 0], [1, 0, 0]]),
    )


def test_authors_smoothing_is_torchs():
    logits, labels = torch.randn(6, 9), torch.arange(6)
    ours = torch.nn.functional.cross_entropy(logits, smooth_targets(one_hot(labels, 9), 0.1, True))
    theirs = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(ours, theirs)


def test_the_optimal_logit_gap_is_9_1_for_a_thousand_classes():
    targets = smooth_targets(one_hot(torch.tensor([0]), 1000), 0.1).double()
    gap = (targets[0, 0].log() - targets[0, 1].log()).item()
    assert gap == pytest.approx(math.log(999 * 0.9 / 0.1)) == pytest.approx(9.1, abs=0.01)
    # The gap is where the loss is least: its gradient is softmax minus target.
    logits = torch.zeros(1, 1000, dtype=torch.double)
    logits[0, 0] = gap
    torch.testing.assert_close(logits.softmax(1), targets, rtol=1e-6, atol=1e-9)


def test_distillation_loss_on_three_classes():
    z = torch.tensor([[1.0, -0.5, 0.3]], dtype=torch.double, requires_grad=True)
    r = torch.tensor([[2.0, 0.1, -1.0]], dtype=torch.double)
    p = torch.tensor([[0.9, 0.05, 0.05]], dtype=torch.double)
    temperature = 20.0
    loss = distillation_loss(z, r, p)

    def softmax(v):
        e = [math.exp(x - max(v)) for x in v]
        return [x / sum(e) for x in e]

    zs, rs, ps = z[0].tolist(), r[0].tolist(), p[0].tolist()
    hot, cold = softmax(zs), softmax([v / temperature for v in zs])
    taught = softmax([v / temperature for v in rs])
    expected = -sum(a * math.log(b) for a, b in zip(ps, hot, strict=True)) - 400 * sum(
        a * math.log(b) for a, b in zip(taught, cold, strict=True)
    )
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    # d/dz: softmax(z) − p, and T² / T of softmax(z / T) − softmax(r / T).
    gradient = [
        (h - q) + temperature * (c - t) for h, q, c, t in zip(hot, ps, cold, taught, strict=True)
    ]
    assert z.grad[0].tolist() == pytest.approx(gradient)
    assert distillation_loss(z, r, p, halved=True).item() == pytest.approx(expected / 2)


def test_a_teacher_is_frozen_and_in_eval_mode():
    network = timm.create_model("resnet18", num_classes=4)
    model = Classifier("resnet18", 4, [Distillation(network)])
    model.train()
    teacher = model.tricks[0].value
    assert not teacher.training
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any("teacher" in name for name, _ in model.named_parameters())
    before = network.bn1.running_mean.clone()
    batch = {
        "images": torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8),
        "labels": torch.tensor([0, 3]),
        "matrices": torch.eye(3, 4).expand(2, 3, 4),
    }
    model(**batch, mode="loss")["loss"].backward()
    assert torch.equal(network.bn1.running_mean, before)


def test_the_teacher_sees_the_mixed_images():
    seen = {}

    class Recorder(torch.nn.Module):
        def forward(self, images):
            seen["teacher"] = images
            return torch.zeros(len(images), 3)

    model = Classifier("resnet18", 3, [Distillation(Recorder()), Mixup(0.2)])
    model.network.register_forward_pre_hook(lambda _, args: seen.update(student=args[0]))
    batch = {
        "images": torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8),
        "labels": torch.tensor([0, 1, 2, 0]),
        "matrices": torch.eye(3, 4).expand(4, 3, 4),
    }
    model(**batch, mode="loss")
    assert seen["teacher"] is seen["student"]


def test_mixup_is_the_same_mixture_of_image_and_target():
    torch.manual_seed(0)
    size = 64
    targets = torch.eye(size)
    images = torch.arange(size, dtype=torch.float).reshape(size, 1, 1, 1).expand(size, 3, 2, 2)
    mixed, mixed_targets = mix(images, targets, 0.2)
    # With one class an image, the target tells the pair and λ: the image must be their mixture.
    expected = mixed_targets @ torch.arange(size, dtype=torch.float)
    torch.testing.assert_close(mixed[:, 0, 0, 0], expected)
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(size))
    assert len(mixed_targets.diagonal().unique()) > size // 2, "every pair has its own λ"


def test_mixups_lambda_is_beta_and_its_expectation_one_half():
    torch.manual_seed(1)
    targets = torch.eye(2000)
    _, mixed = mix(torch.zeros(2000, 3, 1, 1), targets, 0.2)
    weights = mixed.diagonal().numpy()
    assert weights.mean() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 5.6 / 2000))
    # A few images are paired with themselves, which gives exactly 1.
    drawn = weights[weights < 1]
    assert stats.kstest(drawn, "beta", args=(0.2, 0.2)).pvalue > 1e-3


def test_the_authors_mixup_has_one_lambda():
    torch.manual_seed(2)
    _, mixed = mix(torch.zeros(50, 3, 1, 1), torch.eye(50), 0.2, one_lambda=True)
    weights = mixed.diagonal()
    assert len(weights[weights < 1].unique()) == 1


# --- Section 2.1 ----------------------------------------------------------------------------------


def test_crops_cover_8_to_100_percent_with_aspect_3_4_to_4_3():
    generator = np.random.default_rng(0)
    height, width = 120, 160
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.arange(width)
    ramp[..., 1] = np.arange(height)[:, None]
    areas, flips = [], 0
    for _ in range(400):
        crop = augmentation.random_crop(ramp, 32, generator).astype(int)
        assert crop.shape == (32, 32, 3)
        flips += crop[16, 0, 0] > crop[16, -1, 0]
        w = abs(crop[16, -1, 0] - crop[16, 0, 0]) * 32 / 31
        h = (crop[-1, 16, 1] - crop[0, 16, 1]) * 32 / 31
        areas.append(w * h / (width * height))
    assert min(areas) > 0.05
    assert max(areas) < 1.05
    assert np.mean(areas) == pytest.approx(0.5, abs=0.08)
    assert 150 < flips < 250


def test_colour_matrix_is_the_steps_one_after_another():
    generator = np.random.default_rng(3)
    brightness, saturation, hue = np.random.default_rng(3).uniform(0.6, 1.4, 3)
    matrix = augmentation.colour_matrix(generator)
    again = np.random.default_rng(3)
    again.uniform(0.6, 1.4, 3)
    noise = augmentation._EIGENVECTORS @ (augmentation._EIGENVALUES * again.normal(0, 0.1, 3))
    colour = np.array([200.0, 30.0, 90.0])
    grey = colour @ [0.299, 0.587, 0.114]
    saturated = saturation * colour + (1 - saturation) * grey
    yiq = augmentation._RGB_TO_YIQ @ saturated
    chroma = (yiq[1] + 1j * yiq[2]) * np.exp(1j * (hue - 1) * np.pi)
    turned = augmentation._YIQ_TO_RGB @ [yiq[0], chroma.real, chroma.imag]
    expected = brightness * turned + noise
    assert matrix[:, :3] @ colour + matrix[:, 3] == pytest.approx(expected, rel=1e-5)


def test_normalisation_is_the_papers():
    images = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)
    result = augmentation.colour_and_normalise(images, None)
    mean, std = torch.tensor(augmentation.MEAN), torch.tensor(augmentation.STD)
    expected = ((images.float() - mean) / std).permute(0, 3, 1, 2)
    torch.testing.assert_close(result, expected)
    identity = torch.eye(3, 4).expand(2, 3, 4)
    torch.testing.assert_close(
        augmentation.colour_and_normalise(images, identity), expected, rtol=1e-4, atol=1e-5
    )


def test_xavier_uniform_and_nothing_else():
    network = timm.create_model("resnet18", num_classes=10)
    initialise(network)
    weight = network.layer2[0].conv2.weight
    bound = math.sqrt(6 / ((128 + 128) * 9))
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.99 * bound
    assert network.fc.bias.abs().sum() == 0


# --- The rows -------------------------------------------------------------------------------------


def test_recipes_of_the_seven_rows():
    def tricks(name):
        return set(zoo.find(name).recipe.tricks())

    efficient = {"large batch", "warmup", "zero gamma", "no bias decay", "half precision"}
    assert tricks("resnet50_baseline") == set()
    assert tricks("resnet50d_efficient") == efficient
    assert tricks("resnet50d_cosine") == efficient | {"cosine"}
    smooth = efficient | {"cosine", "label smoothing"}
    assert tricks("resnet50d_smooth") == smooth
    assert tricks("resnet50d_distill") == smooth | {"distillation"}
    assert tricks("resnet50d_mixup") == smooth | {"mixup"}
    assert tricks("resnet50d_mixup_distill") == smooth | {"distillation", "mixup"}
    assert zoo.find("resnet50d_mixup").recipe.epochs == 200
    assert zoo.find("resnet50d_distill").recipe.epochs == 120
    assert zoo.find("resnet50d_mixup_distill").recipe.teacher == "resnet152d_mixup"
    assert zoo.find("resnet50d_distill").recipe.teacher == "resnet152d_smooth"


# --- Tricks of one's own --------------------------------------------------------------------------


def test_the_recipes_of_the_paper_switch_on_their_tricks_in_the_papers_order():
    settings = zoo.find("resnet50d_mixup").recipe.settings()
    names = [type(trick).__name__ for trick in tricks.switched_on(settings)]
    expected = ["Warmup", "ZeroGamma", "NoBiasDecay", "Cosine", "LabelSmoothing", "Mixup"]
    assert names == expected
    assert tricks.switched_on(zoo.find("resnet50_baseline").recipe.settings()) == []


def test_a_new_trick_is_one_class_that_acts_in_the_training_and_has_an_identity(monkeypatch):
    monkeypatch.setattr(tricks, "_TRICKS", dict(tricks._TRICKS))

    @tricks.register("half_loss")
    class HalfLoss(tricks.Trick):
        def loss(self, loss, logits, images, targets):
            return loss * self.value

    plain = zoo.find("resnet18_baseline").recipe
    recipe = dataclasses.replace(plain, extra=(("half_loss", 0.5),))
    assert recipe.tricks() == ("half_loss",)
    assert recipe.content() == plain.content() | {"extra": {"half_loss": 0.5}}
    losses = []
    for chosen in (plain, recipe):
        torch.manual_seed(0)
        model = Classifier("resnet18", 4, tricks.switched_on(chosen.settings()))
        batch = {
            "images": torch.full((2, 32, 32, 3), 90, dtype=torch.uint8),
            "labels": torch.tensor([0, 3]),
            "matrices": torch.eye(3, 4).expand(2, 3, 4),
        }
        losses.append(model(**batch, mode="loss")["loss"].item())
    assert losses[1] == pytest.approx(losses[0] / 2)


def test_a_trick_that_nobody_registers_is_an_error_that_lists_those_known():
    with pytest.raises(UserError, match=r"'cutmix'.*mixup"):
        tricks.switched_on({"cutmix": 1.0})
