"""Data sets as small files, and what is said of those that cannot be used."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from mmseg.datasets import CityscapesDataset, PascalContextDataset59
from PIL import Image
from torch.utils.data import DataLoader

import transfer.openmmlab  # noqa: F401
from backbones.common.errors import UserError
from backbones.common.toml_file import read_toml
from backbones.zoo import zoo
from transfer import run
from transfer.datasets import catalogue
from transfer.datasets.findings import SMALLEST_BOX
from transfer.datasets.listing import list_all
from transfer.datasets.requirements import require_large_boxes, require_usable
from transfer.datasets.toolbox_datasets import CocoBoxes, IndexMasks
from transfer.metrics.metrics import BoxAP
from transfer.plan import suites
from transfer.protocols import compose, protocols
from transfer.records.cells import Cell

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def own(small_sample, tmp_path):
    """A copy of the small sample that a test may damage; as a user's own data, by its file."""
    shutil.copytree(small_sample, tmp_path / "own")
    text = (ROOT / "configs" / "datasets" / "sample.toml").read_text()
    text = text.replace('roots = ["sample"]', 'root = "own"').replace('"sample"', '"own"')
    text = re.sub("classifier_images.*", "", text)
    file = tmp_path / "own.toml"
    file.write_text(text)
    return file


def change(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def load(file):
    return catalogue.load(str(file), file.parent)


def masks(file):
    return file.parent / "own" / "ADEChallengeData2016"


def boxes(file):
    return file.parent / "own" / "VOCdevkit"


def composed(task, data, protocol="quick", **changes):
    cell = Cell(
        backbone="resnet18_scratch",
        architecture="resnet18",
        weights="",
        weights_id="",
        classifier="none",
        task=task,
        protocol=protocol,
        protocol_version=protocols.version(task, protocol),
        data=data.name,
        data_fingerprint="",
        precision="float32",
        seed=0,
        scratch=True,
    )
    return compose.compose(cell, data, weights="", mean=(0, 0, 0), std=(1, 1, 1))


def built(loader, scope):
    with DefaultScope.overwrite_default_scope(scope):
        return DATASETS.build(loader.dataset)


# What is said in the file


@pytest.mark.parametrize("name", catalogue.names())
def test_every_named_file_can_be_read(name, tmp_path):
    content = read_toml(ROOT / f"configs/datasets/{name}.toml")
    (tmp_path / content["roots"][0]).mkdir(parents=True)
    data = catalogue.load(name, tmp_path)
    assert data.name == name
    for part in (data.detection, data.segmentation):
        assert part is None or len(part.classes) == len(set(part.classes)) > 1


def test_classes_of_coco_are_mmdetections():
    from mmdet.datasets import CocoDataset

    content = read_toml(ROOT / "configs/datasets/coco2017.toml")
    assert tuple(content["detection"]["classes"]) == CocoDataset.METAINFO["classes"]


def test_the_files_in_the_documentation_work(own, tmp_path):
    blocks = re.findall("```toml\n(.*?)```", (ROOT / "docs/data.md").read_text(), re.DOTALL)
    (tmp_path / "my-data").mkdir()
    (tmp_path / "here").mkdir()
    *files, overrides = blocks
    for task, block in zip(("detection", "segmentation", "detection"), files, strict=True):
        file = tmp_path / "here" / f"{task}.toml"
        file.write_text(block)
        data = load(file)
        assert getattr(data, task) is not None
        assert data.root.resolve() == tmp_path / "my-data"
    assert data.detection.layout == "coco"
    suite = tmp_path / "here" / "suite.toml"
    suite.write_text(
        f'kind = "transfer"\nprotocol = "openmmlab"\nrows = ["resnet18_scratch"]\n{overrides}'
    )
    settings = dict(suites.load(str(suite)).settings["segmentation"][0])
    protocol = Config.fromfile(protocols.config_file("segmentation", "openmmlab"))
    before = protocol.to_dict()
    protocol.merge_from_dict(settings)
    assert protocol.train_cfg.max_iters == protocol.param_scheduler[0].end == 8000
    assert (before["train_cfg"]["max_iters"], before["param_scheduler"][0]["end"]) == (80000,) * 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"mug"]', '"mug", "bird"]', "lists the class 'bird' twice"),
        ("[detection]", '[detection]\nheadline_classes = ["cup"]', "headline class 'cup'"),
        ("[detection]", '[detection]\nlayout = "yolo"', "the layout 'yolo'"),
        ("ignore_index = 255", "ignore_index = 256", "ignore_index 256"),
        ('test = [{ folder = "VOC2007", split = "test" }]', "test = []", "or a test split"),
        ('split = "test" }', 'spilt = "test" }', "unknown entry 'spilt': did you mean split"),
        (', split = "test" }', "}", "lacks the entry 'split'"),
        ("ignore_index", "ignore_idx", "unknown entry 'ignore_idx': did you mean ignore_index"),
        ("[detection]", '[detection]\nheadline_class = ["mug"]', "did you mean headline_classes"),
        ("[segmentation]", "[segmentaton]", "'segmentaton': did you mean segmentation"),
        ('root = "own"', 'root = "nowhere"', "correct 'root' in"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(own, old, new, said):
    change(own, old, new)
    with pytest.raises(UserError, match=re.escape(said)):
        load(own)


def test_masks_of_one_class_are_refused(own):
    """Its loss is always zero; mostly the background was forgotten."""
    boxes_of, masks_of = own.read_text().split("[segmentation]")
    masks_of = re.sub(r"classes = \[.*?\]", 'classes = ["mug"]', masks_of, flags=re.DOTALL)
    own.write_text(f"{boxes_of}[segmentation]{masks_of}")
    with pytest.raises(UserError, match="lists only one class for masks"):
        load(own)


# Found before the training starts


def unknown_class(file):
    name = (boxes(file) / "VOC2012/ImageSets/Main/trainval.txt").read_text().split()[-1]
    path = boxes(file) / f"VOC2012/Annotations/{name}.xml"
    path.write_text(re.sub("<name>.*?</name>", "<name>zebra</name>", path.read_text()))
    return path


def mask_value(file):
    path = sorted((masks(file) / "annotations/validation").iterdir())[0]
    values = np.array(Image.open(path))
    values[0, 0] = 77
    Image.fromarray(values).save(path)
    return path


def mask_gone(file):
    path = sorted((masks(file) / "annotations/training").iterdir())[0]
    path.unlink()
    return path


def empty_list(file):
    path = boxes(file) / "VOC2012/ImageSets/Main/trainval.txt"
    path.write_text("")
    return path


def missing_split(file):
    path = boxes(file) / "VOC2007/ImageSets/Main/test.txt"
    path.unlink()
    return path


def image_gone(file):
    name = (boxes(file) / "VOC2012/ImageSets/Main/trainval.txt").read_text().split()[0]
    path = boxes(file) / f"VOC2012/JPEGImages/{name}.jpg"
    path.unlink()
    return path


def cut_test_image(file):
    name = (boxes(file) / "VOC2007/ImageSets/Main/test.txt").read_text().split()[-1]
    path = boxes(file) / f"VOC2007/JPEGImages/{name}.jpg"
    path.write_bytes(path.read_bytes()[:300])
    return path


@pytest.mark.parametrize(
    ("damage", "task", "said"),
    [
        (mask_value, "segmentation", "has the value 77"),
        (mask_gone, "segmentation", "does not exist"),
        (empty_list, "detection", "names no image"),
        (missing_split, "detection", "does not exist"),
        (image_gone, "detection", "does not exist"),
        (cut_test_image, "detection", "does not decode"),
    ],
)
def test_what_would_end_a_training_late_is_found_before(own, damage, task, said):
    path = damage(own)
    with pytest.raises(UserError) as error:
        require_usable(load(own), task)
    assert said in str(error.value)
    assert path.name in str(error.value)
    other = "detection" if task == "segmentation" else "segmentation"
    require_usable(load(own), other)  # a fault of the other task does not matter


def difficult_alone(file):
    for path in (boxes(file) / "VOC2007/Annotations").iterdir():
        hard = "<difficult>1</difficult>"
        path.write_text(re.sub("<difficult>0</difficult>", hard, path.read_text()))


def unlabelled(file):
    for path in (masks(file) / "annotations/validation").iterdir():
        Image.fromarray(np.zeros_like(Image.open(path))).save(path)


@pytest.mark.parametrize(
    ("damage", "task"), [(difficult_alone, "detection"), (unlabelled, "segmentation")]
)
def test_a_test_set_that_gives_no_figure_is_found_before(own, damage, task):
    require_usable(load(own), task)
    damage(own)
    require_usable.cache_clear()
    with pytest.raises(UserError, match="Test images without any class of the headline"):
        require_usable(load(own), task)


def shrink(file):
    """Cut every box to 20 pixels at most."""
    for path in boxes(file).glob("*/Annotations/*.xml"):
        annotation = ElementTree.parse(path)
        for box in annotation.iter("bndbox"):
            for side in "xy":
                far = box.find(f"{side}max")
                far.text = str(min(int(far.text), int(box.findtext(f"{side}min")) + 20))
        annotation.write(path)


def test_a_training_set_that_is_background_to_the_protocol_is_found_before(own, monkeypatch, capfd):
    """The toolbox's filter for VOC takes every box; other protocols train on them."""
    smallest = {
        protocol: compose.smallest_box(composed("detection", load(own), protocol))
        for protocol in ("quick", "paper", "openmmlab")
    }
    assert smallest == {"quick": 0, "paper": 0, "openmmlab": SMALLEST_BOX}
    require_large_boxes(load(own), smallest["openmmlab"])
    shrink(own)
    dataset = built(composed("detection", load(own), "openmmlab").train_dataloader, "mmdet")
    things = [t for i in range(len(dataset)) for t in dataset.get_data_info(i)["instances"]]
    assert things
    assert all(thing["ignore_flag"] for thing in things)
    require_large_boxes(load(own), smallest["paper"])
    monkeypatch.chdir(own.parent)
    command = ["--backbone", "resnet18_scratch", "--against", "none", "--task", "detection"]
    assert run.main([*command, "--data", str(own), "--protocol", "openmmlab"]) == 2
    printed = capfd.readouterr().err
    assert (
        "boxes under 32 pixels wide or high as background in training, but no training box"
        in printed
    )


def test_boxes_outside_the_headline_are_no_training_set(own):
    """One large box of a class of it is."""
    shrink(own)
    name = (boxes(own) / "VOC2012/ImageSets/Main/trainval.txt").read_text().split()[0]
    path = boxes(own) / f"VOC2012/Annotations/{name}.xml"
    change(own, "[detection]", '[detection]\nheadline_classes = ["mug"]')
    refused = pytest.raises(UserError, match="no training box of the headline's classes in")
    for named, difficult, edge, expected in (
        ("bird", 0, 33, refused),
        ("mug", 1, 33, refused),
        ("mug", 0, 32, refused),
        ("mug", 0, 33, contextlib.nullcontext()),
    ):
        thing = (
            f"<object><name>{named}</name><difficult>{difficult}</difficult><bndbox><xmin>1</xmin>"
            f"<ymin>1</ymin><xmax>{edge}</xmax><ymax>40</ymax></bndbox></object>"
        )
        path.write_text(re.sub("<object>.*</object>", thing, path.read_text(), flags=re.DOTALL))
        with expected:
            require_large_boxes(load(own), SMALLEST_BOX)


def test_a_public_data_set_that_is_not_whole_is_refused(own):
    change(own, 'split = "test" }', 'split = "test", images = 4952 }')
    with pytest.raises(UserError, match="9 images where the original has 4952"):
        require_usable(load(own), "detection")


def test_an_unknown_class_in_what_is_trained_on_is_found_as_the_loader_is_built(own):
    unknown_class(own)
    loader = composed("detection", load(own)).train_dataloader
    with pytest.raises(UserError, match="the class 'zebra', which the data set's file does not"):
        built(loader, "mmdet").full_init()


def test_a_missing_split_is_reported_when_the_run_is_planned(own):
    path = missing_split(own)
    with pytest.raises(UserError, match=f"{path.name}' cannot be read"):
        load(own).fingerprint("detection")


def test_a_mask_value_in_what_is_trained_on_is_named_as_it_is_loaded(own):
    for path in (masks(own) / "annotations/training").iterdir():
        Image.fromarray(np.full_like(Image.open(path), 77)).save(path)
    dataset = built(composed("segmentation", load(own)).train_dataloader, "mmseg")
    with pytest.raises(UserError, match=r"\.png' has the value 77, but there are only 10 classes"):
        dataset[0]


def flatten(xml):
    left = int(re.search(r"<xmin>(\d+)</xmin>", xml)[1])
    return re.sub(r"<xmax>\d+</xmax>", f"<xmax>{left - 1}</xmax>", xml, count=1)


def move_out(xml):
    for side, place in (("xmin", 5000), ("xmax", 5050)):
        xml = re.sub(rf"<{side}>\d+</{side}>", f"<{side}>{place}</{side}>", xml, count=1)
    return xml


@pytest.mark.parametrize("change_xml", [flatten, move_out])
def test_a_box_of_no_extent_in_what_is_trained_on_is_named_as_it_is_loaded(own, change_xml):
    """Its offsets are no numbers, and the loss would be said to diverge."""
    for path in boxes(own).glob("*/Annotations/*.xml"):
        path.write_text(change_xml(path.read_text()))
    cfg = composed("detection", load(own), "paper")
    with pytest.raises(UserError, match=r"\.xml' has a box that is empty or outside"):
        built(cfg.train_dataloader, "mmdet")[0]
    assert built(cfg.test_dataloader, "mmdet")[0]  # a test finds it before anything is loaded
    with pytest.raises(UserError, match="Boxes that are empty"):
        require_usable(load(own), "detection")


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_an_image_that_exif_turns_away_from_its_labels_is_named_as_it_is_loaded(own, task):
    """The toolboxes turn it; boxes and masks would lie elsewhere, without a word."""
    folders = {
        "detection": boxes(own) / "VOC2007/JPEGImages",
        "segmentation": masks(own) / "images",
    }
    dataset = built(composed(task, load(own)).train_dataloader, f"mm{task[:3]}")
    dataset.full_init()
    assert dataset[0]
    for path in folders[task].rglob("*.jpg"):
        picture = Image.open(path)
        exif = picture.getexif()
        exif[0x0112] = 6  # orientation: a quarter
        picture.resize((70, 60)).save(path, exif=exif)
    with pytest.raises(UserError, match=r"jpg' has 60 × 70 pixels when loaded, upright by"):
        dataset[0]
    (first, *_) = getattr(dataset.dataset, "datasets", [dataset.dataset])
    first.pipeline.transforms[-1].meta_keys = ("img_path",)  # as a config of one's own may pack
    with pytest.raises(UserError, match=r"jpg' has 60 × 70 pixels when loaded, upright by"):
        first[0]


@pytest.mark.parametrize(
    ("kind", "said"), [("RGB", "has the mode RGB"), ("I;16", "has the mode I;16")]
)
def test_a_mask_of_another_kind_in_what_is_trained_on_is_named_as_it_is_loaded(own, kind, said):
    """The toolbox takes 257 of a mask of 16 bits for 1."""
    for path in (masks(own) / "annotations/training").iterdir():
        mask = Image.open(path)
        (mask.convert("RGB") if kind == "RGB" else Image.fromarray(np.uint16(mask))).save(path)
    dataset = built(composed("segmentation", load(own)).train_dataloader, "mmseg")
    with pytest.raises(UserError, match=said):
        dataset[0]


def cut(content):
    return content[: len(content) * 2 // 3]


def spoil(content):
    """Where the compressed pixels begin; both ends are whole."""
    start = content.index(b"IDAT") + 4
    return content[:start] + bytes(8) + content[start + 8 :]


def recolour(content):
    coloured = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").save(coloured, "PNG")
    return coloured.getvalue()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("damage", "said"),
    [(cut, "does not decode"), (spoil, "does not decode"), (recolour, "has the mode RGB")],
)
def test_a_damaged_mask_in_what_is_trained_on_is_named_as_it_is_loaded(own, damage, said, workers):
    """Pillow does not say which, and a worker cannot hand over every kind of error."""
    for path in (masks(own) / "annotations/training").iterdir():
        path.write_bytes(damage(path.read_bytes()))
    dataset = built(composed("segmentation", load(own)).train_dataloader, "mmseg")
    loader = DataLoader(dataset, num_workers=workers, collate_fn=pseudo_collate)
    with pytest.raises(UserError, match=rf"^'\S+annotations/training/\w+\.png' {said}"):
        next(iter(loader))


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "JPG", "png"])
@pytest.mark.parametrize("damage", [cut, lambda _: b""])
def test_a_damaged_image_in_what_is_trained_on_is_named_as_it_is_loaded(coco, damage, ending):
    """Whatever it is called; some versions of OpenCV fill what is missing of a JPEG with grey."""
    path = coco.parent / f"images/train.{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (80, 100, 3), np.uint8)
    Image.fromarray(noise).save(path)
    change(coco.parent / "all.json", "a.jpg", path.name)
    dataset = built(composed("detection", load(coco)).train_dataloader, "mmdet")
    assert dataset[0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"/train\.{ending}' (does not decode|is empty)"):
        dataset[0]


