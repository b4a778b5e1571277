"""A two-stage detector's step with boxes on the host: the toolbox's losses and gradients."""

import copy
import gc
import math
import types
import weakref

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

from backbones.common.errors import BrokenProcess, Untrusted
from backbones.runtime.checkpoint import ResumableState
from backbones.runtime.randomness import SeedIterations
from transfer import openmmlab  # noqa: F401
from transfer.protocols.placed_sampler import PlacedRandomSampler, PlacedSampling
from transfer.protocols.protocols import config_file
from transfer.speed.sparse_roi_align import SparseRoIExtraction, SparseRoIExtractor

from mmdet.models.task_modules.assigners import MaxIoUAssigner  # isort: skip
from mmdet.models.task_modules.prior_generators import AnchorGenerator  # isort: skip
from mmdet.models.task_modules.samplers import RandomSampler  # isort: skip
from mmdet.structures import DetDataSample  # isort: skip

from transfer.speed import graphed_features, two_stage_step
from transfer.speed.anchors import Anchors, Inside
from transfer.speed.known_detectors import unlike
from transfer.speed.two_stage_step import TwoStageStep


def a_detector(protocol, **of_training):
    """A protocol's detector with a small backbone and draws by place, in training mode."""
    whole = Config.fromfile(config_file("detection", protocol))
    whole.merge_from_dict({f"model.{name}": value for name, value in of_training.items()})
    cfg = whole.model
    cfg.backbone.update(architecture="resnet18", weights=None)
    if "neck" in cfg:
        cfg.neck.in_channels = [64, 128, 256, 512]
    else:
        cfg.rpn_head.update(in_channels=256, feat_channels=64)
        cfg.roi_head.shared_head.update(architecture="resnet18", weights=None)
        cfg.roi_head.bbox_roi_extractor.out_channels = 256
        cfg.roi_head.bbox_head.in_channels = 512
        whole.model.train_cfg.rcnn.sampler.num = 8  # each RoI goes through a stage of its own
    torch.manual_seed(3)
    with DefaultScope.overwrite_default_scope("mmdet"):
        detector = MODELS.build(cfg)
    PlacedSampling().before_run(types.SimpleNamespace(model=detector))
    for layer in (detector.rpn_head.rpn_cls, detector.rpn_head.rpn_reg):
        torch.nn.init.normal_(layer.weight, std=0.05)  # so that proposals differ from anchors
    return detector.train()


def samples(*images):
    """Of (height, width, padded height and width, boxes with labels), image by image."""
    made = []
    for height, width, padded, boxes in images:
        values = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)
        meta = {"img_shape": (height, width), "pad_shape": padded, "scale_factor": (1.0, 1.0)}
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(bboxes=values[:, :4], labels=values[:, 4].long())
        sample.ignored_instances = InstanceData(bboxes=values[:1, :4] + 3)
        made.append(sample)
    return made


def randomness_of_iteration(detector):
    SeedIterations().before_train_iter(types.SimpleNamespace(seed=0, iter=5, rank=0), 5)
    for owner, name in ((detector.rpn_head, "sampler"), (detector.roi_head, "bbox_sampler")):
        getattr(owner, name).images = 0  # the first of the iteration again


def losses_and_gradients(detector, loss, images, truth):
    for parameter in detector.parameters():
        parameter.grad = None
    randomness_of_iteration(detector)
    losses = loss(images, copy.deepcopy(truth))
    total, shown = detector.parse_losses(losses)
    total.backward()
    gradients = {name: p.grad for name, p in detector.named_parameters() if p.grad is not None}
    return shown, gradients


TWO = (
    (96, 128, (96, 128), [(10, 12, 50, 60, 2), (60, 8, 120, 90, 5), (4, 50, 30, 92, 2)]),
    (90, 100, (96, 128), [(20, 20, 70, 80, 1)]),
)
EMPTY = (TWO[0], (96, 128, (96, 128), []))
UNLIKE = (TWO[0], (64, 70, (64, 96), [(5, 5, 40, 60, 0)]))  # padded to another size


