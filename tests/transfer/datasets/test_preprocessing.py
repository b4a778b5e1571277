"""Mean and deviation of a classifier's images: who states them, and what a cell's id has of it."""

import pytest
import torch
from safetensors.torch import save_file

from backbones.zoo.entry import IMAGENET_MEAN, IMAGENET_STD
from tests.support import synthetic
from transfer.finetune import classifiers
from transfer.plan.request import make_plan

TIMM = "mobilenetv1_100.ra4_e3600_r224_in1k"
HALVES = (0.5, 0.5, 0.5)  # what timm states for these weights
NETWORK = 'architecture = "mobilenetv1_100"\n'
OF_TIMM = NETWORK + f'weights = "timm:{TIMM}"\n'
OF_FILE = NETWORK + 'weights = "own.safetensors"\n'
STATED = (0.1, 0.2, 0.3)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a file of weights; the same is in the cache as timm's."""
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    for path in ("own", f"cache/weights/{TIMM}"):
        save_file({"conv_stem.weight": torch.ones(2, 3)}, tmp_path / f"{path}.safetensors")
    return tmp_path


def planned(backbone, folder, weights="auto"):
    """The cell and the row of a backbone, or of the lines of a user's own."""
    if "=" in backbone:
        (folder / "mine.toml").write_text(backbone)
        backbone = str(folder / "mine.toml")
    given = str(folder / weights) if weights.endswith(".safetensors") else weights
    plan = make_plan(synthetic.request(backbone, folder, weights=given))
    return plan.cells[0], plan.rows[plan.cells[0].backbone]


def expected(of):
    """Mean and deviation, 0 to 1, of what the cell is prepared with."""
    ready = classifiers.prepare(*of)
    return tuple(tuple(value / 255 for value in values) for values in (ready.mean, ready.std))


@pytest.mark.parametrize(
    ("backbone", "weights", "mean", "std"),
    [
        (OF_TIMM, "auto", HALVES, HALVES),
        (OF_TIMM + f"mean = {[*STATED]}\n", "auto", STATED, HALVES),
        (OF_TIMM + f"std = {[*STATED]}\n", "auto", HALVES, STATED),
        (OF_TIMM, "own.safetensors", IMAGENET_MEAN, IMAGENET_STD),
        (OF_FILE, "auto", IMAGENET_MEAN, IMAGENET_STD),
        (OF_FILE + f"std = {[*STATED]}\n", "auto", IMAGENET_MEAN, STATED),
        (OF_FILE, f"timm:{TIMM}", HALVES, HALVES),
        ("mobilenet_baseline", f"timm:{TIMM}", HALVES, HALVES),
        ("mobilenet_baseline", "own.safetensors", IMAGENET_MEAN, IMAGENET_STD),
        ("mobilenet_ra4", "own.safetensors", HALVES, HALVES),
        (f"timm/{TIMM}", "auto", HALVES, HALVES),
    ],
)
def test_timms_weights_bring_what_timm_states_unless_an_own_row_states_it(
    backbone, weights, mean, std, here
):
    found = expected(planned(backbone, here, weights))
    assert found == (pytest.approx(mean), pytest.approx(std))


def test_an_own_rows_cell_is_distinguished_by_what_is_stated_and_by_what_is_meant(here):
    def identity(backbone, weights="auto"):
        return planned(backbone, here, weights)[0].id

    imagenet = f"mean = {[*IMAGENET_MEAN]}\nstd = {[*IMAGENET_STD]}\n"
    assert identity(OF_FILE) == identity(OF_FILE + imagenet)
    assert identity(OF_TIMM, "own.safetensors") == identity(OF_FILE)
    plain = identity(OF_TIMM)
    others = {identity(OF_TIMM + f"{name} = {[*STATED]}\n") for name in ("mean", "std")}
    assert len({plain, *others}) == 3
