"""Batches sent to a GPU without waiting until it has them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from backbones.runtime.checkpoint import unwrapped
from transfer.speed.part import Part, require_gpu
from transfer.speed.pinned import sent


class NonBlockingInputs(Part):
    """Copy batches to a GPU through pinned memory, in its own time.

    A plain copy waits until the GPU has done all that it was asked for, the whole of the step
    before included; so does the list of channels by which the toolboxes put them in the network's
    order, and that is done here. Images of other processes are pinned by the loader's own thread.
    The boxes of a detector that samples on the host stay there.

    What little the host computes is computed by one thread until the training ends: where the
    processes that read images have the cores, several threads wait for each other, by milliseconds.
    """

    def install(self, runner: Any) -> str:
        """Let the model's preprocessor copy so."""
        require_gpu(runner)
        model = unwrapped(runner.model)
        preprocessor = model.data_preprocessor
        boxes_stay = getattr(model.loss, "takes_boxes_on_host", False)
        send_through(preprocessor, preprocessor.device, boxes_stay)
        return "batches reach the GPU in its own time"

    def before_train(self, runner: Any) -> None:
        """Have the loader pin what it reads, and leave the cores to the readers."""
        loader = runner.train_loop.dataloader
        loader.pin_memory = loader.num_workers > 0
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def after_train(self, runner: Any) -> None:
        """Have the threads back."""
        torch.set_num_threads(self._threads)


def send_through(preprocessor: Any, device: torch.device, elements_stay: bool) -> None:
    """Let a preprocessor copy to a device so, and order channels there.

    Args:
        preprocessor: A toolbox's, on that device; told anew, it stays as it is.
        device: Where batches go.
        elements_stay: Whether all but the images stays on the host.
    """
    if isinstance(preprocessor.cast_data, partial):
        return
    flips, preprocessor._channel_conversion = preprocessor._channel_conversion, False
    preprocessor.cast_data = partial(
        _sent,
        cast_data=preprocessor.cast_data,
        device=device,
        elements_stay=elements_stay,
        flips=flips,
    )


def _sent(
    data: Any,
    *,
    cast_data: Callable[[Any], Any],
    device: torch.device,
    elements_stay: bool,
    flips: bool,
) -> Any:
    """A preprocessor's ``cast_data``, of images (…, 3, H, W) and of elements that hold tensors."""
    if isinstance(data, Tensor):
        images = sent(device, data)
        return images.flip(-3) if flips and images.shape[-3] == 3 else images
    if isinstance(data, BaseDataElement):
        return data if elements_stay else _element_to(device, data)
    return cast_data(data)


def _element_to(device: torch.device, element: BaseDataElement) -> BaseDataElement:
    """An element with all that it holds on a device."""
    on_device = element.new()
    for name, value in element.items():
        if isinstance(value, Tensor):
            on_device.set_data({name: sent(device, value)})
        elif isinstance(value, BaseDataElement):
            on_device.set_data({name: _element_to(device, value)})
        elif hasattr(value, "to"):
            on_device.set_data({name: value.to(device, non_blocking=True)})
    return on_device
