"""MMEngine reads no file that executes, and a version that would is refused before it reads one."""

import codecs
import importlib.metadata
import io
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
import yaml
from mmdet.datasets import BaseDetDataset
from mmengine import fileio
from mmengine.fileio import handlers
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint
from mmseg.models.losses import CrossEntropyLoss

from backbones.common.errors import UserError
from backbones.common.torch_file import MoreNames
from transfer import (
    openmmlab,  # noqa: F401  (closes what unpickles)
)
from transfer.compat import safe_loading
from transfer.datasets.toolbox_datasets import VocBoxes

MMENGINE = importlib.metadata.version("onedl-mmengine")


class Plant:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.fixture(params=["pickle", "pkl", "yaml", "yml"])
def evil(request, tmp_path):
    """A file that would leave a marker beside it; the test ends by seeing that it did not."""
    marker = tmp_path / "marker"
    path = tmp_path / f"evil.{request.param}"
    if request.param.startswith("y"):
        path.write_text(f"!!python/object/apply:builtins.open [{marker}, w]")
    else:
        path.write_bytes(pickle.dumps(Plant(marker)))
    yield path
    assert not marker.exists()
    if request.param.startswith("y"):  # it would indeed have run
        yaml.load(path.read_text(), Loader=yaml.UnsafeLoader)
    else:
        pickle.loads(path.read_bytes())
    assert marker.exists()


ANYTHING = MoreNames(
    frozenset({"builtins.getattr", "mmengine.logging.history_buffer.HistoryBuffer"}),
    (getattr, HistoryBuffer),
)
REFUSALS = (TypeError, yaml.YAMLError)  # an unknown format, a tag that is not plain data


def test_through_mmengines_reader(evil):
    with pytest.raises(REFUSALS):
        fileio.load(evil)
    with pytest.raises(REFUSALS), evil.open("rb") as file:
        fileio.load(file, file_format=evil.suffix[1:])


def test_through_registered_classes(evil, small_sample):
    boxes = {"data_root": str(small_sample / "VOCdevkit"), "metainfo": {"classes": ["bird"]}}
    boxes |= {"ann_file": "VOC2007/ImageSets/Main/test.txt", "proposal_file": str(evil)}
    data = VocBoxes(**boxes, data_prefix={"sub_data_root": "VOC2007/"}, lazy_init=True)
    with pytest.raises(REFUSALS):
        data.load_proposals()
    with pytest.raises(REFUSALS):
        BaseDetDataset(ann_file=str(evil))
    with pytest.raises(REFUSALS):
        CrossEntropyLoss(class_weight=str(evil))


def test_plain_yaml_is_still_read(tmp_path):
    (tmp_path / "plain.yml").write_text("a: [1, x]")
    assert fileio.load(tmp_path / "plain.yml") == {"a": [1, "x"]}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (checkpoint, "_safe_torch_load"),
        (checkpoint, "load_url"),
        (checkpoint, "get_torch_safe_globals"),
        (checkpoint, "load_from_local"),
        (handlers, "file_handlers"),
    ],
)
def test_a_renamed_private_name_is_a_sentence_with_the_version(module, name, monkeypatch):
    monkeypatch.setattr(module, f"new_{name}", getattr(module, name), raising=False)
    monkeypatch.delattr(module, name)
    with pytest.raises(UserError) as error:
        safe_loading.install()
    assert f".{name}" in str(error.value)
    assert f"onedl-mmengine {MMENGINE}" in str(error.value)


def test_a_reader_that_no_longer_reads_by_what_is_replaced_is_seen(monkeypatch):
    monkeypatch.setattr(checkpoint, "load_from_local", lambda name, **_: name)
    with pytest.raises(UserError, match="load_from_local does not call _safe_torch_load"):
        safe_loading.install()


@pytest.mark.parametrize(
    ("change", "read"),
    [
        (lambda m: m.setattr(checkpoint, "_safe_torch_load", trusting), "a checkpoint with code"),
        (lambda m: m.setattr(safe_loading, "LOG_BUFFERS", ANYTHING), "a checkpoint with code"),
        (lambda m: m.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD"), "a torch file with code"),
        (lambda m: m.setitem(handlers.file_handlers, "pkl", handlers.PickleHandler()), "a .pkl"),
        (lambda m: m.setitem(handlers.file_handlers, "yml", UnsafeYaml()), "a .yml"),
    ],
)
def test_what_would_run_is_tried_and_found(change, read, monkeypatch):
    change(monkeypatch)
    with pytest.raises(UserError, match=f"{read}.* was loaded") as error:
        safe_loading.require_refused()
    assert MMENGINE in str(error.value)


def trusting(file, map_location=None, weights_only=None):

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
        return torch.load(file, weights_only=False)


class UnsafeYaml(handlers.YamlHandler):
    def load_from_fileobj(self, file, **_):
        return yaml.load(file, Loader=yaml.UnsafeLoader)


def test_it_is_tried_before_anything_is_read(monkeypatch):
    tried = []
    monkeypatch.setattr(safe_loading, "require_refused", lambda: tried.append(1))
    safe_loading.install()
    assert tried


class Asks:
    """A call in a pickle."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "harm",
    [
        Asks(bytearray, 1 << 40),
        Asks(np.ndarray, (1 << 36,), "O"),
        Asks(np.zeros([0]).__reduce__()[0], np.ndarray, (1 << 36,), b"b"),
        Asks(np.float64(1).__reduce__()[0], np.dtype("V99999999"), b""),
        Asks(np.dtype, "f8," * 1000),
        Asks(codecs.encode, "ü" * 9, "puny-code"),
        Asks(getattr, HistoryBuffer, "__init__"),
    ],
    ids=lambda harm: harm.call[0].__name__,
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_checkpoint_makes_no_room_that_its_bytes_do_not_fill(harm, in_memory, tmp_path):
    file = io.BytesIO()
    torch.save({"state_dict": {}, "message_hub": harm}, file)
    (tmp_path / "a.pth").write_bytes(file.getvalue())
    tracemalloc.start()
    with pytest.raises(UserError):
        checkpoint._safe_torch_load(file if in_memory else str(tmp_path / "a.pth"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24


def test_log_buffers_are_read_as_they_were_written(tmp_path):
    buffer = HistoryBuffer(np.linspace(0, 1, 1000), np.arange(1000))
    fields = {"buffer": buffer, "number": np.float32(2.5), "whole": np.int64(-3), "is": np.bool_(1)}
    torch.save(fields, tmp_path / "a.pth")
    found = checkpoint._load_checkpoint(str(tmp_path / "a.pth"))
    assert found["buffer"].mean(7) == buffer.mean(7)
    for name in ("number", "whole", "is"):
        assert found[name] == fields[name]
        assert found[name].dtype == fields[name].dtype


def test_what_an_address_sends_is_fetched_within_bounds(tmp_path, monkeypatch):
    def fetched(url, place):
        place.parent.mkdir(parents=True)
        torch.save({"a": torch.ones(2)}, place)
        return place

    monkeypatch.setattr(safe_loading, "fetch", fetched)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    found = checkpoint._load_checkpoint("https://host.invalid/net.pth")
    assert torch.equal(found["a"], torch.ones(2))
