"""All that is wrong with a COCO file is named at once, by annotation, with the likely cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import drawn_data as draw
from transfer.datasets import coco_json
from transfer.datasets.coco_json import read_coco
from transfer.datasets.coco_likely import likely_cause
from transfer.datasets.readers import BadFile

Content = dict[str, Any]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return draw.draw_coco(tmp_path) / "train.json"


def faults(file: Path, change: Any) -> tuple[str, ...]:
    draw.change_coco(file, change)
    return read_coco(file).faults


def test_a_sound_file_has_no_fault(coco: Path) -> None:
    found = read_coco(coco)
    assert (found.faults, found.orphans, likely_cause(found)) == ((), (), "")
    assert [len(image.boxes) for image in found.images] == [2, 2, 2]
    assert found.classes == {"bolt", "nut"}


def test_a_byte_order_mark_is_passed_over(coco: Path) -> None:
    coco.write_bytes(b"\xef\xbb\xbf" + coco.read_bytes())
    assert read_coco(coco).faults == ()


def test_all_faults_are_named_by_annotation(coco: Path) -> None:
    def spoil(content: Content) -> None:
        one, two, three, four, five, six = content["annotations"]
        one["bbox"] = []
        two["category_id"] = 9
        three["bbox"] = [5, 5, -3, 8]
        four["id"] = five["id"]
        del six["bbox"]
        six["segmentation"] = [[1, 1, 5, 1, 5, 5]]

    findings = faults(coco, spoil)
    for said in (
        "annotation 1 has a bbox of 0 numbers",
        "annotation 2 names the category 9, which the file lacks",
        "annotation 3 has a bbox of negative size",
        "annotation 5 has the id of another annotation",
        "annotation 6 has no 'bbox'; compute it from the 'segmentation'",
    ):
        assert [one for one in findings if one.startswith(said)], said
    assert len(findings) == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["images"][2].update(id=1), "image 1 'c.jpg' has the id of the image 'a.jpg'"),
        (
            lambda c: c["categories"][1].update(id=1),
            "category 1 'nut' has the id of the category 'bolt'",
        ),
        (lambda c: c["categories"][1].update(name="bolt"), "category 2 has the name of another"),
        (lambda c: c["images"][0].pop("width"), "image 1 has no 'width'"),
        (lambda c: c["images"].append([]), "image number 4 is not a JSON object"),
        (lambda c: c["annotations"].append(7), "annotation number 7 is not a JSON object"),
        (lambda c: c["annotations"][0].update(id=[]), "annotation number 1 has the id []"),
        (lambda c: c["annotations"][0].update(category_id={}), "names the category {}"),
        (lambda c: c["annotations"][0].update(bbox="1 2 3 4"), 'has the bbox "1 2 3 4"'),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, None, 4]), "has null in its bbox"),
        (lambda c: c["annotations"][0].update(image_id="1"), 'names the image "1", which the file'),
    ],
)
def test_each_fault_is_a_sentence(coco: Path, change: Any, said: str) -> None:
    findings = faults(coco, change)
    assert any(said in one for one in findings), findings


def test_texts_as_ids_are_right_where_all_are(coco: Path) -> None:
    def spoil(content: Content) -> None:
        for image in content["images"]:
            image["id"] = str(image["id"])
        for one in content["annotations"]:
            one["image_id"] = str(one["image_id"])

    assert faults(coco, spoil) == ()
    assert [len(image.boxes) for image in read_coco(coco).images] == [2, 2, 2]


def test_annotations_of_other_images_are_noted(coco: Path) -> None:
    data = draw.load(coco.parent, draw.coco_toml())
    draw.change_coco(coco, lambda content: content["images"].pop())
    assert draw.found(data) == [
        ("orphan", "train.json", f"annotation {number} names the image 3") for number in (5, 6)
    ]


@pytest.mark.parametrize(
    ("listed", "named", "said"),
    [
        ((0, 1), (1, 2), "categories that start at 0"),
        ((1, 2), (0, 1), "categories that start at 1"),
    ],
)
def test_categories_that_are_one_off_are_reported_as_the_cause(
    coco: Path, listed: tuple[int, int], named: tuple[int, int], said: str
) -> None:
    def spoil(content: Content) -> None:
        for category, number in zip(content["categories"], listed, strict=True):
            category["id"] = number
        for one in content["annotations"]:
            one["category_id"] = named[one["category_id"] - 1]

    findings = faults(coco, spoil)
    assert said in findings[0]
    assert len(findings) == 1 + 3


def test_a_category_without_boxes_before_the_others_is_no_cause(coco: Path) -> None:
    """As an exporter writes that puts all classes under one."""
    above = {"id": 0, "name": "parts"}
    assert faults(coco, lambda content: content["categories"].insert(0, above)) == ()


def boxes(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Boxes all over an image, x1 y1 x2 y2."""
    return [
        (x, y, x + 12, y + 9) for x in range(0, width - 12, 11) for y in range(0, height - 9, 8)
    ]


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda x1, y1, x2, y2: [x1, y1, x2 - x1, y2 - y1], ""),
        (lambda x1, y1, x2, y2: [x1, y1, x2, y2], "x1 y1 x2 y2"),
        (
            lambda x1, y1, x2, y2: [x1 / 60, y1 / 40, (x2 - x1) / 60, (y2 - y1) / 40],
            "fractions of their image",
        ),
        (
            lambda x1, y1, x2, y2: [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1],
            "the centre, width and height",
        ),
    ],
)
def test_the_likely_cause_of_boxes_that_do_not_fit(coco: Path, write: Any, said: str) -> None:
    def spoil(content: Content) -> None:
        content["annotations"] = [
            {
                "id": number, "image_id": 1 + number % 3, "category_id": 1 + number % 2,
                "bbox": write(*box), "area": 108,
            }
            for number, box in enumerate(boxes(*draw.SIZE))
        ]  # fmt: skip

    draw.change_coco(coco, spoil)
    cause = likely_cause(read_coco(coco))
    assert (said in cause) if said else cause == ""
    findings = draw.found(draw.load(coco.parent, draw.coco_toml()))
    assert [one for one in findings if one[0] == "coco"] == (
        [("coco", "train.json", cause)] if said else []
    )


