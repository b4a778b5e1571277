"""Replays a detector's computation on whole images as CUDA graphs.

With a small batch, a fast GPU waits while the hundreds of operations of a backbone are launched one
by one, forward and backward. A graph is launched at once and computes the same operations. It holds
for one image size; images with similar sides are batched together and padded to multiples of 32, so
a few sizes make up most of a training.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.common.errors import BrokenProcess, Untrusted
from backbones.runtime.checkpoint import unwrapped
from backbones.runtime.memory import is_exhausted
from transfer.speed.anchors import Anchors
from transfer.speed.part import Inactive, Part
from transfer.speed.two_stage_step import Sizes, TwoStageStep, WholeImages

_SEEN = 2
"""Batches of a size that run without a graph before one is recorded; at least one."""

_MOST = 12
"""Most sizes with a graph; each graph holds its maps and their gradients."""

_EVERY = 200
"""Number of replays between comparisons with the plain computation."""

_TOLERANCE = 0.02
"""Largest relative difference of a replay, since some sums have no fixed order."""

_TOLERANCE_OF_BOXES = 1e-3
"""The same for boxes, which follow from the replay's own scores without sums."""

_LEAVE_OUT = 'turn the graphs off (in a suite: [overrides] without = ["GraphedFeatures"])'


class GraphedFeatures(Part):
    """Replays maps and proposals of a detector that trains with :class:`TwoStageStep`.

    Inactive if several processes share a batch, or a step has several batches: a graph's gradients
    are overwritten by its next replay.
    """

    def install(self, runner: Any) -> str:
        """Replace the step's computation on whole images."""
        step = getattr(unwrapped(runner.model), "loss", None)
        if not isinstance(step, TwoStageStep):
            raise Inactive("HostSampling does not train the detector")
        if unwrapped(runner.model) is not runner.model:
            raise Inactive("several processes share a batch")
        if not isinstance(runner.optim_wrapper, OptimWrapper):
            raise Inactive("nothing is trained")
        if runner.optim_wrapper._accumulative_counts != 1:
            raise Inactive("a step accumulates the gradients of several batches")
        step.whole_images = Graphs(step)
        return "maps and proposals of frequent sizes of batches"

    def require_sound(self, runner: Any) -> None:
        """Check that replays were correct, before a checkpoint is saved.

        Raises:
            Untrusted: A replay was wrong.
            BrokenProcess: CUDA failed during the check.
        """
        if graphs := _graphs_of(runner):
            with runner.optim_wrapper.optim_context(runner.model):
                graphs.check()

    def memory_advice(self, runner: Any) -> str:
        """Further advice when memory runs out; empty without graphs."""
        return f"{_LEAVE_OUT}; this starts the run from the beginning" if _graphs_of(runner) else ""


def _graphs_of(runner: Any) -> Graphs | None:
    """The graphs of a runner, or None."""
    graphs = getattr(getattr(runner.model, "loss", None), "whole_images", None)
    return graphs if isinstance(graphs, Graphs) and graphs else None


