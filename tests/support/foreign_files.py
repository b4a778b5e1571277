"""Every reader of a stranger's file, with small valid files to start from.

``test_foreign_files.py`` changes these files a little in each test run; ``fuzz_readers.py`` does so
for hours, guided by coverage. Whatever the bytes are, a reader gives a value or a ``UserError``.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from backbones.common.errors import UserError
from backbones.runtime import checkpoint
from backbones.training import suite
from backbones.weights import mxnet_params, weights
from backbones.weights.safetensors_header import METADATA_KEY, read_own_metadata
from backbones.zoo import user_file
from tests.support.params_files import SEEDS as PARAMS
from tests.support.voc_xml import XML
from transfer.compat import safe_loading
from transfer.compat.foreign_configs import fault_of_record
from transfer.datasets import catalogue, coco_json, name_lists, readers, unpack
from transfer.plan import probes, suites
from transfer.plan.durations import Durations
from transfer.records import failures, finished_run, lease, look_log, outcomes, records
from transfer.report import classification, gains, speed_tables

IDENTITY = "0123456789ab"


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes:
        name: As ``fuzz_readers.py --reader`` takes it.
        read: Reads a file; raises nothing but a ``UserError``.
        seeds: Contents of valid files.
        words: Pieces of such files that are worth putting anywhere.
        file: The name that the file must have.
        megabytes: Most memory that reading a small file may take, beyond what the process has.
        wrap: Makes a whole file of changed bytes, where most changes would only spoil a checksum.
    """

    name: str
    read: Callable[[Path], Any]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    file: str = "file"
    megabytes: int = 64
    wrap: Callable[[bytes], bytes] = bytes


def read_content(reader: Reader, content: bytes, folder: Path) -> Any:
    """What a reader makes of some bytes."""
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(reader.wrap(content))
    return reader.read(path)


# --- Images ---------------------------------------------------------------------------------------


def picture(mode: str, form: str) -> bytes:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 9, (6, 5), np.uint8))
    file = io.BytesIO()
    noise.convert(mode).save(file, form)
    return file.getvalue()


def progressive(form: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 9), "red").save(file, form, progressive=True)
    return file.getvalue()


def packed_tiff(packed: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 9), "red").save(file, "TIFF", compression=packed)
    return file.getvalue()


def mend_png(content: bytes) -> bytes:
    """A PNG's chunks with the checksums that their bytes ask for."""
    head, at, chunks = content[:8], 8, []
    while at + 8 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        body = content[at + 4 : at + 8 + min(length, len(content))]
        chunks.append(content[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return head + b"".join(chunks)


# --- JSON -----------------------------------------------------------------------------------------

COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 8, "height": 6}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2.5, 3, 4], "area": 12.0}
    ],
    "categories": [{"id": 2, "name": "apple"}],
}
RECORD = {
    "schema": 1,
    "cell": {
        "backbone": "resnet18_scratch",
        "task": "detection",
        "data": "voc0712",
        "data_fingerprint": "f",
        "protocol": "quick",
        "protocol_version": "v",
        "precision": "float32",
        "classifier": "none",
        "seed": 0,
        "id": IDENTITY,
        "overrides": [["train_cfg.max_epochs", 1]],
    },
    "headline": {"metric": "mAP", "value": 12.5},
    "metrics": {"mAP": 12.5},
    "curve": [{"iteration": 1, "loss": 2.0}],
    "classifier": {
        "architecture": "resnet18",
        "sha256": "",
        "tricks": [],
        "top1": None,
        "top1_on": "ImageNet",
        "parameters": 1,
        "multiply_adds_224": 1,
        "source": "",
        "near": "",
    },
    "config": {
        "json": json.dumps({"model": {"backbone": {}, "data_preprocessor": {}}}),
        "sha256": "a",
        "comparable_sha256": "b",
    },
    "training": {"images": {"train": 8, "test": 9}},
    "versions": {"torch": "2"},
    "seconds": {"train": 1.0, "evaluate": 1.0, "start_up": 1.0},
    "hardware": {"cpu": "one"},
}
CLASSIFIER = {
    "row": "resnet18d_mixup",
    "architecture": "resnet18d",
    "recipe": {"epochs": 200, "batch_size": 1024, "base_lr": 0.1, "mixup": 0.2},
    "seed": 0,
    "epochs": 2,
    "batch_size": 16,
    "image_size": 32,
    "min_area": 0.5,
    "lr": 0.1,
    "precision": "OptimWrapper",
    "authors_code": False,
    "mean": [123.68, 116.779, 103.939],
    "std": [58.393, 57.12, 57.375],
    "classes": ["apple", "pear"],
    "data": {"name": "own", "fingerprint": "f", "images": {"train": 48, "val": 24}},
    "metrics": {"top1": 50.0, "top5": 90.0},
    "seconds": 4.0,
}
FAILURE = {"cell": "a", "reason": "b", "detail": "", "attempts": 1, "when": "2026-01-01"}
PROBE = {
    "cell": {**RECORD["cell"], "architecture": "resnet18", "scratch": True},
    "seconds": RECORD["seconds"],
    "hardware": RECORD["hardware"],
}
LOOKS = {
    "baseline": "b",
    "plan": [3, 5],
    "margin": 0.5,
    "looks": [{"units": {"a": 3, "b": 3}, "verdicts": {"a": "inconclusive"}}],
}
OWNER = {"host": "a", "machine": "b", "pid": 1, "started": "2", "free": False}


