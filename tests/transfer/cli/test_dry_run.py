import io

import pytest
from rich.console import Console

from tests.support import synthetic
from transfer import run
from transfer.cli.dry_run import print_costs
from transfer.plan.durations import Durations


def test_the_size_of_a_network_outside_the_zoo_is_computed(tmp_path):
    cell = synthetic.cell("mine", architecture="convnext_tiny")
    screen = Console(file=io.StringIO(), width=120)
    print_costs([cell], results=tmp_path, durations=Durations(), jobs=1, console=screen)
    (line,) = [line for line in screen.file.getvalue().splitlines() if " mine " in line]
    assert "28.59" in line.split()  # millions, timm's published count
    assert "4.46" in line.split()


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("vit_tiny_patch16_224.wrongtag", False),
        ("vit_tiny_patch16_224.augreg_in21k", True),
        ("vit_tiny_patch16_224", True),
    ],
)
def test_weights_that_timm_does_not_publish_are_refused(
    name, fits, small_sample, checks_here, capsys
):
    command = ["--backbone", f"timm/{name}", "--against", "none", "--data", "sample", "--dry-run"]
    assert run.main(command) == (0 if fits else 2)
    refused = f"timm publishes no weights under '{name}'" in capsys.readouterr().err
    assert refused is not fits
