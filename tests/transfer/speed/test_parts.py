"""What only saves time: the same results as the toolboxes' own code, on the CPU."""

import copy
import math
import types

import pytest
import torch
from mmengine.registry import DefaultScope

from backbones.runtime import fused_sgd
from tests.support import processes
from transfer.operators import stand_in

stand_in.install()

from mmdet.models.dense_heads import RPNHead  # noqa: E402

from transfer.records import records  # noqa: E402
from transfer.speed import sparse_rpn  # noqa: E402
from transfer.speed.general import FusedSteps  # noqa: E402
from transfer.speed.part import Inactive  # noqa: E402


def build(**settings):
    anchors = {"type": "AnchorGenerator", "scales": [8], "ratios": [0.5, 1, 2], "strides": [4]}
    with DefaultScope.overwrite_default_scope("mmdet"):  # whatever ran before
        return RPNHead(in_channels=8, anchor_generator=anchors, **settings)


def a_head(channels_last=False):
    torch.manual_seed(0)
    head = build(feat_channels=12)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head.to(memory_format=torch.channels_last) if channels_last else head


def sparse(head):
    changed = copy.deepcopy(head)
    sparse_rpn.SparseRpnGradients().install(types.SimpleNamespace(model=changed))
    assert "forward" in vars(changed)
    return changed


def gradients(head, features, of_scores, of_deltas):
    """Outputs, and the gradients of all levels' features and of the weights."""
    given = [each.clone().requires_grad_() for each in features]
    scores, deltas = head(tuple(given))
    outputs = [*scores, *deltas]
    asked = [*of_scores, *of_deltas]
    torch.autograd.backward(outputs, [a.to(b) for a, b in zip(asked, outputs, strict=True)])
    return outputs, [each.grad for each in (*given, *head.parameters())]


def sampled(images, height, width, count):
    """Gradients at a few positions, corners and edges among them."""
    of_scores, of_deltas = (
        torch.zeros(images, 3, height, width),
        torch.zeros(images, 12, height, width),
    )
    places = [
        (0, 0, 0),
        (images - 1, height - 1, width - 1),
        (0, 0, width - 1),
        (0, 3, 4),
        (0, 3, 5),
    ]
    draws = torch.Generator().manual_seed(1)
    while len(places) < count:
        sizes = (images, height, width)
        places.append(tuple(int(torch.randint(size, (), generator=draws)) for size in sizes))
    for image, y, x in places[:count]:
        of_scores[image, :, y, x] = torch.randn(3, generator=draws)
        of_deltas[image, 4:8, y, x] = torch.randn(4, generator=draws)
    return of_scores, of_deltas


def two_levels(*counts):
    """Features, and gradients of scores and deltas at so many positions of each level."""
    sizes = ((13, 17), (7, 9))
    given = [sampled(2, *size, count) for size, count in zip(sizes, counts, strict=True)]
    return [torch.randn(2, 8, *size) for size in sizes], *map(list, zip(*given, strict=True))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("counts", [(0, 0), (5, 0), (20, 12), (300, 0)])  # the last are too many
def test_the_gradient_of_a_proposal_network_is_the_toolboxes_own(counts, channels_last):
    head = a_head(channels_last)
    features, *given = two_levels(*counts)
    if channels_last:
        features = [each.to(memory_format=torch.channels_last) for each in features]
    expected, of_toolbox = gradients(copy.deepcopy(head), features, *given)
    found, of_ours = gradients(sparse(head), features, *given)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    for a, b in zip(of_ours, of_toolbox, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_in_bfloat16_that_gradient_is_nearer_to_float32s_than_the_toolboxes():
    head = a_head()
    features, *given = two_levels(20, 5)
    _, exact = gradients(copy.deepcopy(head), features, *given)
    errors = []
    for variant in (sparse(head), copy.deepcopy(head)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs, rounded = gradients(variant, features, *given)
        assert outputs[0].dtype == torch.bfloat16
        pairs = zip(rounded, exact, strict=True)
        errors.append(sum(float((a - b).norm() / b.norm()) for a, b in pairs))
    assert errors[0] < 1.1 * errors[1]
    assert errors[0] / len(exact) < 0.02


def test_a_proposal_network_of_another_shape_is_left_alone():
    head = build(feat_channels=8, num_convs=2)
    with pytest.raises(Inactive, match="3 × 3"):
        sparse_rpn.SparseRpnGradients().install(types.SimpleNamespace(model=head))
    assert "forward" not in vars(head)


def an_optimiser(model, fused, **settings):
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2, **settings}
    optimizer = torch.optim.SGD(model.parameters(), **settings)
    if fused:
        fused_sgd.take_over(optimizer)
    return optimizer


def take_steps(optimizer, draws, steps=5, layout=None):
    """Steps with the same gradients for every model that is given the same draws."""
    for _ in range(steps):
        for parameter in optimizer.param_groups[0]["params"]:
            drawn = torch.randn(parameter.shape, generator=draws)
            parameter.grad = torch.empty_like(parameter).copy_(drawn)
            if layout and drawn.dim() == 4:
                parameter.grad = drawn.contiguous(memory_format=layout)
        optimizer.step()


def a_small_net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 17, 3),
        torch.nn.Conv2d(17, 5, 1),
        torch.nn.Conv2d(5, 1, 3),
        torch.nn.Linear(129, 65),
    )