BENCH_RUN = {
    "seconds": {"train": 1.0, "evaluate": 1.0},
    "peak_mb": 100.0,
    "breakdown": dict.fromkeys(speed_tables.PARTS, 1.0),
}
BENCH = {
    "against": "stock",
    "work": dict.fromkeys(speed_tables.KEYS, "a"),
    "ours": [BENCH_RUN],
    "other": [BENCH_RUN],
    "hardware": {"cpu": "one", "cores": 2, "gpus": ["a"]},
    "finished": "2026-01-01T00:00:00+00:00",
    "asked": 1,
    "git": {"commit": "abc"},
    "arithmetic": {
        "operations": 1e9,
        "ceiling": {"float32": 1e9},
        "computed_in": {"ours": "float32", "other": "float32"},
    },
}
EQUIVALENCE = {
    "work": {"task": "detection", "data": "a", "precision": "float32"},
    "against": "stock",
    "difference": {"mean": 0.1, "low": 0.0, "high": 0.2, "values": [0.1], "verdict": "yes"},
}
FOREIGN_CONFIG = {
    "default_scope": "mmdet",
    "model": {
        "type": "FasterRCNN",
        "backbone": {"type": "TimmPyramid", "architecture": "resnet18", "frozen_stages": -1},
        "rpn_head": {"type": "RPNHead", "loss_cls": {"type": "CrossEntropyLoss"}},
        "test_cfg": {"rcnn": {"nms": {"type": "nms", "iou_threshold": 0.5}}},
    },
}


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


def read_record(path: Path) -> Any:
    """A record, and the table that it stands in."""
    record = records.read(path)
    return gains.gain_tables([record], "")


def read_classifiers(path: Path) -> Any:
    good, bad = classification.read_all(path.parents[2])
    assert len(good) + len(bad) == 1
    return good


def read_failure(path: Path) -> Any:
    return failures.read(path.parent.with_name("records") / path.name)


def read_bench(path: Path) -> Any:
    found, bad = speed_tables.collect(path.parents[2])
    assert len(found) + len(bad) == 1
    return speed_tables.text(found, "") + speed_tables.breakdowns(found)


def read_equivalence(path: Path) -> Any:
    return speed_tables.differences(path.parents[2])


def read_foreign_config(path: Path) -> Any:
    """A record's config, through all that a picture of its predictions reads before it builds."""
    try:
        return fault_of_record(records.parse_json(path.read_text("utf-8", "surrogateescape")))
    except ValueError as error:
        raise UserError(str(error)) from error


def read_probe(path: Path) -> Any:
    """A probe, and the estimates that it gives."""
    probe, durations = probes.read(path), Durations()
    durations.here = {"cpu": "one", "cores": None, "system": None, "gpu": ""}
    durations.add_probes([probe] if probe else [])
    return [
        durations._estimate(setting, network)
        for setting, networks in durations.known.items()
        for network in networks
    ]


