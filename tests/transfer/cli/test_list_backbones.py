"""``transfer backbones``: a line a row, and a filter."""

import pytest

from backbones.zoo import zoo
from transfer.cli import main


def listed(capsys, *arguments):
    assert main.main(["backbones", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_list_has_a_line_a_row_that_fits_80_columns(capsys):
    lines = listed(capsys)
    assert max(map(len, lines)) <= 80
    names = [line.split()[0] for line in lines if line]
    assert [name for name in names if name in zoo.CATALOGUE] == list(zoo.CATALOGUE)


@pytest.mark.parametrize(
    ("pattern", "rows"),
    [
        ("resnet50d_mix", ["resnet50d_mixup", "resnet50d_mixup_distill"]),
        ("resnet1*_baseline", ["resnet18_baseline", "resnet101_baseline", "resnet152_baseline"]),
        ("ecaresnet26t", ["eca_resnet26t"]),
    ],
)
def test_a_part_or_a_pattern_of_names_filters_the_list(pattern, rows, capsys):
    lines = listed(capsys, pattern)
    assert [line.split()[0] for line in lines[1 : lines.index("")]] == rows


def test_published_weights_are_listed_with_their_own_top_1(capsys):
    [line] = [line for line in listed(capsys, "lite1") if line.startswith("efficientnet_lite1")]
    assert "76.64" in line


def test_one_row_is_shown_whole(capsys):
    text = "\n".join(listed(capsys, "resnet50d_mixup"))
    for fact in ("25.58 M parameters", "label smoothing 0.1", "timm:resnet50d.gluon_in1k"):
        assert fact in text


def test_an_unknown_name_is_an_error_with_near_names(capsys):
    assert main.main(["backbones", "resnet50d_mixdup"]) == 2
    assert "resnet50d_mixup" in capsys.readouterr().err