def assert_equal_to_rounding(model, expected):
    a, b = (torch.cat([p.flatten() for p in m.parameters()]) for m in (model, expected))
    torch.testing.assert_close(a, b, rtol=5e-7, atol=5e-7)  # of values up to three
    assert (a == b).float().mean() > 0.9


@pytest.mark.parametrize("of_gradients", ["preserve", "contiguous", "channels_last"])
@pytest.mark.parametrize("of_weights", ["contiguous", "channels_last"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_fused_optimiser_differs_by_a_rounding_at_most(of_weights, of_gradients, nesterov):
    formats = {
        "preserve": None,
        "contiguous": torch.contiguous_format,
        "channels_last": torch.channels_last,
    }
    plain = a_small_net()
    fused = a_small_net().to(memory_format=formats[of_weights])
    take_steps(an_optimiser(plain, False, nesterov=nesterov), torch.Generator().manual_seed(0))
    take_steps(
        an_optimiser(fused, True, nesterov=nesterov),
        torch.Generator().manual_seed(0),
        layout=formats[of_gradients],
    )
    assert_equal_to_rounding(fused, plain)


@pytest.mark.parametrize("fused_goes_on", [False, True])
def test_momenta_go_on_in_whichever_optimiser_and_layout_reads_them(fused_goes_on):
    plain, first = a_small_net(), a_small_net()
    expected = an_optimiser(plain, False)
    elder = an_optimiser(first, not fused_goes_on)
    take_steps(expected, torch.Generator().manual_seed(0))
    take_steps(elder, torch.Generator().manual_seed(0))
    second = copy.deepcopy(first).to(memory_format=torch.channels_last)
    younger = an_optimiser(second, fused_goes_on)
    younger.load_state_dict(elder.state_dict())
    take_steps(expected, torch.Generator().manual_seed(1))
    take_steps(younger, torch.Generator().manual_seed(1))
    assert_equal_to_rounding(second, plain)


def test_a_fused_step_copies_no_gradient_that_is_laid_out_as_its_weight_is():
    model = a_small_net().to(memory_format=torch.channels_last)
    optimizer = an_optimiser(model, True)
    take_steps(optimizer, torch.Generator().manual_seed(0))
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape))
    with torch.profiler.profile() as profile:
        optimizer.step()
    called = {event.key for event in profile.key_averages()}
    assert "aten::_fused_sgd_" in called
    assert not called & {"aten::copy_", "aten::clone", "aten::contiguous"}


def test_weights_without_a_gradient_stay_as_they_are():
    model = a_small_net()
    optimizer = an_optimiser(model, True)
    before = copy.deepcopy(model)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    optimizer.step()
    optimizer.step()  # no gradient is left
    assert not torch.equal(model[3].weight, before[3].weight)
    assert all(
        torch.equal(a, b)
        for a, b in zip(model[0].parameters(), before[0].parameters(), strict=True)
    )
    assert len(optimizer.state) == 1


def with_a_group(optimizer, weight, **settings):
    weight.grad = torch.ones_like(weight)
    optimizer.add_param_group({"params": [weight], **settings})
    return weight


def without_momentum(optimizer):
    optimizer.param_groups[0]["momentum"] = 0.0


def with_dampening_in_a_late_group(optimizer):
    with_a_group(optimizer, torch.ones(3, requires_grad=True), dampening=0.5)


def with_a_weight_that_has_gaps(optimizer):
    with_a_group(optimizer, torch.ones(3, 4)[:, ::2].requires_grad_())


def with_a_sparse_gradient(optimizer):
    weight = with_a_group(optimizer, torch.ones(3, 4, requires_grad=True), weight_decay=0.0)
    weight.grad = torch.ones(3, 4).to_sparse(1)


