"""A data set whose items are random draws."""

import random

import numpy as np
from mmengine.registry import DATASETS


@DATASETS.register_module(force=True)
class Draws:
    """A data set whose items are what an augmentation would draw."""

    def __init__(self, length=10):
        self.length = length
        self.metainfo = {}

    def full_init(self):
        pass

    def __len__(self):
        return self.length

    def get_data_info(self, index):
        return {"width": 4 if index % 3 else 2, "height": 3}

    def __getitem__(self, index):
        return index, random.random(), np.random.rand()