def test_spaces_at_the_ends_of_a_lists_lines_are_no_part_of_the_names(own):
    path = boxes(own) / "VOC2007/ImageSets/Main/test.txt"
    names = path.read_text().split()
    path.write_text("".join(f"{name} \n" for name in names))
    require_usable(load(own), "detection")
    dataset = built(composed("detection", load(own)).test_dataloader, "mmdet")
    assert [dataset.get_data_info(i)["img_id"] for i in range(len(dataset))] == names
    assert dataset[0]


@pytest.mark.parametrize("folder", ["", "."])
def test_a_voc_folder_without_years_may_have_no_name(own, folder):
    """It is the root itself, to the check and to the run."""
    classes = re.search(r"\[detection\].*?(classes = \[.*?\])", own.read_text(), re.DOTALL)[1]
    own.write_text(
        f'name = "own"\nroot = "own/VOCdevkit/VOC2007"\n[detection]\n{classes}\n'
        f'train = [{{ folder = "{folder}", split = "trainval" }}]\n'
        f'test = [{{ folder = "{folder}", split = "test" }}]\n'
    )
    require_usable(load(own), "detection")
    cfg = composed("detection", load(own))
    for part in ("train", "test"):
        assert built(cfg[f"{part}_dataloader"], "mmdet")[0]


