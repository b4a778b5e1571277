"""Composed configs."""

import transfer.openmmlab  # noqa: F401
from transfer.datasets import catalogue
from transfer.protocols import compose, protocols
from transfer.records.cells import Cell

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def cell(task, protocol="quick", architecture="resnet50d", **changes):
    settings = {
        "backbone": "resnet50d_tricks",
        "architecture": architecture,
        "weights": "",
        "weights_id": "",
        "classifier": "none",
        "task": task,
        "protocol": protocol,
        "protocol_version": protocols.version(task, protocol),
        "data": "sample",
        "data_fingerprint": "",
        "precision": "float32",
        "seed": 0,
    }
    return Cell(**{**settings, **changes})


def composed(the_cell, small_sample, weights="file.pth"):
    data = catalogue.load("sample", small_sample.parent)
    return compose.compose(the_cell, data, weights=weights, mean=MEAN, std=STD)
