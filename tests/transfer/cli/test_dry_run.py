import io

from rich.console import Console

from tests.support import synthetic
from transfer.cli.dry_run import print_costs
from transfer.plan.durations import Durations


def test_the_size_of_a_network_outside_the_zoo_is_computed(tmp_path):
    cell = synthetic.cell("mine", architecture="convnext_tiny")
    screen = Console(file=io.StringIO(), width=120)
    print_costs([cell], results=tmp_path, durations=Durations(), jobs=1, console=screen)
    (line,) = [line for line in screen.file.getvalue().splitlines() if " mine " in line]
    assert "28.59" in line.split()  # millions, timm's published count
    assert "4.46" in line.split()