def test_fewer_images_than_a_batch_are_refused(own, tmp_path):
    """MMEngine would train for no iteration at all and report an untrained network."""
    from transfer.finetune.finetune import finetune

    for year in ("VOC2007", "VOC2012"):
        path = boxes(own) / year / "ImageSets/Main/trainval.txt"
        path.write_text(path.read_text().split()[0] + "\n")
    cfg = composed("detection", load(own))
    with pytest.raises(UserError, match="fewer than a batch of"):
        finetune(cfg, "cell", tmp_path / "work")


def test_images_in_folders_of_a_masks_folder_are_not_meant(own):
    """The check, the fingerprint and the count pass over them."""
    dataset = built(composed("segmentation", load(own)).train_dataloader, "mmseg")
    for kind in ("images", "annotations"):
        folder = masks(own) / kind / "training"
        shutil.copytree(folder, folder / "more")
    again = built(composed("segmentation", load(own)).train_dataloader, "mmseg")
    assert len(again) == len(dataset)


# Images of other kinds


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_images_are_loaded_as_colour(own, mode):
    """And are the same picture to a few grey levels, whatever decodes them."""
    name = (boxes(own) / "VOC2007/ImageSets/Main/test.txt").read_text().split()[0]
    path = boxes(own) / f"VOC2007/JPEGImages/{name}.jpg"
    picture = Image.open(path).convert(mode)
    picture.save(path, quality=98)
    require_usable(load(own), "detection")
    loaded = built(composed("detection", load(own)).test_dataloader, "mmdet")[0]["inputs"]
    assert loaded.shape[0] == 3
    size = (loaded.shape[2], loaded.shape[1])
    expected = np.asarray(picture.convert("RGB").resize(size), float)[..., ::-1]  # BGR
    assert np.abs(loaded.permute(1, 2, 0).numpy() - expected).mean() < 8