class Graphs:
    """A step's ``whole_images``, with a graph for each frequent batch size in pixels.

    A batch norm that learns from its batch would also learn while a graph is recorded, so models
    with one get no graphs. When memory does not suffice for a further graph, the others are
    recorded again; if a batch without a graph does not fit beside them, all graphs are dropped.

    A graph that reads memory which has been reused would silently train on wrong boxes. So each
    graph is compared with the plain computation when it is recorded, and if one differs, as with
    layers that draw random numbers, none is used. All are compared again before a checkpoint is
    saved and at the end of the training; in between, the forward pass of a replay is compared now
    and then.
    """

    def __init__(self, step: TwoStageStep) -> None:
        detector = step.detector
        parts = [detector.backbone, detector.rpn_head]
        self._parts = [*parts, detector.neck] if detector.with_neck else parts
        self._step = step
        self._norms = [
            module
            for part in self._parts
            for module in part.modules()
            if isinstance(module, _BatchNorm)
        ]
        self._seen: Counter[torch.Size] = Counter()
        self._sizes: dict[torch.Size, Sizes] = {}
        self._graphs: dict[torch.Size, _Graph] = {}
        self._shared: _Shared | None = None
        self._most = _MOST
        self._was_short = False
        self._replays = 0

    def __call__(self, images: Tensor, limits: Tensor) -> WholeImages:
        """Replay the graph for a batch of this size, or compute without one.

        Raises:
            Untrusted: A replay gave a wrong result.
            BrokenProcess: CUDA failed during a check or a recording.
        """
        can_be = torch.is_grad_enabled() and not any(norm.training for norm in self._norms)
        graph = self._graph(images, limits) if can_be else None
        if graph:
            self._replays += 1
            whole = graph.replay(images, limits)
            if self._replays % _EVERY == 0:
                _require(graph.gave_the_same)
            return whole
        whole = self._computed(images, limits)
        self._sizes[images.shape] = whole.sizes
        return whole

    def _computed(self, images: Tensor, limits: Tensor) -> WholeImages:
        """Compute without a graph; if memory does not suffice, drop all graphs."""
        try:
            return self._step.compute(images, limits)
        except RuntimeError as error:
            if self._shared is None or not is_exhausted(error, has_run=True):
                raise
        self._give_up()
        return self._step.compute(images, limits)

    def check(self) -> None:
        """Check that every graph still gives correct results, forward and backward.

        Raises:
            Untrusted: A graph gives a wrong result.
            BrokenProcess: CUDA failed during the check.
        """
        for graph in self._graphs.values():
            _require(graph.is_true)

    def __bool__(self) -> bool:
        """Whether there are any graphs."""
        return bool(self._graphs)

    def _give_up(self, most: int = 0) -> None:
        """Limit the number of graphs, drop all existing ones, and free their memory."""
        self._graphs.clear()
        self._shared, self._most = None, most
        torch.cuda.empty_cache()

    def _graph(self, images: Tensor, limits: Tensor) -> _Graph | None:
        """The graph for a batch, recorded when its size has occurred often enough."""
        size = images.shape
        if size not in self._graphs and len(self._graphs) < self._most:
            self._seen[size] += 1
            if self._seen[size] > _SEEN:
                self._add(size, images, limits)
        return self._graphs.get(size)

    def _add(self, size: torch.Size, images: Tensor, limits: Tensor) -> None:
        """Record a graph if memory suffices; drop all graphs if it gives wrong results.

        A recording that fails for lack of memory has taken all free memory into the graphs' pool
        without releasing cached memory. The whole pool is released, and a first graph gets a second
        chance.

        Raises:
            BrokenProcess: It cannot be recorded, for example because a layer waits for its result.
                CUDA does not recover from that.
        """
        graph, why, most = None, "", 0
        try:
            graph = self._make(images, limits)
            graph.take(images, limits)
            if graph.is_true():
                self._graphs[size] = graph
            else:
                why = "one gave wrong results"
        except RuntimeError as error:
            if not is_exhausted(error, has_run=True):
                raise BrokenProcess(
                    "The computation of this detector cannot be recorded as a CUDA graph "
                    f"({_reason(error)}): {_LEAVE_OUT}; the run then starts from the beginning."
                ) from error
            most = len(self._graphs) or int(not self._was_short)
            why, self._was_short = "memory does not suffice for another", True
        if why:
            graph = None  # so that its memory is released too
            self._give_up(most)
            used = f"at most {most}" if most else "no"
            print_log(f"{used} CUDA graphs are used from now on: {why}", "current")

    def _make(self, images: Tensor, limits: Tensor) -> _Graph:
        if self._shared is None:
            self._shared = _Shared(self._step, self._parts)
        anchors = self._step.anchors(self._sizes[images.shape], images.device)
        with _rounding_anew(images.device.type):
            return _Graph(
                self._step, shared=self._shared, anchors=anchors, images=images, limits=limits
            )


def _rounding_anew(device: str) -> torch.autocast:
    """Autocast without its weight cache, which would hold weights of another step."""
    return torch.autocast(
        device,
        dtype=torch.get_autocast_dtype(device),
        enabled=torch.is_autocast_enabled(device),
        cache_enabled=False,
    )


class _AsModule(nn.Module):
    """A step's computation on whole images as a module, which can use other weights."""

    def __init__(self, step: TwoStageStep) -> None:
        super().__init__()
        self.detector = step.detector
        self._step = step

    def forward(self, images: Tensor, limits: Tensor) -> WholeImages:
        """See :meth:`TwoStageStep.compute`."""
        return self._step.compute(images, limits)