@pytest.mark.parametrize("protocol", ["quick", "openmmlab", "paper"])
@pytest.mark.parametrize("images", [TWO, EMPTY, UNLIKE])
def test_losses_and_gradients_are_the_toolboxs(protocol, images):
    detector = a_detector(protocol)
    assert not unlike(detector)
    truth = samples(*images)
    batch = torch.randn(2, 3, 96, 128)
    expected, its_gradients = losses_and_gradients(detector, detector.loss, batch, truth)
    for pooling in (False, True):
        if pooling:  # RoIs are put level by level
            SparseRoIExtraction().install(types.SimpleNamespace(model=detector))
        found, gradients = losses_and_gradients(detector, TwoStageStep(detector), batch, truth)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7, msg=name)
        assert gradients.keys() == its_gradients.keys()
        for name, gradient in its_gradients.items():
            scale = float(gradient.abs().max())
            torch.testing.assert_close(
                gradients[name], gradient, rtol=1e-4, atol=1e-5 * scale, msg=name
            )


@pytest.mark.parametrize("limit", [20, 200, 2000])
@pytest.mark.parametrize("least", [-1, 0, 8])
def test_proposals_are_the_toolboxs(limit, least):
    detector = a_detector(
        "quick", **{"train_cfg.rpn_proposal": {"max_per_img": limit, "min_bbox_size": least}}
    )
    truth = samples(*UNLIKE)
    batch = torch.randn(2, 3, 96, 128)
    metas = [sample.metainfo for sample in truth]
    with torch.no_grad():
        outputs = detector.rpn_head(detector.extract_feat(batch))
        cfg = detector.train_cfg.rpn_proposal
        expected = detector.rpn_head.predict_by_feat(*outputs, batch_img_metas=metas, cfg=cfg)
        step = TwoStageStep(detector)
        limits = torch.tensor([meta["img_shape"] for meta in metas], dtype=torch.float32)
        whole = step.compute(batch, limits)
        for number, wanted in enumerate(expected):
            found = step._suppressed(whole.candidates[number], whole.apart[number])
            torch.testing.assert_close(found, wanted.bboxes, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"rpn_head.loss_bbox": {"type": "GIoULoss", "_delete_": True}},
        {"rpn_head.reg_decoded_bbox": True},
        {"rpn_head.loss_cls.class_weight": [2.0]},
        {"train_cfg.rpn.pos_weight": 2.0},
        {"train_cfg.rpn.sampler.type": "PseudoSampler"},
        {"train_cfg.rpn_proposal.nms.type": "soft_nms"},
        {"roi_head.bbox_head.reg_class_agnostic": True},
        {"roi_head.bbox_head.loss_bbox": {"type": "GIoULoss", "_delete_": True}},
        {"train_cfg.rcnn.sampler.type": "OHEMSampler"},
    ],
)
def test_a_detector_of_other_parts_is_left_to_the_toolbox(change):
    assert unlike(a_detector("quick", **change))


def test_an_image_without_any_anchor_inside_is_reported():
    step = TwoStageStep(a_detector("paper"))
    with pytest.raises(ValueError, match="no anchor lies within an image"):
        step(torch.randn(1, 3, 32, 32), samples((20, 20, (32, 32), [(1, 1, 9, 9, 0)])))


def boxes_of(seed, count):
    generator = torch.Generator().manual_seed(seed)
    sides = 2 + 400 * torch.rand(count, 2, generator=generator) ** 3
    corners = torch.rand(count, 2, generator=generator) * torch.tensor([300.0, 200.0])
    return torch.cat([corners, corners + sides], dim=1)