def test_an_image_smaller_than_the_crop_is_padded_with_what_is_not_judged(own):
    from mmengine.registry import MODELS

    for kind, end in (("images", "jpg"), ("annotations", "png")):
        for path in (masks(own) / kind / "training").glob(f"*.{end}"):
            with Image.open(path) as picture:
                picture.resize((40, 12), Image.Resampling.NEAREST).save(path)
    cfg = composed("segmentation", load(own))
    dataset = built(cfg.train_dataloader, "mmseg")
    batch = pseudo_collate([dataset[0], dataset[1]])
    assert min(batch["inputs"][0].shape[1:]) < 128
    with DefaultScope.overwrite_default_scope("mmseg"):
        preprocessor = MODELS.build(cfg.model.data_preprocessor)
    ready = preprocessor(batch, training=True)
    assert ready["inputs"].shape == (2, 3, 128, 128)
    labels = ready["data_samples"][0].gt_sem_seg.data
    assert labels.shape == (1, 128, 128)
    height, width = batch["inputs"][0].shape[1:]
    assert (labels[0, height:] == 255).all()
    assert (labels[0, :, width:] == 255).all()


@pytest.mark.parametrize(
    ("ignore_index", "zero_is_ignored", "stored", "expected"),
    [
        (255, False, [0, 1, 2, 255], [0, 1, 2, 255]),
        (255, True, [0, 1, 2, 255], [255, 0, 1, 255]),
        (200, False, [0, 1, 2, 200], [0, 1, 2, 255]),
        (200, True, [0, 1, 3, 200], [255, 0, 2, 255]),
        (0, False, [0, 1, 2, 1], [255, 1, 2, 1]),
    ],
)
def test_whatever_is_ignored_is_255_to_the_toolbox(
    tmp_path, ignore_index, zero_is_ignored, stored, expected
):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "images/a.jpg")
    Image.fromarray(np.array(stored, np.uint8).reshape(2, 2)).save(tmp_path / "masks/a.png")
    dataset = IndexMasks(
        data_root=str(tmp_path),
        ignore_index=ignore_index,
        reduce_zero_label=zero_is_ignored,
        metainfo={"classes": ("a", "b", "c")},
        data_prefix={"img_path": "images", "seg_map_path": "masks"},
        pipeline=[
            {"type": "LoadImageFromFile"},
            {"type": "mmseg.LoadAnnotations"},
            {"type": "mmseg.PackSegInputs"},
        ],
    )
    assert dataset[0]["data_samples"].gt_sem_seg.data.flatten().tolist() == expected