class _Shared:
    """Memory that all graphs share: each finishes its backward pass before another is replayed.

    Args:
        step: The training step.
        parts: The modules of its detector that process whole images.

    Attributes:
        weights: Weights with gradients.
        stand_ins: Other tensors with the same memory, by the weights' names. Autograd remembers for
            each tensor the stream of its first use, as long as any result of it exists, and would
            make one stream wait for the other in the middle of a recording.
        gradients: Gradients of the weights, with the same layout.
    """

    def __init__(self, step: TwoStageStep, parts: Sequence[nn.Module]) -> None:
        self._module = _AsModule(step)
        learning = {
            id(weight) for part in parts for weight in part.parameters() if weight.requires_grad
        }
        every = self._module.named_parameters()
        named = {name: weight for name, weight in every if id(weight) in learning}
        self.weights = list(named.values())
        self.stand_ins = {name: w.detach().requires_grad_() for name, w in named.items()}
        self.gradients = [torch.empty_like(weight) for weight in self.weights]
        self._stream = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()
        self._spaces: dict[tuple[str, torch.dtype], list[Tensor]] = defaultdict(list)

    def space(self, name: str, like: Tensor) -> Tensor:
        """Memory for a tensor, shared with tensors of the same name in other graphs."""
        spaces = self._spaces[name, like.dtype]
        fitting = next((space for space in spaces if space.numel() >= like.numel()), None)
        if fitting is None:
            fitting = torch.zeros(like.numel(), dtype=like.dtype, device=like.device)
            spaces.append(fitting)
        return fitting.as_strided(like.shape, like.stride())

    def compute(self, images: Tensor, limits: Tensor) -> WholeImages:
        """The step's computation with the stand-ins as weights."""
        whole: WholeImages = functional_call(self._module, self.stand_ins, (images, limits))
        return whole

    def record(self, graph: torch.cuda.CUDAGraph, function: Callable[[], None]) -> None:
        """Record the GPU operations of a function in a graph, without computing.

        Operations of other threads in the meantime, such as one that pins the next batches' memory,
        are not part of it and do not end it.
        """
        torch.cuda.synchronize()
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                function()
            except BaseException:
                with contextlib.suppress(RuntimeError):  # the recording has already failed
                    graph.capture_end()
                raise
            graph.capture_end()


class _Graph:
    """The computation for one batch size, forward and backward.

    ``torch.cuda.make_graphed_callables`` releases all cached memory before it records, which must
    then be allocated again, and passes every single weight through autograd; so graphs are recorded
    here.

    Args:
        step: The training step.
        shared: Memory shared with all graphs.
        anchors: Anchors of these images' maps, kept here because the graph reads their memory.
        images: (B, 3, H, W), an example.
        limits: (B, 2), an example.
    """

    outputs: tuple[Tensor, ...]

    def __init__(
        self,
        step: TwoStageStep,
        *,
        shared: _Shared,
        anchors: Anchors,
        images: Tensor,
        limits: Tensor,
    ) -> None:
        self._step, self._shared, self._anchors = step, shared, anchors
        self._inputs = shared.space("images", images), shared.space("limits", limits)
        self._start = torch.zeros((), requires_grad=True)  # an input for autograd
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        shared.record(self._forward, self._compute)
        self._of_outputs = [
            shared.space(f"gradient {number}", output) for number, output in enumerate(self.outputs)
        ]
        self.learns = [output.requires_grad for output in self.outputs]
        shared.record(self._backward, self._differentiate)
        self.outputs = tuple(output.detach() for output in self.outputs)

    def _compute(self) -> None:
        """Compute from the inputs' memory to the outputs'."""
        whole = self._shared.compute(*self._inputs)
        self._candidates = whole.candidates, whole.apart
        self.outputs = (*whole.maps, whole.scores, whole.deltas)

    def _differentiate(self) -> None:
        """Compute from the memory of the outputs' gradients to that of the weights'."""
        weights, own = self._shared.weights, self._shared.gradients
        outputs, of_outputs = (
            list(compress(each, self.learns)) for each in (self.outputs, self._of_outputs)
        )
        stand_ins = list(self._shared.stand_ins.values())
        found = torch.autograd.grad(outputs, stand_ins, of_outputs, allow_unused=True)
        self._learning = []
        for weight, place, gradient in zip(weights, own, found, strict=True):
            if gradient is not None:
                place.copy_(gradient)
                self._learning.append((weight, place))

    def is_true(self) -> bool:
        """Whether a replay equals the computation without a graph, forward and backward.

        It uses whatever images are in the inputs' memory.
        """
        self.forward()
        if not self.gave_the_same():
            return False
        with _rounding_anew(self._inputs[0].device.type):
            whole = self._step.compute(*self._inputs)
            plain = (*whole.maps, whole.scores, whole.deltas)
            weights = self._shared.weights
            of_plain = [
                output.detach() for output in plain
            ]  # gradients of half their sum of squares
            expected = torch.autograd.grad(
                list(compress(plain, self.learns)),
                weights,
                list(compress(of_plain, self.learns)),
                allow_unused=True,
            )
        learning = {id(weight) for weight, _ in self._learning}
        if learning != {id(w) for w, g in zip(weights, expected, strict=True) if g is not None}:
            return False  # a layer holds a weight under another name, without a stand-in
        for own, given in zip(self._of_outputs, of_plain, strict=True):
            own.copy_(given)
        self._backward.replay()
        found = [gradient for _, gradient in self._learning]
        return _agree(found, [gradient for gradient in expected if gradient is not None])

    def gave_the_same(self) -> bool:
        """Whether the last replay was correct; none of its memory may be overwritten before."""
        with torch.no_grad(), _rounding_anew(self._inputs[0].device.type):
            whole = self._step.compute(*self._inputs)
            *maps, scores, deltas = self.outputs
            of_own = self._step.candidates(scores, deltas, whole.sizes, self._inputs[1])
        return _agree([*maps, scores, deltas], [*whole.maps, whole.scores, whole.deltas]) and (
            _agree(self._candidates, of_own, _TOLERANCE_OF_BOXES)
        )

    def replay(self, images: Tensor, limits: Tensor) -> WholeImages:
        """The step's computation on images of this size."""
        self.take(images, limits)
        *maps, scores, deltas = _Replay.apply(self._start, self)
        return WholeImages(tuple(maps), scores, deltas, *self._candidates)

    def take(self, images: Tensor, limits: Tensor) -> None:
        """Copy a batch into the inputs' memory."""
        for own, given in zip(self._inputs, (images, limits), strict=True):
            own.copy_(given)

    def forward(self) -> None:
        """Compute the outputs of the inputs."""
        self._forward.replay()

    def backward(self, *of_outputs: Tensor | None) -> None:
        """Give the weights their gradients, from those of the outputs."""
        for own, given in zip(self._of_outputs, of_outputs, strict=True):
            if given is None:
                own.zero_()
            else:
                own.copy_(given)
        self._backward.replay()
        for weight, gradient in self._learning:
            if weight.grad is None:
                weight.grad = gradient
            else:
                weight.grad.add_(gradient)