@pytest.mark.parametrize("thresholds", [(0.7, 0.3, 0.3), (0.7, 0.3, 0.1), (0.5, 0.5, 0.5)])
@pytest.mark.parametrize("low_quality", [True, False])
@pytest.mark.parametrize("limits", [(256, 0.5, -1), (20, 0.1, -1), (200, 0.5, 3), (90000, 0.5, -1)])
@pytest.mark.parametrize("placed", [True, False])
def test_what_is_sampled_of_the_near_anchors_alone_is_the_toolboxs_choice_of_all(
    thresholds, low_quality, limits, placed
):
    levels = AnchorGenerator(strides=[4, 8, 16], ratios=[0.5, 1, 2], scales=[8])
    sizes = [(50, 80), (25, 40), (13, 20)]
    anchors = Anchors(levels.grid_priors(sizes, device="cpu"), [0.0] * 4, [1.0] * 4)
    number, share, most = limits
    kind = PlacedRandomSampler if placed else RandomSampler
    sampler = kind(number, share, neg_pos_ub=most, add_gt_as_proposals=False)
    for border in (None, 40):
        inside = torch.ones(len(anchors.boxes), dtype=torch.bool)
        if border is not None:
            inside = (anchors.boxes[:, :2] > -border).all(dim=1)
        some = Inside(anchors, inside)
        with DefaultScope.overwrite_default_scope("mmdet"):
            assigner = MaxIoUAssigner(*thresholds, match_low_quality=low_quality)
        for seed in range(12):
            truth = InstanceData(bboxes=boxes_of(seed, seed % 7), labels=torch.arange(seed % 7))
            priors = InstanceData(priors=some.boxes)
            assigned = assigner.assign(priors, truth)
            sampler.images = seed
            torch.manual_seed(seed)
            expected = sampler.sample(assigned, priors, truth)
            sampler.images = seed
            torch.manual_seed(seed)
            found = some.sampled(assigner, sampler, truth, None)
            assert torch.equal(found.positive, some.places[expected.pos_inds])
            assert torch.equal(found.negative, some.places[expected.neg_inds])
            assert torch.equal(found.anchors, expected.pos_priors)
            assert torch.equal(found.boxes, expected.pos_gt_bboxes)


class Recording:
    """Stands in for a CUDA graph: replayed, it computes again what was recorded."""

    def replay(self):
        with torch.enable_grad():
            self.function()