def test_a_sample_that_is_not_there_is_said_to_be_drawn(tmp_path):
    with pytest.raises(UserError, match=f"'transfer prepare sample --root {tmp_path}' draws it"):
        catalogue.load("sample", tmp_path)


# COCO's layout


@pytest.fixture
def coco(tmp_path):
    """Two images; categories in another order than the classes; a crowd, and a box of no area."""
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (100, 80), (90, 90, 90)).save(tmp_path / "images" / name)
    content = {
        "images": [
            {"id": 10 + number, "file_name": name, "width": 100, "height": 80}
            for number, name in enumerate(("a.jpg", "b.jpg"))
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}],
        "annotations": [
            annotation(1, 10, 7, [10.5, 10, 30, 20]),
            annotation(2, 10, 3, [50, 40, 20, 30]),
            annotation(3, 11, 3, [0, 0, 60, 60], crowd=1),
            annotation(4, 11, 7, [70, 60, 0.4, 10]),
        ],
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    file = tmp_path / "coco.toml"
    file.write_text(
        'name = "mine"\nroot = "."\n[detection]\nlayout = "coco"\nclasses = ["cat", "dog"]\n'
        'train = [{ folder = "images", split = "all.json" }]\n'
        'test = [{ folder = "images", split = "all.json" }]\n'
    )
    return file


