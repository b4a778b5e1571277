"""A pickle that would create a file when it is read does not, through any door."""

import hashlib
import io
import pickle
import shutil
import subprocess
import sys
import zipfile
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModel, initialize
from mmengine.runner import checkpoint as toolbox
from safetensors.torch import load_file
from torch import nn

from backbones import train
from backbones.common.errors import UserError
from backbones.runtime import checkpoint
from backbones.runtime.runner import quiet_runner
from backbones.weights import weights
from tests.support import chaos_suite
from tests.support.suites import quick_suite, tasks_of
from transfer import (
    openmmlab,  # noqa: F401  (closes the toolbox's ways to load)
    run,
)
from transfer.finetune import final_weights
from transfer.records import outcomes

BACKBONE = ["--backbone", "resnet18_baseline", "--against", "none", "--data", "sample"]


class Plant:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def zipped(content, path):
    torch.save(content, path)


def legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def plain(content, path):
    path.write_bytes(pickle.dumps(content))


FORMS = [zipped, legacy, plain]


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """Where the file would appear; the test ends by seeing that it did not."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "the pickle was executed"


def poison(path, marker, form=zipped):
    path.parent.mkdir(parents=True, exist_ok=True)
    form({"state_dict": {"conv1.weight": Plant(marker)}}, path)
    return path


def refused(path):
    return pytest.raises(UserError, match=f"{path.name}' was refused: it is a pickle")


def test_the_pickles_of_these_tests_do_harm_where_they_are_trusted(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    for form in FORMS:
        marker = tmp_path / form.__name__
        path = poison(tmp_path / "evil.pth", marker, form)
        if form is plain:
            pickle.loads(path.read_bytes())
        else:
            torch.load(path, weights_only=False)
        assert marker.exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "pkl", "params"])
def test_as_weights(form, suffix, marker):
    path = poison(Path(f"evil.{suffix}"), marker, form)
    with refused(path):
        weights.read(path, "resnet18")


def test_as_safetensors_and_inside_of_a_zip(marker):
    path = poison(Path("evil.safetensors"), marker)
    with pytest.raises(UserError, match=r"evil.safetensors' is not a complete safetensors file"):
        weights.read(path, "resnet18")
    with zipfile.ZipFile("evil.zip", "w") as archive:
        archive.write(path, "weights.pth")
    with pytest.raises(UserError, match=r"evil.zip' could not be read as weights"):
        weights.read(Path("evil.zip"), "resnet18")


def test_a_packed_checkpoint_is_refused_before_it_unpacks(marker):
    with zipfile.ZipFile("bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1 << 20))
    with pytest.raises(UserError, match=r"'a/data.pkl' in it is compressed"):
        weights.read(Path("bomb.pth"), "resnet18")


def test_through_the_option_weights(marker, small_sample, capsys):
    path = poison(Path("evil.pth"), marker)
    command = [*BACKBONE, "--task", "segmentation", "--weights", str(path)]
    assert run.main(command) == 2
    assert (
        "error: resnet18_baseline: 'evil.pth' was refused: it is a pickle"
        in capsys.readouterr().err
    )
    assert not list(Path("results").rglob("*.json"))


def test_through_the_option_teacher(marker, small_sample, capsys):
    path = poison(Path("evil.pth"), marker)
    data = ["--data", str(small_sample / "ImageFolder"), "--batch-size", "16"]
    command = ["--recipe", "resnet18d_distill", *data, "--teacher", str(path)]
    assert train.main(command) == 2
    assert "error: 'evil.pth' was refused: it is a pickle" in capsys.readouterr().err


def test_through_the_projects_own_cache(marker, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path / "cache"))
    poison(tmp_path / "cache/weights/resnet18.a1_in1k.safetensors", marker)
    with pytest.raises(UserError, match="not a complete safetensors file"):
        weights.read(weights.locate("timm:resnet18.a1_in1k"), "resnet18")
    address = "https://host.invalid/net.pth"
    folder = hashlib.sha256(address.encode()).hexdigest()[:12]
    path = poison(tmp_path / "cache/weights" / folder / "net.pth", marker)
    with refused(path):
        weights.read(weights.locate(address), "resnet18")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_through_the_hubs_cache(name, marker, tmp_path, monkeypatch):
    """Hugging Face's cache: links in a snapshot to files that are named by their hash."""
    import timm
    from huggingface_hub import constants

    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    config = timm.get_pretrained_cfg("resnet18.a1_in1k")
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda _: config)
    monkeypatch.setattr(config, "hf_hub_filename", name)
    place = tmp_path / "hub" / f"models--{config.hf_hub_id.replace('/', '--')}"
    blob, snapshot = poison(place / "blobs" / "0123", marker), place / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / name).symlink_to(blob)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0" * 40)
    found = weights.locate("timm:resnet18.a1_in1k")
    assert found.samefile(blob), "the hub's cache was looked at"
    with pytest.raises(UserError, match=f"{name}' (was refused|is not a complete)"):
        weights.read(found, "resnet18")


def test_through_the_state_of_a_classifiers_training(marker, small_sample, capfd):
    data = ["--data", str(small_sample / "ImageFolder"), "--output", "out"]
    small = ["--epochs", "1", "--batch-size", "16", "--image-size", "32", "--precision", "float32"]
    command = ["--recipe", "resnet18_baseline", *data, *small]
    assert train.main(command) == 0
    (output,) = Path("out").iterdir()
    first = load_file(output)
    output.unlink()
    place = Path("work_dirs/classifiers") / output.stem
    states = [poison(place / "state" / name, marker) for name in ("state.pt", "state-previous.pt")]
    assert train.main(command) == 0
    again = load_file(output)
    assert again.keys() == first.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    log = (place / "log.txt").read_text()
    assert all(f"{path}' was refused: it is a pickle" in log for path in states)


