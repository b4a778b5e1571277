"""Final weights, and pictures of predictions beside the truth."""

import dataclasses
import functools
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from backbones.common.errors import UserError
from tests.support import synthetic
from tests.support.small_sample import SIZES
from transfer import run
from transfer.cli import main, show
from transfer.records import records
from transfer.records.outcomes import DetectionOutcomes, SegmentationOutcomes
from transfer.report.predictions import colours
from transfer.report.predictions import sheet as sheet_module
from transfer.report.predictions.boxes import boxes_on
from transfer.report.predictions.masks import mask_on
from transfer.report.predictions.picks import f1_of_boxes, image_figures, iou_of_masks
from transfer.report.predictions.sheet import sheet
from transfer.report.predictions.side_by_side import Boxes, Comparison

CLASSES = ("background", "cat", "dog", "cow")


SLOW = [pytest.param("detection", marks=pytest.mark.slow), "segmentation"]


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
    """Runs a task's cell on the small sample, once; gives the folder it was run in."""
    from transfer.datasets.sample import writer

    @functools.cache
    def run_cell(task):
        folder = tmp_path_factory.mktemp(task)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("TRANSFER_CACHE", str(cache))
            patch.setattr(writer, "SIZES", SIZES)
            command = ["--backbone", "resnet18_scratch", "--against", "none", "--data", "sample"]
            command += ["--task", task, "--precision", "float32", "--evaluate-every", "2"]
            assert run.main(command) == 0
        return folder

    return run_cell


@pytest.fixture
def copy_of(finished, small_sample, monkeypatch, tmp_path):
    """Gives a copy of that folder, which a test may damage, as the working directory."""

    def copy(task):
        shutil.copytree(finished(task), tmp_path / task)
        monkeypatch.chdir(tmp_path / task)
        return tmp_path / task

    return copy


@pytest.fixture
def here(copy_of):
    return copy_of("segmentation")


def record_of(folder, task):
    (path,) = folder.glob(f"results/sample/records/{task}_*.json")
    return records.read(path)


@pytest.mark.parametrize("task", SLOW)
def test_evaluations_on_the_way_are_recorded(finished, task):
    """After every second epoch of eight and of six; the last one is the result itself."""
    record = record_of(finished(task), task)
    last = record.content["curve"][-1]["iteration"]
    iterations = [point["iteration"] for point in record.content["evaluations"]]
    twice = last // {"detection": 4, "segmentation": 3}[task]
    assert iterations == list(range(twice, last, twice))
    assert all(record.metric in point for point in record.content["evaluations"])


def finished_cell(here, task, small_sample):
    from transfer.datasets import catalogue
    from transfer.finetune.predict import FinishedCell

    record = record_of(here, task)
    data = catalogue.load("sample", small_sample.parent)
    return record, FinishedCell(record, data, here / "work_dirs" / record.path.stem)


def test_the_kept_weights_of_a_segmenter_give_what_was_recorded(here, small_sample):
    """All test images predicted anew, from record and weights alone, measure the same."""
    record, cell = finished_cell(here, "segmentation", small_sample)
    pairs = [(c.truth, c.found) for c in cell.compare(range(len(cell.names)))]
    judged = sum(int((truth != 255).sum()) for truth, _ in pairs)
    right = sum(int((truth == found).sum()) for truth, found in pairs)
    assert 100 * right / judged == pytest.approx(record.content["metrics"]["pixAcc"], abs=0.01)


@pytest.mark.slow
def test_the_kept_weights_of_a_detector_give_what_was_recorded(copy_of, small_sample):
    from transfer.metrics.coco_ap import JudgedImage
    from transfer.metrics.metrics import judge_all, voc_average_precision

    record, cell = finished_cell(copy_of("detection"), "detection", small_sample)
    images = []
    for name, pair in zip(cell.names, cell.compare(range(len(cell.names))), strict=True):
        found, truth, hard = pair.found, pair.truth, pair.truth.difficult
        images.append(
            JudgedImage(
                name=name,
                found={"bboxes": found.frames, "labels": found.labels, "scores": found.scores},
                truth={"bboxes": truth.frames[~hard], "labels": truth.labels[~hard]},
                ignored={"bboxes": truth.frames[hard], "labels": truth.labels[hard]},
            )
        )
    outcomes = judge_all(images, len(cell.classes))
    kept = np.load(record.path.with_suffix(".npz"))
    assert outcomes.images.tolist() == kept["images"].tolist()
    assert outcomes.positives.tolist() == kept["positives"].tolist()
    assert outcomes.score == pytest.approx(kept["score"], abs=1e-4)
    ap = voc_average_precision(outcomes, cell.classes)["area"]
    metrics = record.content["metrics"]
    assert 100 * np.mean(list(ap.values())) == pytest.approx(metrics["mAP_area"], abs=0.05)