@pytest.fixture
def recordings(monkeypatch):
    """The graphs that are made, in order."""
    made = []

    def record(shared, graph, function):
        graph.function = function
        function()

    def a_recording():
        made.append(Recording())
        return made[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", a_recording)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(graphed_features._Shared, "record", record)
    return made


@pytest.mark.parametrize("protocol", ["quick", "paper"])
def test_replayed_graphs_give_the_same_losses_and_gradients(protocol, recordings, monkeypatch):
    monkeypatch.setattr(graphed_features, "_SEEN", 1)
    detector = a_detector(protocol)
    step = TwoStageStep(detector)
    graphed = TwoStageStep(detector)
    graphed.whole_images = graphed_features.Graphs(graphed)
    wide, tall = samples(*TWO), samples(*((w, h, (128, 96), b) for h, w, _, b in TWO))
    for turn in range(graphed_features._SEEN + 2):
        for truth, (height, width) in ((wide, (96, 128)), (tall, (128, 96))):
            batch = torch.randn(2, 3, height, width)
            expected, its_gradients = losses_and_gradients(detector, step, batch, truth)
            its_gradients = {name: each.clone() for name, each in its_gradients.items()}
            found, gradients = losses_and_gradients(detector, graphed, batch, truth)
            assert found == expected
            assert gradients.keys() == its_gradients.keys()
            for name, gradient in its_gradients.items():
                assert torch.equal(gradients[name], gradient), name
        assert len(recordings) == (0 if turn < graphed_features._SEEN else 4)


def test_a_graph_adds_to_gradients_that_are_there(recordings):
    detector = a_detector("quick")
    graphed = TwoStageStep(detector)
    graphed.whole_images = graphed_features.Graphs(graphed)
    batch, truth = torch.randn(2, 3, 96, 128), samples(*TWO)
    for _ in range(graphed_features._SEEN + 1):
        _, gradients = losses_and_gradients(detector, graphed, batch, truth)
    once = {name: each.clone() for name, each in gradients.items()}
    for weight in detector.parameters():
        weight.grad = None if weight.grad is None else weight.grad.clone()
    randomness_of_iteration(detector)
    detector.parse_losses(graphed(batch, copy.deepcopy(truth)))[0].backward()
    for name, weight in detector.named_parameters():
        if name in once:
            torch.testing.assert_close(weight.grad, 2 * once[name])


def test_sizes_beyond_the_most_and_learning_norms_are_not_graphed(recordings, monkeypatch):
    monkeypatch.setattr(graphed_features, "_SEEN", 1)
    monkeypatch.setattr(graphed_features, "_MOST", 1)
    detector = a_detector("quick")
    step = TwoStageStep(detector)
    graphs = graphed_features.Graphs(step)
    for width in (64, 96, 64, 96):
        graphs(torch.randn(1, 3, 64, width), torch.tensor([[64.0, width]]))
    assert len(recordings) == 2  # forward and backward of the first size
    learning = graphed_features.Graphs(step)
    for norm in learning._norms:
        norm.train()
    for _ in range(2):
        learning(torch.randn(2, 3, 64, 64), torch.tensor([[64.0, 64], [64, 64]]))
    with torch.no_grad():
        tested = graphed_features.Graphs(step)
        for _ in range(2):
            tested(torch.randn(1, 3, 64, 64), torch.tensor([[64.0, 64]]))
    assert len(recordings) == 2


def test_a_graph_keeps_the_anchors_that_it_reads_and_makes_none(recordings, monkeypatch):
    """Else what the cache of anchors lets go would be read after something else has its memory."""
    monkeypatch.setattr(two_stage_step, "_KEPT", 1)
    making, recording = [], []

    def made(step, sizes, device):
        assert not recording, "a recording cannot copy from the host"
        anchors = plain(step, sizes, device)
        making.append(weakref.ref(anchors))
        return anchors

    def record(shared, graph, function):
        recording.append(function)
        plain_record(shared, graph, function)
        recording.pop()

    plain, plain_record = TwoStageStep._make_anchors, graphed_features._Shared.record
    monkeypatch.setattr(TwoStageStep, "_make_anchors", made)
    monkeypatch.setattr(graphed_features._Shared, "record", record)
    graphs = graphed_features.Graphs(TwoStageStep(a_detector("quick")))
    for _ in range(graphed_features._SEEN + 1):
        for width in (64, 96, 128):
            graphs(torch.randn(1, 3, 64, width), torch.tensor([[64.0, width]]))
    assert len(recordings) == 6
    gc.collect()
    assert sum(reference() is not None for reference in making) == 3, "one a graph"


def test_where_the_backbone_is_frozen_its_maps_have_no_gradient(recordings, monkeypatch):
    monkeypatch.setattr(graphed_features, "_SEEN", 1)
    detector = a_detector("paper", **{"backbone.frozen_stages": 4})
    step, truth = TwoStageStep(detector), samples(*TWO)
    graphed = TwoStageStep(detector)
    graphed.whole_images = graphed_features.Graphs(graphed)
    for _ in range(3):
        batch = torch.randn(2, 3, 96, 128)
        expected, its_gradients = losses_and_gradients(detector, step, batch, truth)
        its_gradients = {name: each.clone() for name, each in its_gradients.items()}
        found, gradients = losses_and_gradients(detector, graphed, batch, truth)
        assert found == expected
        assert gradients.keys() == its_gradients.keys()
        assert all(torch.equal(gradients[name], each) for name, each in its_gradients.items())
    assert len(recordings) == 2


def test_a_weight_that_a_layer_has_by_another_name_is_not_left_unlearned(recordings):
    detector = a_detector("quick")
    layer = detector.rpn_head.rpn_conv
    held = [layer.weight]
    layer.forward = lambda maps: torch.nn.functional.conv2d(maps, held[0], layer.bias, padding=1)
    graphed = TwoStageStep(detector)
    graphed.whole_images = graphed_features.Graphs(graphed)
    batch, truth = torch.randn(2, 3, 96, 128), samples(*TWO)
    for _ in range(graphed_features._SEEN + 2):
        _, gradients = losses_and_gradients(detector, graphed, batch, truth)
        assert float(gradients["rpn_head.rpn_conv.weight"].abs().max()) > 0
    assert not graphed.whole_images._graphs


def test_what_cannot_be_recorded_is_reported_with_what_to_do(recordings, monkeypatch):
    def broken(shared, graph, function):
        raise RuntimeError("CUDA error: operation not permitted\nCompile with more")

    monkeypatch.setattr(graphed_features._Shared, "record", broken)
    graphs = graphed_features.Graphs(TwoStageStep(a_detector("quick")))
    batch, limits = torch.randn(1, 3, 64, 64), torch.tensor([[64.0, 64.0]])
    for _ in range(graphed_features._SEEN):
        graphs(batch, limits)
    message = r"cannot be recorded .*not permitted\): turn the graphs off .*GraphedFeatures"
    with pytest.raises(BrokenProcess, match=message):
        graphs(batch, limits)


def test_a_graph_that_draws_at_random_is_not_used(recordings, monkeypatch):
    monkeypatch.setattr(graphed_features, "_SEEN", 1)
    detector = a_detector("quick")
    detector.neck.lateral_convs[0] = torch.nn.Sequential(
        detector.neck.lateral_convs[0], torch.nn.Dropout(0.5)
    )
    graphs = graphed_features.Graphs(TwoStageStep(detector))
    for width in (64, 64, 64, 96, 96):
        graphs(torch.randn(1, 3, 64, width), torch.tensor([[64.0, width]]))
    assert len(recordings) == 2
    assert not graphs._graphs


@pytest.mark.parametrize("what", ["maps", "candidates", "gradients"])
@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_graph_that_gives_something_else_is_found_out(recordings, monkeypatch, what, when):
    spoils = when == "at once"

    def replay(recording):
        plain(recording)
        graph = recording.function.__self__
        if not spoils:
            return
        if what == "gradients" and recording is graph._backward:
            max((of_weight for _, of_weight in graph._learning), key=torch.norm).mul_(1.5)
        elif what != "gradients" and recording is graph._forward:
            spoilt = graph.outputs[0] if what == "maps" else graph._candidates[0]
            spoilt.data.mul_(1.5)

    plain = Recording.replay
    monkeypatch.setattr(Recording, "replay", replay)
    monkeypatch.setattr(graphed_features, "_SEEN", 1)
    monkeypatch.setattr(graphed_features, "_EVERY", 3)
    graphs = graphed_features.Graphs(TwoStageStep(a_detector("quick")))
    batch = torch.randn(1, 3, 64, 64), torch.tensor([[64.0, 64]])
    for _ in range(2):
        graphs(*batch)
    assert bool(graphs._graphs) == (when == "later")
    graphs(*batch)
    spoils = True
    if when == "at once":
        graphs(*batch)
        return
    with pytest.raises(Untrusted, match="cannot be trusted"):
        graphs.check() if what == "gradients" else graphs(*batch)


def test_graphs_are_looked_at_before_a_state_is_saved(recordings, monkeypatch, tmp_path):
    monkeypatch.setattr(graphed_features, "_SEEN", 1)
    detector = a_detector("quick")
    detector.loss = TwoStageStep(detector)
    wrapper = OptimWrapper(torch.optim.SGD(detector.parameters(), lr=0.1))
    runner = types.SimpleNamespace(model=detector, optim_wrapper=wrapper)
    hook = graphed_features.GraphedFeatures()
    hook.install(runner)
    graphs = detector.loss.whole_images
    for _ in range(3):
        graphs(torch.randn(1, 3, 64, 64), torch.tensor([[64.0, 64]]))
    hook.require_sound(runner)
    (graph,) = graphs._graphs.values()
    spoilt = graph.forward
    monkeypatch.setattr(graph, "forward", lambda: (spoilt(), graph.outputs[0].data.mul_(1.5)))
    state = ResumableState(str(tmp_path), "cell")
    runner.hooks = [state, hook]
    with pytest.raises(Untrusted):
        state.after_train(runner)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(graph, "forward", no_memory)
    hook.require_sound(runner)
    monkeypatch.setattr(graph, "forward", lambda: (_ for _ in ()).throw(RuntimeError("illegal")))
    with pytest.raises(BrokenProcess, match=r"\(illegal\); the last checkpoint is kept") as caught:
        hook.require_sound(runner)
    assert not isinstance(caught.value, Untrusted)  # which would have the states removed
    assert "GraphedFeatures" in hook.memory_advice(runner)
    graphs._give_up()
    assert not hook.memory_advice(runner)
    detector.loss = None
    hook.require_sound(runner)


def no_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_graphs_are_given_up_where_a_batch_does_not_fit_beside_them(recordings, monkeypatch):
    monkeypatch.setattr(graphed_features, "_SEEN", 1)
    step = TwoStageStep(a_detector("quick"))
    graphs = graphed_features.Graphs(step)
    images, limits = torch.randn(1, 3, 64, 64), torch.tensor([[64.0, 64]])
    for _ in range(2):
        graphs(images, limits)
    assert graphs._graphs
    plain = step.compute

    def compute(*batch):
        if graphs._graphs:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(*batch)

    monkeypatch.setattr(step, "compute", compute)
    wide = torch.randn(1, 3, 64, 96), torch.tensor([[64.0, 96]])
    for _ in range(3):
        assert torch.equal(graphs(*wide).scores, plain(*wide).scores)
    assert torch.equal(graphs(images, limits).scores, plain(images, limits).scores)
    assert not graphs._graphs


@pytest.mark.parametrize(
    "no_memory",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_without_memory_for_a_graph_the_training_goes_on(recordings, monkeypatch, no_memory):
    """The pool that the recording has filled is given back, and the others are made anew."""
    record, pools = graphed_features._Shared.record, []

    def full(shared, graph, function):
        if shared not in pools:
            pools.append(shared)
        if graphs._graphs:
            raise no_memory
        record(shared, graph, function)

    monkeypatch.setattr(graphed_features, "_SEEN", 1)
    detector = a_detector("quick")
    graphs = graphed_features.Graphs(TwoStageStep(detector))
    images, limits = torch.randn(1, 3, 64, 64), torch.tensor([[64.0, 64]])
    for _ in range(2):
        graphs(images, limits)
    monkeypatch.setattr(graphed_features._Shared, "record", full)
    for width in (96, 96, 128, 128):
        wide = torch.randn(1, 3, 64, width), torch.tensor([[64.0, width]])
        found, expected = graphs(*wide), graphs._step.compute(*wide)
        assert torch.equal(found.scores, expected.scores)
    assert len(graphs._graphs) == 1
    assert len(pools) == 2
    assert graphs._shared is pools[1]


@pytest.mark.parametrize("fails", [1, 2])
def test_without_memory_for_the_first_graph_it_has_a_second_chance(recordings, monkeypatch, fails):
    """What is merely cached is given back between; without memory then none of it is held."""
    record, tries = graphed_features._Shared.record, []

    def scarce(shared, graph, function):
        tries.append(shared)
        if len(tries) <= fails:
            no_memory()
        record(shared, graph, function)

    monkeypatch.setattr(graphed_features, "_SEEN", 1)
    monkeypatch.setattr(graphed_features._Shared, "record", scarce)
    graphs = graphed_features.Graphs(TwoStageStep(a_detector("quick")))
    for _ in range(5):
        graphs(torch.randn(1, 3, 64, 64), torch.tensor([[64.0, 64]]))
    assert bool(graphs) == (fails == 1)
    assert len(tries) == (3 if fails == 1 else 2)
    assert (graphs._shared is None) == (fails == 2)


def test_what_is_not_finite_is_left_to_who_looks_after_that():
    agree = graphed_features._agree
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5])
    assert agree([one], [one])
    assert not agree([one], [other])
    for broken in (math.nan, math.inf):
        assert agree([one, one], [other, torch.tensor([broken, 1.0])])


