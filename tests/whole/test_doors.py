"""Strangers' files come in by one door a kind: no module opens, decodes or unpickles by itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    path
    for folder in ("backbones", "transfer")
    for path in (ROOT / folder).rglob("*.py")
    if ".ipynb_checkpoints" not in path.parts
)

# What opens a file for reading, as it stands in the code, and who may: the doors themselves, and
# readers of what this project or the kernel wrote.
DOORS = {
    "Image.open": {"backbones/common/image_file.py"},
    "os.open": {
        "backbones/common/regular_file.py",
        "backbones/common/screen.py",  # /dev/null, to write
        "transfer/datasets/prepare.py",  # a folder, to lock
        "transfer/datasets/sample/writer.py",  # likewise
        "transfer/records/merge.py",  # likewise
    },
    "open": set(),
    ".open": {
        "backbones/common/atomic_write.py",  # its own parts
        "backbones/openmmlab/network_limits.py",  # the package's own, to write
        "backbones/runtime/checkpoint.py",  # to write
        "backbones/training/training.py",  # its own lock
        "backbones/weights/download.py",  # its own parts
        "backbones/weights/mxnet_params.py",  # a member of an archive that is open
        "backbones/zoo/cost.py",  # the package's own
        "backbones/zoo/limits.py",  # likewise
        "backbones/zoo/paper_figures.py",  # likewise
        "backbones/zoo/sizes.py",  # likewise
        "transfer/datasets/unpack.py",  # to write, and members of an archive that is open
        "transfer/metrics/metrics.py",  # to write
        "transfer/records/array_file.py",  # a member of an archive that is open
        "transfer/records/merge.py",  # to write
        "transfer/cli/report.py",  # a browser
        "transfer/scheduling/process.py",  # a worker's log, to write
        "transfer/scheduling/worker.py",  # likewise
    },
    ".read_text": {
        "backbones/common/hardware.py",  # /proc
        "backbones/runtime/memory.py",  # /proc
        "transfer/protocols/protocols.py",  # the package's own
        "transfer/records/lease.py",  # /proc
        "transfer/report/page.py",  # the package's own
    },
    ".read_bytes": {
        "transfer/datasets/sample/writer.py",  # what it has drawn
        "transfer/finetune/cell_run.py",  # what the cell has just written
        "transfer/scheduling/cluster.py",  # a training's own checkpoints
    },
    "json.load": set(),
    "np.load": set(),
    "numpy.load": set(),
    "pickle.load": set(),
    "pickle.loads": set(),
    "torch.load": {
        "backbones/common/torch_file.py",
        "backbones/runtime/checkpoint.py",  # what it has just written
        "transfer/compat/safe_loading.py",  # the door of MMEngine
    },
    "safe_open": {"backbones/weights/reading.py"},
    "zipfile.ZipFile": {
        "backbones/common/torch_file.py",
        "backbones/weights/mxnet_params.py",
        "transfer/datasets/unpack.py",
        "transfer/records/array_file.py",
    },
    "tarfile.open": {"transfer/datasets/unpack.py"},
    "cv2.imread": set(),
    "cv2.imdecode": {"transfer/datasets/as_loaded.py"},  # bytes that the door has judged
    "mmcv.imread": set(),
    "mmcv.imfrombytes": set(),
}


def calls(path):
    """Every call in a module that is one of the above, as ``(what, line)``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            method = f".{name.rpartition('.')[2]}" if "." in name or "(" in name else name
            found = name if name in DOORS else method
            if found in DOORS:
                yield found, node.lineno


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_opens_strangers_files_by_itself(path):
    name = str(path.relative_to(ROOT))
    own = [f"line {line}: {what}" for what, line in calls(path) if name not in DOORS[what]]
    assert not own, f"use backbones.common.regular_file, .json_file or .image_file: {own}"


def test_every_exception_is_still_needed():
    found = {(what, str(path.relative_to(ROOT))) for path in MODULES for what, _ in calls(path)}
    listed = {(what, name) for what, names in DOORS.items() for name in names}
    assert listed <= found, listed - found


def test_the_one_decoder_names_its_formats():
    (call,) = (
        node
        for node in ast.walk(ast.parse((ROOT / "backbones/common/image_file.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open"
    )
    assert {word.arg: ast.unparse(word.value) for word in call.keywords} == {"formats": "FORMATS"}