def read_lease(path: Path) -> Any:
    return lease.Leases(path.parent).holder("cell")


# --- TOML -----------------------------------------------------------------------------------------

SUITE = b"""kind = "transfer"
tasks = ["detection", "segmentation"]
data = { detection = "voc0712", segmentation = "own.toml" }
protocol = "quick"
precision = "float32"
seeds = [0, 1]
baseline = "resnet18_baseline"
rows = ["resnet18_scratch", { backbone = "resnet18d_mixup", classifiers = "a*.safetensors" }]
[overrides.detection]
"train_cfg.max_epochs" = 6
[vary]
"optim_wrapper.optimizer.lr" = [0.01, [0.02]]
"""
CLASSIFIER_SUITE = b"""kind = "classification"
rows = ["resnet18_baseline", "resnet18d_mixup"]
seeds = [0, 1]
"""
DATA = b"""name = "own"
title = "Own"
root = "."
[detection]
root = "."
layout = "voc"
classes = ["apple", "pear"]
headline_classes = ["pear"]
train = [{ folder = "a", split = "train", images = 3 }]
test = [{ folder = "a", split = "test" }]
[segmentation]
root = "."
classes = ["apple", "pear"]
ignore_index = 255
zero_is_ignored = true
[segmentation.train]
images = "images"
masks = "masks"
[segmentation.test]
images = "images"
masks = "masks"
list = "list.txt"
count = 5
"""
BACKBONE = b"""name = "mine"
architecture = "resnet18"
weights = "mine.safetensors"
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.2, 0.2]
top1 = 79.1
control = "resnet50_baseline"
"""
RENAMING = b"""architecture = "resnet18"
weights = "mine.pth"
[rename]
"features.0." = "conv1."
features.1.bias = "bn1.bias"
"""
TOML = (b"= []", b"= {}", b"= 1", b"= 1.5", b"= true", b'= ""', b"= 1979-05-27", b"= nan", b"[[")
TOML += (b"= 07:32:00", b'= "\\u0000"', b"= [[1], {}]", b'= "~x"', b"= 1" + b"0" * 30, b"= -1")


def read_data_set(path: Path) -> Any:
    data = catalogue.load(str(path), path.parent)
    for task in ("detection", "segmentation"):
        with contextlib.suppress(UserError):  # the lists that it names are not there
            data.fingerprint(task)
    return data


def read_suite(path: Path) -> Any:
    loaded = suites.load(str(path))
    return json.dumps([loaded.settings, loaded.data, [row.seeds for row in loaded.rows]])


def read_backbone(path: Path) -> Any:
    row = user_file.read_variant(path, {"resnet18"})
    top1 = row.weights.top1 if row.weights else None
    return f"{top1 or 0:.2f}"


# --- Weights and states ---------------------------------------------------------------------------


def state(**changes: Any) -> dict[str, Any]:
    fields = {
        "identity": IDENTITY,
        "iteration": 3,
        "model": {"weight": torch.ones(2, 3)},
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{}]},
        "schedulers": [{"last_step": 1}],
        "hooks": {"curve": {"points": [{"iteration": 1.0}]}},
    }
    return {**fields, **changes}


