"""Sends batches to a GPU without waiting for the transfer."""

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
    """Copies batches to a GPU through pinned memory, asynchronously.

    A plain copy waits until the GPU has done all its queued work, including the whole previous
    step; so does the list of channels by which the toolboxes reorder them, which is done here
    instead. The loader's own thread pins images from other processes. If a detector samples on the
    host, its boxes stay there.

    The host computes with one thread until the training ends: when the processes that read images
    use the cores, several threads would wait for each other, by milliseconds.
    """

    def install(self, runner: Any) -> str:
        """Make the model's preprocessor copy asynchronously."""
        require_gpu(runner)
        model = unwrapped(runner.model)
        preprocessor = model.data_preprocessor
        boxes_stay = getattr(model.loss, "takes_boxes_on_host", False)
        send_through(preprocessor, preprocessor.device, boxes_stay)
        return "batches are copied to the GPU asynchronously"

    def before_train(self, runner: Any) -> None:
        """Make the loader pin its batches, and leave the cores to the readers."""
        loader = runner.train_loop.dataloader
        loader.pin_memory = loader.num_workers > 0
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def after_train(self, runner: Any) -> None:
        """Restore the number of threads."""
        torch.set_num_threads(self._threads)


def send_through(preprocessor: Any, device: torch.device, elements_stay: bool) -> None:
    """Make a preprocessor copy asynchronously to a device, and reorder channels there.

    Args:
        preprocessor: A toolbox's preprocessor on that device; a second call has no effect.
        device: The target device.
        elements_stay: Whether everything but the images stays on the host.
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
    """An element with all its tensors on a device."""
    on_device = element.new()
    for name, value in element.items():
        if isinstance(value, Tensor):
            on_device.set_data({name: sent(device, value)})
        elif isinstance(value, BaseDataElement):
            on_device.set_data({name: _element_to(device, value)})
        elif hasattr(value, "to"):
            on_device.set_data({name: value.to(device, non_blocking=True)})
    return on_device
