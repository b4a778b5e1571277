"""Changes of a cell's config when several processes, one GPU each, train it together."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict

from backbones.common import hardware
from backbones.common.errors import UserError


def share_out(cfg: Config, processes: int) -> None:
    """Set batch size, learning rate and evaluation for several processes, in place.

    Each process takes the protocol's batch size, but together at most the batch size that the
    protocol's learning rate is stated for, as far as that can be divided. The learning rate follows
    the global batch size (linear scaling).

    Raises:
        UserError: The protocol asks for synchronised batch norms and there is no GPU.
    """
    stated = int(cfg.auto_scale_lr.base_batch_size)
    loader = cfg.train_dataloader
    loader.batch_size = batch_of_each(int(loader.batch_size), stated, processes)
    if loader.batch_size * processes != stated:
        cfg.auto_scale_lr.enable = True
    for held_out in (cfg.val_dataloader, cfg.test_dataloader):
        held_out.pop("drop_last", None)
        held_out.batch_sampler = ConfigDict(type="BatchesOfARank")
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.shared = True
    if _synchronises(cfg.model) and not hardware.cuda_devices():
        raise UserError(
            "The protocol synchronises batch norms over processes, which torch supports only on "
            "GPUs: "
            "run it in one process here, or on a machine with one GPU per process."
        )


def batch_of_each(own: int, stated: int, processes: int) -> int:
    """Images per step in each process.

    Args:
        own: The protocol's batch size of one process.
        stated: Global batch size that the protocol's learning rate is stated for.
        processes: Number of processes.
    """
    return min(own, max(1, stated // processes))


def _synchronises(node: object) -> bool:
    """Whether a model's config contains a synchronised batch norm."""
    if isinstance(node, dict):
        is_one = node.get("norm_sync") is True or node.get("type") == "SyncBN"
        return is_one or any(_synchronises(value) for value in node.values())
    return isinstance(node, list | tuple) and any(_synchronises(value) for value in node)