def saved(content: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def around_pickle(content: bytes) -> bytes:
    """An archive of torch's with these bytes as its pickle."""
    whole, file = zipfile.ZipFile(io.BytesIO(saved(state()))), io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in whole.namelist():
            is_pickle = name.endswith("/data.pkl")
            archive.writestr(name, content if is_pickle else whole.read(name))
    return file.getvalue()


def pickle_of(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return file.read(next(n for n in file.namelist() if n.endswith("/data.pkl")))


def read_state(path: Path) -> Any:
    return checkpoint.load_state(path.parent, IDENTITY)


def read_weights(path: Path) -> Any:
    return weights.read(path, "resnet18")


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


OUTCOMES = npz(
    images=np.array(["a", "b"]),
    intersection=np.ones((2, 3), np.uint8),
    predicted=np.ones((2, 3), np.uint8),
    labelled=np.ones((2, 3), np.uint8),
)


def read_outcomes(path: Path) -> Any:
    return outcomes.read(path, "segmentation")


# --- Archives -------------------------------------------------------------------------------------


def tar_of(members: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def read_archive(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        into = Path(folder, "into")
        unpack.unpack(path, into=into, most=1 << 16)
        assert sum(f.stat().st_size for f in into.rglob("*")) <= 1 << 20
        assert list(Path(folder).iterdir()) == [into]


PICKLE = (b"cos\nsystem\n", b"cbuiltins\ngetattr\n", b"R.", b"\x81", b"b", b"\x93", b"Q", b"\x85")
XML_WORDS = (b"<object>", b"</object>", b"<!DOCTYPE a>", b"&#0;", b"<![CDATA[", b"&amp;", b"1e999")
JSON_WORDS = (b"null", b"[]", b"{}", b"NaN", b"1e999", b'""', b"-1", b"true", b"9" * 30, b"\\ud800")
SCALARS = b'{"loss": 1.0, "lr": 0.1, "iter": 1, "step": 1}\n{"pascal_voc/mAP": 0.5, "step": 8}\n'
LOG_WORDS = (b"Epoch(val) [1]", b"Epoch [1]", b"Config:", b": ", b"- INFO - ", b"\x1b[0m", b"dict(")
FINISHED = Path(__file__).with_name("finished_runs")
MMCV_JSON = b"""{"env_info": "a", "seed": 1, "config": "total_epochs = 2\\ndata = dict(a=1)"}
{"mode": "train", "epoch": 1, "iter": 50, "lr": 0.01, "loss": 1.5}
{"mode": "val", "epoch": 2, "iter": 9, "lr": 0.01, "mAP": 0.8}
"""
MMCV_LOG = b"""2021-06-01 09:00:00,000 - mmdet - INFO - workflow: [('train', 1)], max: 2 epochs
2021-06-01 09:00:00,000 - mmdet - INFO - Set random seed to 7, deterministic: False
2021-06-01 09:00:00,000 - mmdet - INFO - Epoch [2][50/100]\tlr: 1.0e-02, eta: 0:10:00, loss: 1.5
2021-06-01 09:00:00,000 - mmdet - INFO - Epoch(val) [2][40]\tmAP: 0.8000, AP50: 0.8000
"""
CONSOLE = b"""11/22 19:30:34 - mmengine - \x1b[4m\x1b[97mINFO\x1b[0m - Config:
train_cfg = dict(max_epochs=1, type='EpochBasedTrainLoop')
model = dict(a=[1, -2.5, ('b', None)], c={'d': range(3)})

11/22 19:30:34 - mmengine - INFO - Epoch(train) [1][10/10]  lr: 1e-2  eta: 0:00:00  loss: 2.0
11/22 19:30:34 - mmengine - INFO - Epoch(val) [1][5/5]    pascal_voc/mAP: 0.5000  time: 0.1
"""
LOGS = tuple(path.read_bytes()[-4000:] for path in FINISHED.glob("*/*/*.log"))

READERS = {
    reader.name: reader
    for reader in (
        Reader("voc-xml", readers.read_voc_xml, (XML.encode(),), XML_WORDS, "a.xml"),
        Reader(
            "image",
            readers.check_image,
            (
                *(picture("RGB", form) for form in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")),
                progressive("JPEG"),
                *(packed_tiff(packed) for packed in ("tiff_lzw", "tiff_adobe_deflate", "packbits")),
            ),
            (b"\xff\xda", b"\xff\xc2", b"\xff\xdd", b"II*\0", b"MM\0*", b"8BPS", b"%!PS", b"VP8X"),
            megabytes=700,
        ),
        Reader("names", name_lists.read_names, (b"a\nb c\r\n", "\ufeffä\n".encode()), file="a.txt"),
        Reader(
            "mask",
            readers.read_mask,
            (picture("L", "PNG"), picture("P", "PNG")),
            (b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"iTXt", b"zTXt", b"iCCP", b"eXIf", b"acTL"),
            megabytes=700,
            wrap=mend_png,
        ),
        Reader("coco", coco_json.read_coco, (as_json(COCO),), JSON_WORDS),
        Reader(
            "foreign-config", read_foreign_config, (as_json(FOREIGN_CONFIG),), JSON_WORDS, "a.json"
        ),
        Reader("bench", read_bench, (as_json(BENCH),), JSON_WORDS, "r/records/bench/a.json"),
        Reader(
            "equivalence",
            read_equivalence,
            (as_json(EQUIVALENCE),),
            JSON_WORDS,
            "r/records/equivalence/a.json",
        ),
        Reader("record", read_record, (as_json(RECORD),), JSON_WORDS, "r_0.json"),
        Reader(
            "classifier-record",
            read_classifiers,
            (as_json(CLASSIFIER),),
            JSON_WORDS,
            "results/records/classifiers/a.json",
        ),
        Reader("failure", read_failure, (as_json(FAILURE),), JSON_WORDS, "failures/a.json"),
        Reader("looks", lambda path: look_log.read(path, "b"), (as_json(LOOKS),), JSON_WORDS),
        Reader("lease", read_lease, (as_json(OWNER),), JSON_WORDS, "cell.001.lease"),
        Reader(
            "probe",
            read_probe,
            (
                as_json({**PROBE, "memory": {"host": 9, "gpu": 7}}),
                as_json({**PROBE, "hardware": {"cpu": "one", "gpus": []}}),
            ),
            JSON_WORDS,
        ),
        Reader("suite", read_suite, (SUITE,), TOML, "own.toml"),
        Reader(
            "classifier-suite",
            lambda path: suite.load(str(path)),
            (CLASSIFIER_SUITE,),
            TOML,
            "own.toml",
        ),
        Reader("data-set", read_data_set, (DATA,), TOML, "own.toml"),
        Reader("backbone", read_backbone, (BACKBONE, RENAMING), TOML, "mine.toml"),
        Reader("params", mxnet_params.read_params, tuple(PARAMS), file="a.params"),
        Reader(
            "safetensors",
            read_weights,
            (save({"conv1.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)}),),
            (*JSON_WORDS, b'"dtype":"F4"', b'"dtype":"BF16"', b'"data_offsets":[0,8]'),
            "a.safetensors",
        ),
        Reader(
            "safetensors-header",
            read_own_metadata,
            (save({"a": torch.ones(2)}, {METADATA_KEY: json.dumps(CLASSIFIER)}),),
            JSON_WORDS,
            "a.safetensors",
        ),
        Reader(
            "torch",
            read_weights,
            (saved({"fc.bias": torch.ones(2)}), saved({"fc.bias": torch.ones(2)}, zipped=False)),
            PICKLE,
            "a.pth",
            megabytes=512,
        ),
        Reader(
            "mmengine-checkpoint",
            safe_loading.read,
            (saved({"state_dict": {"a": torch.ones(2)}, "meta": {"epoch": 1}}),),
            PICKLE,
            "a.pth",
            megabytes=512,
        ),
        Reader(
            "state",
            read_state,
            (saved(state()),),
            PICKLE,
            "state.pt",
            megabytes=512,
        ),
        Reader(
            "state-pickle",
            read_state,
            (pickle_of(saved(state())),),
            PICKLE,
            "state.pt",
            megabytes=512,
            wrap=around_pickle,
        ),
        Reader("outcomes", read_outcomes, (OUTCOMES,), (b"|O", b"<U9", b"True"), "a.npz"),
        Reader("archive", read_archive, (zip_of({"a/b.txt": b"1", "a/c.txt": b"2" * 99}),)),
        Reader("tar", read_archive, (tar_of({"a/b.txt": b"1"}), tar_of({"a/b": b"2"}, "w:gz"))),
        Reader(
            "scalars", finished_run.read_run, (SCALARS,), JSON_WORDS, "run/vis_data/scalars.json"
        ),
        Reader("mmcv-json", finished_run.read_run, (MMCV_JSON,), JSON_WORDS, "a.log.json"),
        Reader("log", finished_run.read_run, (*LOGS, MMCV_LOG, CONSOLE), LOG_WORDS, "a.log"),
    )
}