@pytest.mark.parametrize(
    "change",
    [
        without_momentum,
        with_dampening_in_a_late_group,
        with_a_weight_that_has_gaps,
        with_a_sparse_gradient,
    ],
)
def test_a_step_that_is_not_plain_is_left_to_the_optimiser(change):
    both = []
    for fused in (False, True):
        model = a_small_net()
        optimizer = an_optimiser(model, fused)
        change(optimizer)
        take_steps(optimizer, torch.Generator().manual_seed(0), steps=1)
        both.append([w for group in optimizer.param_groups for w in group["params"]])
    assert all(torch.equal(a, b) for a, b in zip(*both, strict=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_steps_under_a_loss_scale_are_plain_ones_but_for_those_that_it_leaves_out(layout):
    plain, fused = a_small_net(), a_small_net().to(memory_format=layout)
    settings = {"lr": 0.1, "momentum": 0.9, "nesterov": True}
    optimizers = [torch.optim.SGD(plain.parameters(), **settings)]
    optimizers += [torch.optim.SGD(fused.parameters(), **settings, fused=True)]
    fused_sgd.take_over(optimizers[1])
    del [torch.full_like(weight, 1e9) for weight in fused.parameters()][:]  # lies in memory now
    for optimizer in optimizers:
        scaler = torch.amp.GradScaler("cpu")
        for factor in (math.inf, 1.0, 0.5, math.inf, 1.0):
            optimizer.zero_grad()
            weights = optimizer.param_groups[0]["params"]
            scaler.scale(sum((w * w * factor).sum() for w in weights)).backward()
            for weight in weights:  # as a GPU may lay out those of kernels of one pixel
                weight.grad = weight.grad.contiguous()
            scaler.step(optimizer)
            scaler.update()
    assert_equal_to_rounding(fused, plain)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_step_with_a_closure_is_one_step(by_name):
    both = []
    for fused in (False, True):
        model = a_small_net()
        optimizer = an_optimiser(model, fused)

        def closure(model=model):
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
            return torch.tensor(0.0)

        for _ in range(2):
            optimizer.step(closure=closure) if by_name else optimizer.step(closure)
        both.append(model)
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in both), strict=True))


def test_an_evaluation_and_other_optimisers_have_nothing_to_fuse():
    class Own(torch.optim.SGD):
        """Whose step may be another."""

    layer = torch.nn.Linear(2, 2)
    others = torch.optim.Adam(layer.parameters()), Own(layer.parameters(), momentum=0.9)
    wrappers = [types.SimpleNamespace(optimizer=optimizer) for optimizer in others]
    on_gpu = types.SimpleNamespace(device=torch.device("cuda"))
    model = types.SimpleNamespace(parameters=lambda: iter([on_gpu]))
    for wrapper in (None, {"optimizer": {"type": "SGD"}}, *wrappers):
        with pytest.raises(Inactive, match="optimizer"):
            FusedSteps().install(types.SimpleNamespace(model=model, optim_wrapper=wrapper))
    with pytest.raises(Inactive, match="GPU"):
        FusedSteps().install(types.SimpleNamespace(model=layer, optim_wrapper=None))
    layer.weight.grad = torch.ones_like(layer.weight)
    for optimizer in others:
        optimizer.step()
        assert layer.weight.grad is not None


def test_what_only_saves_time_does_not_set_records_apart():
    def recorded(*hooks):
        config = {"model": {"backbone": {}, "data_preprocessor": {}}}
        config["custom_hooks"] = [{"type": name} for name in hooks]
        return records.config_entry(config)

    plain = recorded("SeedIterations", "ChannelsLast")
    fast = recorded(
        "SeedIterations", "SparseRpnGradients", "GroupedNms", "FusedSgd", "ChannelsLast"
    )
    other = recorded("SeedIterations", "ChannelsLast", "AnotherHook")
    assert fast["comparable_sha256"] == plain["comparable_sha256"]
    assert fast["sha256"] != plain["sha256"]
    assert other["comparable_sha256"] != plain["comparable_sha256"]


@pytest.mark.parametrize("without", [[], ["KeptMemory"], ["SparseRoIExtraction", "ChannelsLast"]])
@pytest.mark.parametrize("scope", ["mmdet", "mmseg"])
@pytest.mark.parametrize("wrapper", ["OptimWrapper", "Bfloat16OptimWrapper"])
def test_the_hook_counts_as_those_of_its_parts_that_published_hashes_count(scope, wrapper, without):
    def recorded(*hooks):
        config = {"model": {"backbone": {}, "data_preprocessor": {}}}
        settings = {"default_scope": scope, "optim_wrapper": {"type": wrapper}}
        return records.config_entry({**config, **settings, "custom_hooks": list(hooks)})

    of_scope = {"mmdet": "SparseRoIExtraction", "mmseg": "FusedSegmentationLoss"}[scope]
    counted = [of_scope, *(["ChannelsLast"] if wrapper.startswith("B") else [])]
    before = [{"type": "SeedIterations"}, {"type": "GroupedNms"}]
    before += [{"type": name} for name in counted if name not in without]
    now = [
        {"type": "SeedIterations"},
        {"type": "Speed", **({"without": without} if without else {})},
    ]
    assert recorded(*now)["comparable_sha256"] == recorded(*before)["comparable_sha256"]


def test_what_is_kept_from_the_collector_is_let_go_at_the_end():
    program = (
        "import gc, transfer.openmmlab\n"
        "from backbones.runtime.allocation import freeze_what_is_imported\n"
        "freeze_what_is_imported()\n"
        "freeze_what_is_imported()\n"
        "print(gc.get_freeze_count() > 100_000)\n"
    )
    done = processes.alone(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
    assert "leak" not in done.stderr
