"""``transfer backbones --networks``."""

import pytest

from backbones.zoo.limits import limits_of
from transfer.cli import main


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