def annotation(number, image, category, box, crowd=0):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": crowd,
    }


@pytest.mark.parametrize("protocol", ["quick", "openmmlab-coco"])
def test_coco_is_composed_and_its_labels_are_the_classes_order(coco, protocol):
    data = load(coco)
    require_usable(data, "detection")
    cfg = composed("detection", data, protocol)
    assert cfg.model.roi_head.bbox_head.num_classes == 2
    train, test = (built(cfg[f"{part}_dataloader"], "mmdet") for part in ("train", "test"))
    train.full_init()
    assert len(test) == 2
    assert len(train) <= 2
    truth = test[0]["data_samples"].gt_instances
    assert truth.labels.tolist() == [0, 1]
    assert truth.bboxes.tensor.tolist() == [[10.5, 10, 40.5, 30], [50, 40, 70, 70]]
    there = [len(test.get_data_info(index)["instances"]) for index in range(2)]
    assert there == [2, 2], "a test judges every box of the file"
    form = cfg.val_evaluator.form
    assert form == ("coco" if protocol == "openmmlab-coco" else "11points")


@pytest.mark.parametrize("folder", ["", "."])
def test_images_of_coco_may_lie_in_the_root(coco, folder):
    for path in (coco.parent / "images").iterdir():
        path.rename(coco.parent / path.name)
    coco.write_text(coco.read_text().replace('folder = "images"', f'folder = "{folder}"'))
    require_usable(load(coco), "detection")
    cfg = composed("detection", load(coco))
    for part in ("train", "test"):
        assert built(cfg[f"{part}_dataloader"], "mmdet")[0]


def test_coco_figures_are_pycocotools_on_the_file_itself(coco):
    """Through our reader and metric, and by pycocotools from the JSON."""
    from mmengine.structures import InstanceData
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset = built(composed("detection", load(coco)).test_dataloader, "mmdet")
    found = {
        10: ([[10, 10, 40, 30], [12, 10, 44, 33], [50, 44, 70, 70]], [0, 0, 1], [0.9, 0.8, 0.7]),
        11: ([[5, 5, 30, 30], [70, 60, 71, 70], [60, 10, 90, 50]], [1, 0, 1], [0.6, 0.5, 0.95]),
    }
    metric = BoxAP("coco")
    metric.dataset_meta = dataset.metainfo
    rows = []
    for index in range(2):
        sample = dataset[index]["data_samples"]
        frames, labels, scores = found[sample.img_id]
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor(frames, dtype=torch.float32),
            labels=torch.tensor(labels),
            scores=torch.tensor(scores),
        )
        metric.process({}, [sample.to_dict()])
        rows += [
            {
                "image_id": sample.img_id,
                "category_id": (7, 3)[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            for (x1, y1, x2, y2), label, score in zip(frames, labels, scores, strict=True)
        ]
    figures = metric.compute_metrics(metric.results)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(coco.parent / "all.json"))
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("mAP_coco", "mAP_coco50", "mAP_coco75")
    assert figures["mAP"] == figures["mAP_coco"] > 10
    for name, expected in zip(names, evaluation.stats[:3], strict=True):
        assert figures[name] == pytest.approx(100 * expected, abs=1e-6)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ('["cat"]', "has boxes of 'dog'"),
        ('["cat", "dog", "cow"]', "has no category 'cow'"),
    ],
)
def test_classes_of_coco_that_do_not_agree_are_named(coco, classes, said):
    change(coco, '["cat", "dog"]', classes)
    with pytest.raises(UserError, match=said):
        CocoBoxes(
            data_root=str(coco.parent),
            ann_file="all.json",
            data_prefix={"img": "images/"},
            metainfo={"classes": load(coco).detection.classes},
        )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda entry: entry.pop("area"), "annotation 1 has no 'area'"),
        (lambda entry: entry.pop("id"), "annotation number 1 has no 'id'"),
        (lambda entry: entry.update(id=1), "annotation 1 has the id of another annotation"),
        (lambda entry: entry.update(area="9"), 'annotation 1 has "9" as its area'),
        (lambda entry: entry.update(bbox=["1", 1, 9, 9]), 'annotation 1 has "1" in its bbox'),
        (lambda entry: entry.update(iscrowd=None), "annotation 1 has the iscrowd null"),
        (lambda entry: entry.update(area=0), "has no box that is trained on"),
        (lambda entry: entry.update(bbox=[1, 1, 0.5, 9]), "has no box that is trained on"),
        (lambda entry: entry.update(iscrowd=1), "has no box that is trained on"),
    ],
)
def test_what_the_toolbox_needs_of_cocos_annotations_is_found_before(coco, damage, said):
    file = coco.parent / "all.json"
    content = json.loads(file.read_text())
    for entry in content["annotations"]:
        damage(entry)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=re.escape(said)):
        require_usable(load(coco), "detection")