@pytest.mark.parametrize("task", SLOW)
def test_pictures_are_written(copy_of, task, capsys):
    here = copy_of(task)
    record = record_of(here, task)
    cell = record.cell["id"][:6]
    assert main.main(["show", cell, "--images", "3"]) == 0
    assert f"3 pictures of {record.path.stem}" in capsys.readouterr().out
    folder = here / "pictures" / record.path.stem
    first = sorted((folder / "first").iterdir())
    assert [path.name[:4] for path in first] == ["001_", "002_", "003_"]
    with Image.open(first[0]) as picture:
        assert picture.width > 1000

    figures = f1_of_boxes if task == "detection" else iou_of_masks
    kind = DetectionOutcomes if task == "detection" else SegmentationOutcomes
    outcomes = kind.from_arrays(np.load(record.path.with_suffix(".npz")))
    figure = dict(zip(outcomes.images.tolist(), figures(outcomes), strict=True))
    for pick, sign in (("worst", 1), ("best", -1)):
        assert main.main(["show", str(record.path), "--pick", pick]) == 0
        names = [path.stem[4:] for path in sorted((folder / pick).iterdir())]
        shown = [sign * figure[name] for name in names]
        assert shown == sorted(shown)
        assert len(shown) == sum(np.isfinite(list(figure.values())))


def with_a_second_row(here):
    """The run's record as that of another row too, whose weights give the same predictions."""
    record = record_of(here, "segmentation")
    twin = record.path.with_name(record.path.name.replace("resnet18_scratch", "mine"))
    content = json.loads(record.path.read_text())
    content["baseline"] = "resnet18_scratch"
    record.path.write_text(json.dumps(content))
    content["cell"]["backbone"] = "mine"
    twin.write_text(json.dumps(content))
    shutil.copy(record.path.with_suffix(".npz"), twin.with_suffix(".npz"))
    shutil.copytree(here / "work_dirs" / record.path.stem, here / "work_dirs" / twin.stem)
    return twin


def test_a_report_shows_the_images_with_both_predictions_only_when_asked(here):
    with_a_second_row(here)
    for images in (0, 1):
        assert main.main(["report", "--sample", "--images", str(images)]) == 0
        page = (here / "results" / "sample" / "report.html").read_text(encoding="utf-8")
        assert page.count("data:image/jpeg") == 3 * images
    captions = re.findall(r"<figcaption>((?:Best|Worst|Most changed): .*?)</figcaption>", page)
    assert [one.split(":")[0] for one in captions] == ["Best", "Worst", "Most changed"]
    for caption in captions:
        ours, theirs = re.search(r"mine ([\d.]+), resnet18_scratch ([\d.]+)\.", caption).groups()
        assert ours == theirs


