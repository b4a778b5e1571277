"""The table of what networks cannot be made into, against the networks themselves."""

import csv

import pytest
import timm

from backbones.openmmlab.network_limits import limits
from backbones.zoo import zoo
from backbones.zoo.limits import FAMILIES, LIMITS, limits_of
from backbones.zoo.sizes import OFTEN_ASKED_FOR

QUICK = (
    *("resnet18", "inception_v3", "mobilenetv1", "vit_tiny_patch16_224", "convnext_tiny"),
    *("hiera_tiny_224", "levit_128s", "mambaout_femto"),
)
KNOWN = sorted(
    {row.architecture for row in zoo.CATALOGUE.values()}.union(OFTEN_ASKED_FOR, FAMILIES)
)


def test_the_table_has_the_zoos_networks_and_those_often_asked_for():
    with LIMITS.open(encoding="utf-8", newline="") as file:
        assert [row["architecture"] for row in csv.DictReader(file)] == KNOWN
    assert limits_of("resnet18t") is None


@pytest.mark.parametrize("architecture", QUICK)
def test_the_table_says_what_building_the_network_says(architecture):
    assert limits(architecture) == limits_of(architecture)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [name for name in KNOWN if name not in QUICK])
def test_so_does_the_rest_of_it(architecture):
    assert limits(architecture) == limits_of(architecture)


def test_the_table_has_at_least_forty_families():
    modules = {timm.model_entrypoint(name).__module__ for name in KNOWN}
    assert len(modules) >= 40