def test_one_image_in_two_entries_is_listed_twice(coco: Path) -> None:
    draw.change_coco(coco, lambda content: content["images"][2].update(file_name="a.jpg"))
    findings = draw.found(draw.load(coco.parent, draw.coco_toml()))
    assert ("twice", "train.json", "lists 'a.jpg' 2 times") in findings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "the list 'images' is missing"),
        ('{"images": []}', "the list 'annotations' is missing"),
        ("{", "not JSON"),
        ('{"images": [{"id": ' + "9" * 5000 + "}]}", "an integer of more than 64 bits"),
    ],
)
def test_what_is_no_such_file_at_all(coco: Path, text: str, said: str) -> None:
    coco.write_text(text)
    with pytest.raises(BadFile, match=said):
        read_coco(coco)


def test_training_and_check_read_the_same_file(coco: Path) -> None:
    """Orphans are passed over by both; a byte order mark stops neither."""
    from transfer.datasets.toolbox_datasets import CocoBoxes

    draw.change_coco(coco, lambda content: content["images"].pop())
    coco.write_bytes(b"\xef\xbb\xbf" + coco.read_bytes())
    dataset = CocoBoxes(
        data_root=str(coco.parent),
        ann_file="train.json",
        data_prefix={"img": "images/"},
        metainfo={"classes": ("bolt", "nut")},
    )
    read = [
        (Path(info["img_path"]).name, len(info["instances"]))
        for info in map(dataset.get_data_info, range(len(dataset)))
    ]
    assert read == [("a.jpg", 2), ("b.jpg", 2)]


def test_values_are_counted_before_they_are_read(coco: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(coco_json, "_MAX_VALUES", 90)
    coco_json.load_json(coco)
    coco.write_text('{"images": [], "categories": [], "annotations": [' + "[]," * 90 + "[]]}")
    monkeypatch.setattr(coco_json.json, "loads", None)
    with pytest.raises(BadFile, match="over 90 values"):
        coco_json.load_json(coco)


def test_a_file_of_faults_alone_is_one_fault(coco: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(coco_json, "_MOST_FAULTS", 50)
    coco.write_text('{"images": [], "categories": [], "annotations": [' + "1," * 60 + "1]}")
    with pytest.raises(BadFile, match=r"over 50 entries .* the first: annotation number 1"):
        read_coco(coco)
