"""``transfer backbones --networks``."""

import pytest

from backbones.zoo.limits import limits_of
from tests.support import own_networks  # noqa: F401  (registers them with timm)
from transfer.cli import main

DRY_RUN = [
    *("run", "--dry-run", "--data", "sample", "--weights", "none", "--against", "none"),
    *("--task", "segmentation", "--results"),
]


def lines_of(capsys, *arguments):
    assert main.main(["backbones", "--networks", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("network", "tasks"),
    [
        ("convnext_tiny", ["works", "works, dilated"]),
        ("vit_small_patch14_dinov2", ["works", "works, pyramid"]),
        ("swinv2_tiny_window8_256", ["works", "works, resized"]),
        ("hiera_tiny_224", ["refused", "refused"]),
    ],
)
def test_each_network_has_a_word_for_each_task(network, tasks, capsys):
    lines = lines_of(capsys, network)
    (line,) = [line for line in lines if line.startswith(network)]
    assert line.split(maxsplit=2)[1:] == tasks
    why = limits_of(network).pyramid
    assert ("works" in line) == (why == "")
    assert why in " ".join(" ".join(lines).split())


def test_a_pattern_selects_networks(capsys):
    networks = [line.split()[0] for line in lines_of(capsys, "swin*") if "  " in line]
    assert {name for name in networks if "_" in name} >= {"swin_tiny_patch4_window7_224"}
    assert not any("vit" in name for name in networks)


def test_a_network_outside_the_table_is_tried(capsys):
    assert limits_of("test_vit") is None
    (line,) = [line for line in lines_of(capsys, "test_vit") if line.startswith("test_vit")]
    assert "works, pyramid" in line


def test_an_unknown_network_is_a_sentence(capsys):
    assert main.main(["backbones", "--networks", "test_vitt"]) == 2
    assert "timm has no network 'test_vitt'; similar names are" in capsys.readouterr().err


FAULTS = {
    "own_four_maps": "has 4 feature maps, but timm takes 5 unless it is told otherwise; pass "
    "feature_cfg=dict(out_indices=(0, 1, 2, 3))",
    "own_bare": "is a Sequential without timm's 'feature_info'",
    "own_raises": "fails with ZeroDivisionError: oops ('",
    "own_bad_maps": "fails with KeyError: 'stage' ('",
}


@pytest.mark.parametrize("network", FAULTS)
def test_a_registered_network_that_gives_no_maps_is_a_sentence(network, capsys, tmp_path):
    (_, _, line, *_) = lines_of(capsys, network)
    assert line.startswith(f"  '{network}' {FAULTS[network]}")
    assert line.endswith("Correct the code that registers it with timm; docs/networks.md ('Bring a "
                         "network') says what a backbone must offer.")  # fmt: skip
    assert main.main([*DRY_RUN, str(tmp_path), "--backbone", f"timm/{network}"]) == 2
    assert FAULTS[network] in capsys.readouterr().err


def test_a_registered_network_works_as_the_guide_says(capsys, tmp_path):
    (_, line, *_) = lines_of(capsys, "own_sound")
    assert line.split()[1:3] == ["works", "works,"]
    assert main.main([*DRY_RUN, str(tmp_path), "--backbone", "timm/own_sound"]) == 0


def test_a_registered_network_without_logits_has_no_cost(capsys, tmp_path):
    assert main.main([*DRY_RUN, str(tmp_path), "--backbone", "timm/own_headless"]) == 2
    assert "'own_headless' fails with KeyError: 'logits' ('" in capsys.readouterr().err
