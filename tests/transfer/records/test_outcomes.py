"""What test images are called in per-image results."""

import pytest

from transfer.records.outcomes import image_names


@pytest.mark.parametrize(
    ("files", "ids", "names"),
    [
        (["/d/a.jpg", "/d/b.jpg"], ["a", "b"], ["a", "b"]),
        (["/d/n/0.jpg", "/d/s/0.jpg"], ["0", "0"], ["n/0", "s/0"]),
        (["/d/n/0.jpg", "/d/s/0.jpg", "/d/1.jpg"], ["0", "0", "1"], ["n/0", "s/0", "1"]),
        (
            ["/d/VOC2007/JPEGImages/1.jpg", "/d/VOC2012/JPEGImages/1.jpg"],
            ["1", "1"],
            ["VOC2007/JPEGImages/1", "VOC2012/JPEGImages/1"],
        ),
        (["/d/0.jpg", "/d/0.png"], ["0", "0"], ["0.jpg", "0.png"]),
        (["/d/a.b.jpg", "/d/a.c.jpg", "/d/x/a.b.jpg"], ["a.b", "a.c", "a.b"],
         ["a.b", "a.c", "x/a.b"]),
    ],
)  # fmt: skip
def test_images_of_one_name_are_distinguished_by_their_folders(files, ids, names):
    assert image_names(files, ids) == names