def test_two_categories_of_one_name_and_a_missing_one_are_found_before(coco):
    file = coco.parent / "all.json"
    text = file.read_text()
    for broken, said in (
        (text.replace('"name": "dog"', '"name": "cat"'), "category 7 has the name of another"),
        (
            text.replace('"name": "dog"', '"name": "Dogs"'),
            r"has no category 'dog' \(did you mean 'Dogs'",
        ),
    ):
        file.write_text(broken, encoding="utf-8")
        with pytest.raises(UserError, match=said):
            require_usable.__wrapped__(load(coco), "detection")


def test_a_test_of_crowds_alone_has_no_figure(coco):
    content = json.loads((coco.parent / "all.json").read_text())
    for name, image in (("train", 10), ("test", 11)):
        part = {
            **content,
            "images": [one for one in content["images"] if one["id"] == image],
            "annotations": [one for one in content["annotations"] if one["image_id"] == image],
        }
        (coco.parent / f"{name}.json").write_text(json.dumps(part))
        change(coco, f'{name} = [{{ folder = "images", split = "all.json" }}]',
               f'{name} = [{{ folder = "images", split = "{name}.json" }}]')  # fmt: skip
    require_usable.__wrapped__(load(coco), "detection")
    for entry in part["annotations"]:
        entry["iscrowd"] = 1
    (coco.parent / "test.json").write_text(json.dumps(part))
    with pytest.raises(UserError, match="no figure"):
        require_usable.__wrapped__(load(coco), "detection")


@pytest.mark.parametrize(
    ("ignored", "zero_is_ignored", "named"),
    [(0, False, "a"), (2, False, "c"), (1, True, "a"), (3, True, "c"),
     (3, False, ""), (0, True, ""), (4, True, ""), (255, False, "")],
)  # fmt: skip
def test_an_index_that_is_ignored_is_no_class(ignored, zero_is_ignored, named, tmp_path):
    (tmp_path / "own.toml").write_text(
        'name = "own"\nroot = "."\n[segmentation]\nclasses = ["a", "b", "c"]\n'
        f"ignore_index = {ignored}\nzero_is_ignored = {str(zero_is_ignored).lower()}\n"
        '[segmentation.train]\nimages = "i"\nmasks = "m"\n'
        '[segmentation.test]\nimages = "i"\nmasks = "m"\n'
    )
    if not named:
        catalogue.load(str(tmp_path / "own.toml"), tmp_path)
        return
    with pytest.raises(UserError, match=f"which is the value of class '{named}' in the masks"):
        catalogue.load(str(tmp_path / "own.toml"), tmp_path)


def test_a_machine_with_a_gpu_runs_coco_under_its_own_protocol(coco, monkeypatch):
    from backbones.common import hardware
    from transfer.plan import request

    monkeypatch.setattr(hardware, "cuda_devices", lambda: ["a GPU"])
    asked = request.Request(
        backbone="resnet18_scratch",
        tasks=("detection",),
        against="none",
        data=str(coco),
        data_root=coco.parent,
        protocol="auto",
        weights="auto",
        precision="auto",
        seed=0,
        classifier_seed=0,
    )
    (cell,) = request.make_plan(asked).cells
    assert cell.protocol == "openmmlab-coco"
    masks = request.make_cell(asked, zoo.find("resnet18_scratch"), "segmentation", "lists")
    assert masks.protocol == "openmmlab"
    assert Config.fromfile(protocols.config_file("detection", cell.protocol)).val_evaluator == {
        "type": "BoxAP",
        "form": "coco",
    }