@pytest.mark.parametrize("protocol", ["openmmlab", "paper"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rois_that_are_put_in_order_are_pooled_as_the_toolbox_does(protocol, dtype):
    extractor = a_detector(protocol).roi_head.bbox_roi_extractor
    ours = SparseRoIExtractor(extractor)
    strides = extractor.featmap_strides
    channels = extractor.out_channels
    maps = [torch.randn(2, channels, 512 // s, 640 // s).to(dtype) for s in strides]
    for count in (60, 1):  # one RoI leaves maps without any
        boxes = boxes_of(4, count)
        rois = torch.cat([torch.arange(count)[:, None] % 2, boxes], dim=1)
        expected = ours._of_toolbox(tuple(maps), rois, None)
        order, counts = ours.order(rois, maps)
        found = ours.level_by_level(maps, rois[order], counts)
        assert found.dtype == dtype
        assert torch.equal(found, expected[order])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("protocol", ["quick", "paper"])
@pytest.mark.parametrize("pooling", [True, False])
def test_on_a_gpu_losses_and_gradients_are_the_toolboxs_with_graphs_too(protocol, pooling):
    detector = a_detector(protocol).cuda()
    if pooling:
        SparseRoIExtraction().install(types.SimpleNamespace(model=detector))
    graphed = TwoStageStep(detector)
    graphed.whole_images = graphed_features.Graphs(graphed)
    truth = samples(*TWO)
    for _ in range(graphed_features._SEEN + 2):
        batch = torch.randn(2, 3, 96, 128, device="cuda")
        on_gpu = [sample.to("cuda") for sample in truth]
        expected, its_gradients = losses_and_gradients(detector, detector.loss, batch, on_gpu)
        its_gradients = {name: each.clone() for name, each in its_gradients.items()}
        found, gradients = losses_and_gradients(detector, graphed, batch, truth)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)
        assert gradients.keys() == its_gradients.keys()
        for name, gradient in its_gradients.items():
            scale = float(gradient.abs().max())
            torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=0.02 * scale)
    assert len(graphed.whole_images._graphs) == 1