def test_through_a_poisoned_work_folder(marker, tmp_path, cache):
    """A cell's states, and what MMEngine would resume from, all of it poison."""
    from transfer.finetune.cell_run import run_cell

    (task,) = tasks_of(quick_suite(tmp_path, cache, tasks=["segmentation"]), tmp_path)
    names = ("state/state.pt", "state/state-previous.pt", "state/state.pt.new", "epoch_1.pth")
    for name in (*names, "latest.pth", "best.pth", "weights.safetensors", "outcomes.npz"):
        poison(task.place / name, marker)
    (task.place / "last_checkpoint").write_text(str(task.place / "epoch_1.pth"))
    record = run_cell(task)
    log = (task.place / "log.txt").read_text()
    assert "state.pt' was refused: it is a pickle" in log
    assert "epoch_1.pth" not in log
    calm = tmp_path / "calm"
    shutil.copytree(task.results, calm / "results")
    assert chaos_suite.records_of(calm).keys() == {record.name}


def test_through_what_a_finished_cell_leaves(marker, tmp_path):
    poison(tmp_path / final_weights.NAME, marker)
    with pytest.raises(UserError, match="does not hold the weights of this run"):
        final_weights.restore(nn.Linear(1, 1), tmp_path)
    file = io.BytesIO()
    np.savez(file, images=np.array([Plant(marker)], dtype=object))
    (tmp_path / "cell.npz").write_bytes(file.getvalue())
    with pytest.raises(UserError, match=r"cell.npz' is not a complete NumPy archive"):
        outcomes.read(tmp_path / "cell.npz", "segmentation")


class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, *_, **__):
        return {}


@pytest.mark.parametrize("form", FORMS)
def test_through_mmengine(form, marker, tmp_path):
    """Where MMEngine itself would read once more without ``weights_only``, and only log it."""
    path = poison(tmp_path / "work" / "epoch_1.pth", marker, form)
    (tmp_path / "work" / "last_checkpoint").write_text(str(path))
    for options in ({"load_from": str(path)}, {"resume": True}):
        runner = quiet_runner(model=Net(), work_dir=str(tmp_path / "work"), seed=0, **options)
        with refused(path):
            runner.load_or_resume()
    with refused(path):
        runner.resume(str(path))
    with refused(path):
        initialize(Net(), {"type": "Pretrained", "checkpoint": str(path)})
    with refused(path):
        toolbox.load_checkpoint(Net(), str(path))


def test_through_the_cache_of_torch_hub(marker, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    path = poison(tmp_path / "hub" / "checkpoints" / "net.pth", marker)
    with refused(path):
        toolbox.load_checkpoint(Net(), "https://host.invalid/net.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.hub.load_state_dict_from_url("https://host.invalid/net.pth")


def test_no_variable_switches_it_off(marker, tmp_path, monkeypatch):
    from transfer.compat import safe_loading

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    path = poison(tmp_path / "evil.pth", marker)
    with refused(path):
        weights.read(path, "resnet18")
    safe_loading.install()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=False)


def test_mmengines_own_checkpoints_are_still_read_and_getattr_reaches_nothing_else(marker):
    hub = MessageHub.get_instance("poison")
    hub.update_scalar("train/loss", 3.0)
    torch.save({"message_hub": hub.state_dict(), "state_dict": {}}, "own.pth")
    read = toolbox.load_checkpoint(Net(), "own.pth")
    assert read["message_hub"]["log_scalars"]["train/loss"].mean() == 3.0

    class Reach:
        def __init__(self, owner, name):
            self.name = (owner, name)

        def __reduce__(self):
            return getattr, self.name

    for owner, name in ((HistoryBuffer, "__init__"), (np.ndarray, "tofile")):
        torch.save({"state_dict": {}, "reach": Reach(owner, name)}, "reach.pth")
        with pytest.raises(UserError, match=r"reach.pth' was refused"):
            toolbox.load_checkpoint(Net(), "reach.pth")


def test_a_state_with_code_does_not_hide_the_one_before_it(marker, tmp_path):
    checkpoint.save_checkpoint(tmp_path, {"identity": "a", "iteration": 1})
    checkpoint.save_checkpoint(tmp_path, {"identity": "a", "iteration": 2})
    poison(tmp_path / checkpoint.LATEST, marker)
    assert checkpoint.load_state(tmp_path, "a") == {"identity": "a", "iteration": 1}


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--resume", "load_from"])
def test_through_the_toolboxs_own_script(option, marker, tmp_path):
    """``mim train`` runs this script."""
    root = Path(__file__).resolve().parents[3]
    script = Path(util.find_spec("mmseg").origin).parent / ".mim/tools/train.py"
    path = poison(tmp_path / "work" / "epoch_1.pth", marker)
    (tmp_path / "work" / "last_checkpoint").write_text(str(path))
    more = ["--resume"] if option == "--resume" else []
    settings = ["model.backbone.weights=None"]
    settings += [] if more else [f"load_from={path}"]
    config = root / "configs/segmentation/fcn_r50d-tricks-d8_quick_sample.py"
    command = [sys.executable, script, config, "--work-dir", tmp_path / "work", *more]
    done = subprocess.run(
        [*command, "--cfg-options", *settings], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "epoch_1.pth' was refused: it is a pickle" in done.stderr