def drawn_pair(images, masks, name, endings, classes, seed):
    """An image and a mask with all kinds of values, written as a data set has them."""
    values = np.random.default_rng(seed)
    for folder, ending in zip((images, masks), endings, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        is_mask = folder is masks
        drawn = values.choice([*range(classes), 255], (48, 64)) if is_mask else None
        pixels = drawn if is_mask else values.integers(0, 256, (48, 64, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}{ending}")


@pytest.fixture
def cityscapes(tmp_path):
    """Three images of two cities, with the other files that Cityscapes has beside its masks."""
    root = tmp_path / "cityscapes"
    names = {"train": ["bochum/bochum_0_1", "aachen/aachen_0_2"], "val": ["ulm/ulm_0_1"]}
    for split, listed in names.items():
        for seed, name in enumerate(listed):
            masks = root / "gtFine" / split
            endings = ("_leftImg8bit.png", "_gtFine_labelTrainIds.png")
            drawn_pair(root / "leftImg8bit" / split, masks, name, endings, 19, seed)
            for other in ("color", "labelIds", "instanceIds"):
                shutil.copy(
                    masks / f"{name}_gtFine_labelTrainIds.png", masks / f"{name}_gtFine_{other}.png"
                )
            (masks / f"{name}_gtFine_polygons.json").write_text("{}")
    return root


@pytest.fixture
def pascal_context(tmp_path):
    """Three images of Pascal Context, and one of VOC2010 that it leaves out."""
    root = tmp_path / "VOCdevkit" / "VOC2010"
    lists = root / "ImageSets" / "SegmentationContext"
    lists.mkdir(parents=True)
    for split, listed in {"train": ["2008_1", "2008_2"], "val": ["2009_1"]}.items():
        (lists / f"{split}.txt").write_text("\n".join(listed))
        for seed, name in enumerate(listed):
            folders = root / "JPEGImages", root / "SegmentationClassContext"
            drawn_pair(*folders, name, (".jpg", ".png"), 60, seed)
    shutil.copy(root / "JPEGImages" / "2008_1.jpg", root / "JPEGImages" / "2010_1.jpg")
    return root


@pytest.mark.parametrize(
    ("name", "theirs", "folders"),
    [
        ("cityscapes", CityscapesDataset, ("leftImg8bit/{}", "gtFine/{}")),
        ("pascal-context", PascalContextDataset59, ("JPEGImages", "SegmentationClassContext")),
    ],
)
@pytest.mark.parametrize("split", ["train", "val"])
def test_public_segmentation_sets_are_read_as_by_the_toolbox(
    name, theirs, folders, split, request, tmp_path
):
    root = request.getfixturevalue(name.replace("-", "_"))
    data = catalogue.load(name, tmp_path)
    assert data.segmentation.classes == theirs.METAINFO["classes"]
    cfg = composed("segmentation", data)
    loader = cfg.train_dataloader if split == "train" else cfg.test_dataloader
    steps = ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs")
    pipeline = [{"type": step} for step in steps]
    ours = loader.dataset
    while "data_prefix" not in ours:
        ours = ours.dataset
    images, masks = (folder.format(split) for folder in folders)
    listed = {"ann_file": f"ImageSets/SegmentationContext/{split}.txt"}
    with DefaultScope.overwrite_default_scope("mmseg"):
        found = DATASETS.build({**ours, "pipeline": pipeline})
        reference = theirs(
            data_root=str(root),
            data_prefix={"img_path": images, "seg_map_path": masks},
            pipeline=pipeline,
            **listed if name == "pascal-context" else {},
        )
    samples, expected = (
        {sample.img_path: sample for sample in (item["data_samples"] for item in loaded)}
        for loaded in (found, reference)
    )
    assert len(samples) == len(found) == len(reference) == (2 if split == "train" else 1)
    assert samples.keys() == expected.keys()
    for image, sample in samples.items():
        assert sample.seg_map_path == expected[image].seg_map_path
        assert torch.equal(sample.gt_sem_seg.data, expected[image].gt_sem_seg.data)


def test_cityscapes_with_a_city_missing_has_another_fingerprint(cityscapes, tmp_path):
    data = catalogue.load("cityscapes", tmp_path)
    whole = data.fingerprint("segmentation")
    (cityscapes / "leftImg8bit/train/bochum/bochum_0_1_leftImg8bit.png").unlink()
    assert data.fingerprint("segmentation") != whole
    listing = list_all(data)
    assert {finding.kind for finding in listing.findings} == {"count"}


def test_a_file_beside_the_cities_is_no_reason_to_read_half_of_them(cityscapes, tmp_path):
    (cityscapes / "leftImg8bit" / "train" / "note.txt").write_text("mine")
    findings = list_all(catalogue.load("cityscapes", tmp_path)).findings
    assert [f.detail for f in findings if f.kind == "list"] == [
        "holds no image (.jpg, .jpeg, .png, .bmp, .tif, .tiff, .webp)"
    ]


def test_cityscapes_without_the_masks_of_classes_says_which_files_are_there(cityscapes, tmp_path):
    for mask in cityscapes.rglob("*labelTrainIds.png"):
        mask.unlink()
    findings = list_all(catalogue.load("cityscapes", tmp_path)).findings
    near = [finding.detail for finding in findings if finding.kind == "near"]
    assert any("the file of its mask is" in detail for detail in near)
    assert all("it does not end in '_gtFine_labelTrainIds.png'" in detail for detail in near)


def test_a_mask_without_the_stated_suffix_is_named_with_it(own):
    old = 'masks = "annotations/training"'
    change(own, old, f'{old}\nmask_suffix = "_mask.png"')
    findings = list_all(load(own)).findings
    assert any("it does not end in '_mask.png'" in finding.detail for finding in findings)