def _reason(error: RuntimeError) -> str:
    """CUDA's message, without its advice on compiling."""
    return str(error).strip().partition("\n")[0]


def _agree(
    found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float = _TOLERANCE
) -> bool:
    """Whether tensors are nearly equal; values that are not finite mean a diverged training."""
    differences = torch.stack(
        [(one - other).double().norm() for one, other in zip(found, expected, strict=True)]
    )
    norms = torch.stack([other.double().norm() for other in expected])
    if not norms.isfinite().all():
        return True
    least = norms.max() / 10_000  # tiny values may be pure rounding
    return bool((differences <= tolerance * norms.clamp(min=least)).all())


def _require(holds: Callable[[], bool]) -> None:
    """Check a condition on a graph; without memory for the check, assume that it holds.

    Raises:
        Untrusted: The condition does not hold.
        BrokenProcess: CUDA fails, perhaps because of an earlier computation. Saved checkpoints are
            sound, since graphs are checked before each.
    """
    try:
        if holds():
            return
    except RuntimeError as error:
        if is_exhausted(error, has_run=True):
            return
        raise BrokenProcess(
            f"The GPU failed while CUDA graphs were compared ({_reason(error)}); the last "
            "checkpoint "
            f"is kept. Run the command again to resume; if this happens again, {_LEAVE_OUT}, and "
            "please report it."
        ) from error
    raise Untrusted(
        "A CUDA graph of this detector gave a different result than the detector itself, so the "
        "training cannot be trusted: its checkpoints are removed and nothing is recorded. Please "
        f"report it, and {_LEAVE_OUT}."
    )


class _Replay(torch.autograd.Function):
    """A graph as an operation of autograd."""

    @staticmethod
    def forward(ctx: Any, start: Tensor, graph: _Graph) -> tuple[Tensor, ...]:
        ctx.graph = graph
        ctx.set_materialize_grads(False)
        graph.forward()
        found = tuple(output.detach() for output in graph.outputs)
        ctx.mark_non_differentiable(
            *(output for output, learns in zip(found, graph.learns, strict=True) if not learns)
        )
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *of_outputs: Tensor | None) -> tuple[None, None]:
        ctx.graph.backward(*of_outputs)
        return None, None