def test_a_report_without_weights_is_written_and_says_what_is_missing(here):
    with_a_second_row(here)
    shutil.rmtree(here / "work_dirs")
    assert main.main(["report", "--sample", "--images", "1"]) == 0
    page = (here / "results" / "sample" / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" not in page
    assert "has no weights of its runs" in page


def without_weights(here, record):
    (here / "work_dirs" / record.path.stem / "weights.safetensors").unlink()


def cut_weights(here, record):
    path = here / "work_dirs" / record.path.stem / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def others_weights(here, record):
    path = here / "work_dirs" / record.path.stem / "weights.safetensors"
    tensors = load_file(path)
    tensors.pop("backbone.network.conv1.weight")
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_weights, "do not exist"),
        (cut_weights, "does not hold the weights"),
        (others_weights, "does not hold the weights"),
    ],
)
def test_weights_that_cannot_be_used_are_one_sentence(damage, said, here, capsys):
    record = record_of(here, "segmentation")
    damage(here, record)
    assert main.main(["show", record.cell["id"]]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "weights.safetensors" in error
    assert not (here / "pictures").exists()


def test_a_cell_that_is_not_there_or_not_the_only_one(here, capsys):
    record = record_of(here, "segmentation")
    assert main.main(["show", "ffffffffffff"]) == 2
    assert "No record under 'results'" in capsys.readouterr().err
    twin = record.path.with_name(f"twin_{record.cell['id']}.json")
    twin.write_text(json.dumps(record.content))
    assert main.main(["show", record.cell["id"]]) == 2
    assert "give more digits" in capsys.readouterr().err
    record.content["cell"]["data"] = "fruit"
    twin.write_text(json.dumps(record.content))
    assert main.main(["show", str(twin)]) == 2
    assert (
        "'fruit', a data set of your own: pass its .toml file with --data"
        in capsys.readouterr().err
    )
    assert main.main(["show", str(twin), "--images", "0"]) == 2


def test_figures_of_images():
    """By hand: image 0 one right of two, a wrong one; image 1 all right; image 2 nothing at all."""
    boxes = DetectionOutcomes(
        images=np.array(["a", "b", "c"]),
        positives=np.array([[2], [1], [0]]),
        image=np.array([0, 0, 0, 0, 1]),
        label=np.zeros(5, int),
        score=np.array([0.9, 0.8, 0.2, 0.7, 0.5]),
        correct=np.array([True, False, False, False, True]),
        ignored=np.array([False, False, False, True, False]),
    )
    assert f1_of_boxes(boxes)[:2].tolist() == [2 / (2 + 1 + 1), 1]
    assert np.isnan(f1_of_boxes(boxes)[2])
    masks = SegmentationOutcomes(
        images=np.array(["a"]),
        intersection=np.array([[2, 0, 0]]),
        predicted=np.array([[4, 1, 0]]),
        labelled=np.array([[3, 0, 2]]),
    )  # a pixel is called what nothing in the image is
    assert iou_of_masks(masks).tolist() == [(2 / 5 + 0) / 2]


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.jpg"
    Image.new("RGB", (80, 60), (128, 128, 128)).save(path)
    return path


def test_boxes_are_where_they_belong_and_weak_ones_left_out():
    grey = Image.new("RGB", (320, 240), (128, 128, 128))
    found = Boxes(
        frames=np.array([[10, 30, 40, 50], [50, 10, 70, 40]]),
        labels=np.array([1, 2]),
        scores=np.array([0.9, 0.2]),
    )
    panel = np.asarray(
        boxes_on(
            grey, boxes=found, scale=4.0, classes=CLASSES, colours={1: (255, 0, 0), 2: (0, 255, 0)}
        )
    )
    red = (panel == (255, 0, 0)).all(axis=2)
    rows, columns = np.nonzero(red[118:])  # the name stands above the box
    assert (columns.min(), columns.max()) == pytest.approx((40, 160), abs=3)
    assert rows.max() + 118 == pytest.approx(200, abs=3)
    assert red[90:118, 40:80].any()
    assert not (panel == (0, 255, 0)).all(axis=2).any()


def test_masks_are_coloured_and_what_is_not_judged_is_hatched():
    grey = Image.new("RGB", (60, 60), (128, 128, 128))
    mask = np.zeros((30, 30), np.uint8)
    mask[:, 15:] = 255
    panel = np.asarray(mask_on(grey, mask, CLASSES, {0: (0, 0, 255)}))
    assert len(np.unique(panel[:, :30].reshape(-1, 3), axis=0)) == 1
    assert panel[5, 5, 2] > panel[5, 5, 0]
    right = panel[:, 30:].reshape(-1, 3)
    assert 0.1 < (right == 255).all(axis=1).mean() < 0.3


def test_one_colour_a_class_the_most_distinct_for_the_frequent(image):
    one = Comparison(image, np.array([[0, 2]]), np.array([[2, 2]]))
    two = Comparison(image, np.array([[0, 3]]), np.array([[2, 255]]))
    chosen = colours.choose_colours([one, two], CLASSES)
    assert chosen == {2: colours.PALETTE[0], 3: colours.PALETTE[1], 0: colours.BACKGROUND}
    picture = sheet(two, CLASSES, chosen)
    drawn = {tuple(c) for c in np.asarray(picture)[-25:].reshape(-1, 3)}
    assert set(chosen.values()) <= drawn, "the legend names every class of the picture"


@pytest.mark.parametrize("matrix", ["normal", "deuteranopia", "protanopia"])
def test_frequent_classes_can_be_distinguished_by_the_colour_blind(matrix):
    """Viénot, Brettel and Mollon (1999), in linear RGB; distances in CIE L*a*b*."""
    seen = {
        "normal": np.eye(3),
        "protanopia": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        "deuteranopia": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    }[matrix]
    palette = np.array(colours.PALETTE[:7]) / 255
    linear = np.where(palette <= 0.04045, palette / 12.92, ((palette + 0.055) / 1.055) ** 2.4)
    linear = (linear @ np.transpose(seen)).clip(0, 1)
    lab = cie_lab(linear)
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    assert distance[~np.eye(7, dtype=bool)].min() > 10


def cie_lab(linear):
    """CIE 1976 L*a*b* of linear sRGB under D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratio = linear @ np.transpose(to_xyz) / [0.9505, 1.0, 1.089]
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * 841 / 108 + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def test_signs_of_patterns_mean_themselves_in_a_cell(tmp_path, capsys):
    assert main.main(["show", "*", "--results", str(tmp_path)]) == 2
    assert "belongs to a run '*'" in capsys.readouterr().err


def test_a_cell_that_lies_in_several_folders_is_found_by_id_and_by_name(tmp_path):
    cell = synthetic.cell("resnet50_baseline")
    path = synthetic.write(tmp_path, cell, 70.0)
    shutil.copytree(tmp_path / "records", tmp_path / "1" / "records")
    other = synthetic.write(tmp_path / "2", synthetic.cell("resnet50_baseline", seed=1), 71.0)
    for asked in (cell.id, cell.id[:6], path.stem):
        assert show.find(asked, tmp_path).path == path
    assert show.find(other.stem, tmp_path).path == other
    with pytest.raises(UserError, match=r"matches .*; give more digits"):
        show.find("", tmp_path)


def test_an_imported_run_is_not_to_be_drawn(tmp_path, capsys):
    path = synthetic.write(tmp_path, synthetic.cell("resnet50_baseline"), 70.0)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "imported": {"from": "scalars.json"}}))
    assert main.main(["show", path.stem, "--results", str(tmp_path)]) == 2
    assert "was imported" in capsys.readouterr().err


def two_folders(folder, tested=("north/0000", "south/0000")):
    """Per-image results of images that have one name: the second is the worse."""
    outcomes = SegmentationOutcomes(
        images=np.array(tested),
        intersection=np.array([[90], [20]]),
        predicted=np.array([[90], [100]]),
        labelled=np.array([[100], [100]]),
    )
    np.savez(folder / "outcomes.npz", **outcomes.to_arrays())
    return folder / "outcomes.npz"


@pytest.mark.parametrize("kept", [("north/0000", "south/0000"), ("0000", "0000")])
def test_images_of_one_name_have_figures_of_their_own(tmp_path, kept):
    """Also in older records, which have the bare names."""
    path = two_folders(tmp_path, kept)
    figures = image_figures(path, "segmentation", ["north/0000", "south/0000"])
    assert figures.tolist() == pytest.approx([0.9, 20 / 180])


def test_figures_follow_the_names_whatever_their_order(tmp_path):
    path = two_folders(tmp_path)
    figures = image_figures(path, "segmentation", ["south/0000", "north/0000"])
    assert figures.tolist() == pytest.approx([20 / 180, 0.9])


def test_results_of_other_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="other test images"):
        image_figures(two_folders(tmp_path), "segmentation", ["north/0000", "south/0001"])


def test_where_nothing_passes_the_threshold_a_word_says_so(image):
    found = Boxes(frames=np.array([[1, 1, 9, 9]]), labels=np.array([1]), scores=np.array([0.21]))
    weak = Comparison(image, found, found, "north/0000")
    (remark,) = show._remarks([weak], CLASSES)
    assert "1 of 1 pictures" in remark
    assert "0.21" in remark
    strong = Comparison(image, found, dataclasses.replace(found, least_score=0.2))
    assert not list(show._remarks([strong], CLASSES))
    titles = [sheet_module._title(*one.sides()[-1]) for one in (weak, strong)]
    assert titles == [
        "prediction: nothing with a score of at least 0.3",
        "prediction, score of at least 0.2",
    ]


@pytest.mark.parametrize(("score", "said"), [("0.5", "segmenter"), ("1.5", "segmenter")])
def test_a_score_is_of_detections(here, score, said, capsys):
    record = record_of(here, "segmentation")
    assert main.main(["show", record.cell["id"], "--score", score]) == 2
    assert said in capsys.readouterr().err


def test_pictures_of_several_folders_are_told_apart_by_their_names(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    mask = np.zeros((4, 4), np.uint8)
    found = [
        Comparison(tmp_path / "0.png", mask, mask, name)
        for name in ("north/0", "south/0", "0", "a/" + "ü" * 300)
    ]
    names = [path.name for path in sheet_module.write_sheets(found, CLASSES, tmp_path / "out")]
    assert names[:3] == ["001_north_0.png", "002_south_0.png", "003_0.png"]
    assert len(list((tmp_path / "out").iterdir())) == 4
