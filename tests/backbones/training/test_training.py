"""Training classifiers, on a few small images of the sample."""

import copy
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from backbones import train
from backbones.common import hardware
from backbones.common.errors import UserError
from backbones.common.hashing import sha256
from backbones.common.locks import try_lock
from backbones.training import suite, training
from backbones.training.classifier import Classifier
from backbones.training.image_folder import ImageFolder, class_names
from backbones.tricks.trick import switched_on
from backbones.weights import weights
from backbones.weights.safetensors_header import read_own_metadata
from tests.support import processes
from transfer.datasets.sample import STUFF

SMALL = ["--epochs", "2", "--batch-size", "16", "--image-size", "32", "--min-area", "0.5"]


@pytest.fixture
def folder(small_sample, tmp_path, monkeypatch):
    """A copy of the sample's images of objects that a test may damage, in a folder of its own."""
    objects = shutil.ignore_patterns(*STUFF)
    shutil.copytree(small_sample / "ImageFolder", tmp_path / "images", ignore=objects)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "images"


def command(folder, row="resnet18_baseline", *more):
    output = ["--output", str(folder.parent / "out"), "--precision", "float32"]
    return ["--recipe", row, "--data", str(folder), *SMALL, *output, *more]


def trained(folder):
    (path,) = (folder.parent / "out").glob("*.safetensors")
    return path, read_own_metadata(path)


@pytest.mark.parametrize("row", ["resnet18_baseline", "resnet18d_mixup"])
def test_a_classifier_carries_its_recipe_preprocessing_and_history(row, folder, capsys):
    assert train.main(command(folder, row)) == 0
    path, recorded = trained(folder)
    assert "top-1" in capsys.readouterr().out
    assert recorded["row"] == row
    assert recorded["recipe"]["mixup"] == (0.2 if "mixup" in row else 0.0)
    assert recorded["mean"] == pytest.approx([123.68, 116.779, 103.939])
    assert recorded["data"]["images"] == {"train": 48, "val": 24}
    assert 0 <= recorded["metrics"]["top1"] <= recorded["metrics"]["top5"] <= 100
    assert [point["iteration"] for point in recorded["history"]["training"]] == list(range(1, 7))
    checkpoint = weights.read(path, recorded["architecture"])
    report = weights.match(recorded["architecture"], checkpoint, str(path))
    assert not report.missing
    record = suite.record_path(Path("results"), path.stem)
    assert json.loads(record.read_text())["metrics"] == recorded["metrics"]


@pytest.mark.parametrize(
    ("row", "gamma"), [("resnet18_baseline", 1.0), ("resnet18d_efficient", 0.0)]
)
def test_training_begins_with_the_recipes_own_initialisation(row, gamma, folder):
    """Not with timm's, which MMEngine would call; the rate is too small to move any weight."""
    assert train.main(command(folder, row, "--base-lr", "1e-30")) == 0
    state = load_file(trained(folder)[0])
    last = [name for name in state if name.endswith(".bn2.weight")]
    assert len(last) == 8
    assert all(torch.allclose(state[name], torch.tensor(gamma)) for name in last)
    convolution = state["layer2.0.conv2.weight"]
    assert convolution.abs().max() <= math.sqrt(6 / ((128 + 128) * 9)), "Xavier's bound"


def test_the_authors_code_draws_its_first_weights_as_mxnets_msraprelu_does():
    network = Classifier("resnet18", 10, authors_code=True).network
    for name, fan_in, fan_out in (
        ("layer4.0.conv1", 256 * 9, 512 * 9),
        ("layer4.0.downsample.0", 256, 512),
    ):
        drawn = network.get_submodule(name).weight.detach()
        expected = math.sqrt(2 / 1.0625 / ((fan_in + fan_out) / 2))
        assert float(drawn.std()) == pytest.approx(expected, rel=0.02)
        assert float(drawn.abs().max()) > 3 * expected, "normal, not uniform"


def test_inception_alone_is_trained_with_dropout_before_its_last_layer():
    assert Classifier("inception_v3", 10).network.head_drop.p == 0.5
    assert Classifier("resnet18", 10).network.drop_rate == 0.0


def test_images_left_out_of_the_last_batch_are_not_counted_and_data_have_a_name(
    folder, monkeypatch
):
    monkeypatch.chdir(folder)
    assert (
        train.main(command(folder, "resnet18_baseline", "--batch-size", "32", "--data", ".")) == 0
    )
    _, record = trained(folder)
    assert record["data"]["name"] == "images"
    assert record["data"]["images"]["train"] == 48
    assert record["images_per_second"] * record["seconds"] == pytest.approx(2 * 32)


def test_what_is_trained_is_not_trained_again(folder):
    assert train.main(command(folder)) == 0
    path, _ = trained(folder)
    before = path.stat().st_mtime_ns
    assert train.main(command(folder)) == 0
    assert path.stat().st_mtime_ns == before


def test_other_images_in_either_split_make_another_classifier(folder):
    before = training.plan("resnet18_baseline", folder).identity
    for split in ("train", "val"):
        (image, *_) = sorted((folder / split).glob("*/*"))
        image.write_bytes(image.read_bytes() + b" ")
        after = training.plan("resnet18_baseline", folder).identity
        assert after != before, split
        before = after


def schedulers(planned):
    """Those of a training of 100 iterations an epoch."""
    return training._schedulers(planned, 100, switched_on(planned.row.recipe.settings()))


def test_schedules_keep_their_share_of_the_epochs(folder):
    planned = training.plan("resnet18d_cosine", folder, epochs=12, batch_size=16, image_size=32)
    warm, cosine = schedulers(planned)
    assert (warm["end"], cosine["begin"], cosine["end"]) == (50, 50, 1200)
    planned = training.plan("resnet18_baseline", folder, epochs=12, batch_size=16, image_size=32)
    (steps,) = schedulers(planned)
    assert steps["milestones"] == [300, 600, 900]


def test_a_training_that_was_killed_ends_as_one_that_was_not(folder, cache):
    """SIGKILL in the middle; float32 on the CPU, so that nothing may differ at all."""
    assert train.main(command(folder, "resnet18d_mixup")) == 0
    path, whole = trained(folder)
    weights_of_whole = load_file(path)
    shutil.rmtree(folder.parent / "out")
    shutil.rmtree("work_dirs")
    state = Path("work_dirs/classifiers")
    code = (
        "import backbones.runtime.checkpoint as c, time, sys\n"
        "from backbones import train\n"
        "from backbones.training import training\n"
        "real = training.train\n"
        "training.train = lambda *a, **k: real(*a, save_minutes=0, **k)\n"
        "step = c.ResumableState.before_train_iter\n"
        "def slow(self, runner, *a, **k):\n"
        "    step(self, runner, *a, **k)\n"
        "    time.sleep(60 if runner.iter == 3 else 0)\n"
        "c.ResumableState.before_train_iter = slow\n"
        f"sys.exit(train.main({command(folder, 'resnet18d_mixup')!r}))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path.cwd())
    deadline = time.monotonic() + 120
    while not _at_iteration(state, 3) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder.parent / "out").exists()
    assert train.main(command(folder, "resnet18d_mixup")) == 0
    path, resumed = trained(folder)
    assert all(torch.equal(t, weights_of_whole[k]) for k, t in load_file(path).items())
    assert resumed["metrics"] == whole["metrics"]
    assert resumed["history"] == whole["history"]


def test_sigterm_saves_the_state_and_only_one_process_trains_in_a_folder(
    folder, capsys, monkeypatch
):
    assert train.main(command(folder)) == 0
    path, whole = trained(folder)
    kept = load_file(path)
    path.unlink()
    place = Path("work_dirs/classifiers") / path.stem
    real, steps = training.train, []

    def warned(*arguments, listener, **options):
        def listen(phase, done, total):
            steps.append((phase, done))
            if (phase, done) == ("train", 3) and len(steps) == 4:
                os.kill(os.getpid(), signal.SIGTERM)

        return real(*arguments, listener=listen, **options)

    monkeypatch.setattr(training, "train", warned)
    assert train.main(command(folder)) == 130
    assert "run the same command again to resume" in capsys.readouterr().err
    assert not path.exists()
    with (place / "owner.lock").open("w") as file:
        assert try_lock(file)
        assert train.main(command(folder)) == 2
    assert f"Another process trains in '{place}'" in capsys.readouterr().err
    assert train.main(command(folder)) == 0
    assert ("train", 3) in steps[4:], "it resumed"
    assert ("train", 1) not in steps[4:], "not from the beginning"
    resumed = trained(folder)[1]
    assert all(torch.equal(tensor, kept[key]) for key, tensor in load_file(path).items())
    assert (resumed["metrics"], resumed["history"]) == (whole["metrics"], whole["history"])


def _at_iteration(state, iteration):
    for path in state.rglob("state.pt"):
        try:
            content = torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError):
            return False
        return content["iteration"] == iteration
    return False


def remove_a_class_of_val(folder):
    shutil.rmtree(folder / "val" / "mug")
    return "only one of them has mug"


def empty_a_class(folder):
    for path in (folder / "train" / "fish").iterdir():
        path.unlink()
    return "contains no image"


def break_an_image(folder):
    path = next((folder / "train" / "bird").iterdir())
    path.write_bytes(path.read_bytes()[:60])
    return path.name


def break_the_parts_of_an_image(folder):
    """The pixels' part says that it is shorter than it is; what follows is no part's name."""
    path = next((folder / "train" / "bird").iterdir()).with_suffix(".png")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    before, after = path.read_bytes().split(b"IDAT", 1)
    path.write_bytes(before[:-4] + (1000).to_bytes(4, "big") + b"IDAT" + after)
    return path.name


def put_an_image_of_16_bits(folder):
    path = next((folder / "train" / "bird").iterdir()).with_suffix(".png")
    Image.fromarray(np.full((40, 50), 999, np.uint16)).save(path)
    return "more than 8 bits a channel"


def put_a_coloured_image_of_16_bits(folder):
    """Its mode is RGB to Pillow, which keeps the upper 8 bits without a word."""
    path = next((folder / "train" / "bird").iterdir()).with_suffix(".png")
    cv2.imwrite(str(path), np.full((40, 50, 3), 999, np.uint16))
    return "more than 8 bits a channel"


def test_names_that_begin_with_a_dot_are_no_classes_and_no_images(folder):
    """As Jupyter and macOS leave them beside others."""
    before = {split: ImageFolder(str(folder), split, 32) for split in ("train", "val")}
    for split in ("train", "val"):
        shutil.copytree(folder / split / "bird", folder / split / ".ipynb_checkpoints")
        (folder / split / "bird" / "._3.jpg").write_bytes(b"\0\5\26\7")
        after = ImageFolder(str(folder), split, 32)
        assert after.classes == before[split].classes
        assert after.samples == before[split].samples
        assert after.fingerprint() == before[split].fingerprint()


def leave_one_class(folder):
    for path in folder.glob("*/*"):
        if path.name != "fish":
            shutil.rmtree(path)
    return "has the class 'fish' only"


def remove_train(folder):
    shutil.rmtree(folder / "train")
    return "has no folder 'train'"


@pytest.mark.parametrize(
    "damage",
    [
        remove_a_class_of_val,
        empty_a_class,
        break_an_image,
        break_the_parts_of_an_image,
        put_an_image_of_16_bits,
        put_a_coloured_image_of_16_bits,
        leave_one_class,
        remove_train,
    ],
)
def test_bad_folders_are_one_sentence(damage, folder, capsys):
    sentence = damage(folder)
    assert train.main(command(folder)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert sentence in error
    assert not list(folder.parent.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("row", "more", "sentence"),
    [
        ("resnet18_baselin", [], "did you mean resnet18_baseline"),
        ("resnet18", [], "has none of the paper's"),
        ("resnet18_baseline", ["--batch-size", "0"], "batch_size is 0"),
        ("resnet18_baseline", ["--min-area", "2"], "min_area is 2.0; it must be above 0"),
        ("resnet18_baseline", ["--min-area", "nan"], "min_area is nan"),
        ("resnet18_baseline", ["--workers", "-1"], "--workers is -1"),
        ("resnet18_baseline", ["--batch-size", "1000"], "larger than the training set of 48"),
        ("resnet18d_distill", [], "give its teacher's weights with --teacher"),
        ("resnet18d_distill", ["--teacher", "none.pth"], "none.pth"),
        (
            "resnet18d_distill",
            ["--teacher", "resnet152d_smoot=a.pth"],
            "did you mean resnet152d_sm",
        ),
        ("resnet18d_distill", ["--teacher", "timm:resnet18.no_tag"], "under 'resnet18.no_tag'"),
    ],
)
def test_bad_requests_are_one_sentence(row, more, sentence, folder, capsys):
    assert train.main(command(folder, row, *more)) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gpus", "cores", "workers"), [(0, 64, 0), (1, 64, 8), (8, 32, 4), (2, 1, 0)]
)
def test_images_are_read_beside_gpus_by_their_share_of_the_cores(gpus, cores, workers, monkeypatch):
    monkeypatch.setattr(hardware, "cuda_devices", lambda: gpus)
    monkeypatch.setattr(hardware, "cpu_cores", lambda: cores)
    assert hardware.loader_workers() == workers


def test_a_teacher_of_another_class_count_is_refused(folder, capsys):
    torch.save(timm.create_model("resnet152d", num_classes=11).state_dict(), "teacher.pth")
    assert train.main(command(folder, "resnet18d_distill", "--teacher", "teacher.pth")) == 2
    assert "knows 11 classes, not 6. A teacher needs" in capsys.readouterr().err


def test_a_teacher_without_a_head_is_refused(folder, capsys):
    state = timm.create_model("resnet152d", num_classes=6).state_dict()
    torch.save({k: v for k, v in state.items() if not k.startswith("fc.")}, "teacher.pth")
    assert train.main(command(folder, "resnet18d_distill", "--teacher", "teacher.pth")) == 2
    assert "without the classifier's head. A teacher needs a head" in capsys.readouterr().err


def test_distillation_trains_with_an_own_teacher(folder, monkeypatch):
    """A teacher trained by the project tells its own architecture; its file may be in the home."""
    assert train.main(command(folder, "resnet18d_smooth")) == 0
    path, _ = trained(folder)
    teacher = path.rename(folder.parent / "teacher.safetensors")
    monkeypatch.setenv("HOME", str(folder.parent))
    assert train.main(command(folder, "resnet18d_distill", "--teacher=~/teacher.safetensors")) == 0
    record = trained(folder)[1]
    assert record["row"] == "resnet18d_distill"
    assert record["teacher"] == {
        "file": teacher.name, "row": "resnet18d_smooth", "sha256": sha256(teacher)
    }  # fmt: skip


def test_a_teacher_of_other_classes_is_refused_though_they_are_as_many(folder, capsys):
    assert train.main(command(folder, "resnet18d_smooth")) == 0
    teacher = trained(folder)[0].rename(folder.parent / "teacher.safetensors")
    for split in ("train", "val"):
        first = min((folder / split).iterdir())
        first.rename(first.with_name("zebra"))
    assert train.main(command(folder, "resnet18d_distill", "--teacher", str(teacher))) == 2
    assert "was trained on other classes than" in capsys.readouterr().err


def test_what_a_teachers_file_holds_beside_its_network_is_left_out(folder):
    state = timm.create_model("resnet152d", num_classes=6).state_dict()
    torch.save({**state, "auxiliary.weight": torch.zeros(3)}, "teacher.pth")
    planned = training.plan("resnet18d_distill", folder, teacher="teacher.pth")
    taught = training._teacher(planned, class_names(folder)).state_dict()
    assert torch.equal(taught["fc.weight"], state["fc.weight"])


def test_each_row_of_a_suite_has_its_own_teacher(folder, capsys):
    """Table 6's: students with mixup learn from a teacher with mixup."""
    own = folder.parent / "own.toml"
    rows = '["resnet18d_distill", "resnet18d_mixup_distill"]'
    own.write_text(f'kind = "classification"\nrows = {rows}\n')
    arguments = ["--suite", str(own), *command(folder)[2:]]
    assert train.main([*arguments, "--teacher", "some.pth"]) == 2
    error = capsys.readouterr().err
    assert "the teachers resnet152d_mixup and resnet152d_smooth; name the" in error
    named = ["--teacher", "resnet152d_smooth=a=b.pth", "--teacher", "resnet152d_mixup=c.pth"]
    assert train.main([*arguments, *named]) == 2
    error = capsys.readouterr().err
    assert "resnet18d_distill, seed 0: There are no weights at that path: " in error
    assert "resnet18d_mixup_distill, seed 0: There are no weights at that path: " in error
    assert all(f"/{name}' does not exist" in error for name in ("a=b.pth", "c.pth"))


def test_a_rate_that_diverges_stops_and_says_where(folder, capsys):
    assert train.main(command(folder, "resnet18_baseline", "--base-lr", "1e30")) == 2
    error = capsys.readouterr().err
    assert "diverged" in error
    assert "at iteration" in error
    assert not list(folder.parent.rglob("*.safetensors"))


def test_a_suite_trains_what_it_can_and_names_what_it_cannot(folder, capsys):
    own = folder.parent / "own.toml"
    rows = '["resnet18_baseline", "resnet18d_distill"]'
    own.write_text(f'kind = "classification"\nseeds = [0, 1]\nrows = {rows}\n')
    arguments = command(folder)[2:]
    assert train.main(["--suite", str(own), *arguments]) == 1
    printed = capsys.readouterr()
    assert "2 of 4 trained and recorded" in printed.out
    assert "resnet18d_distill, seed 1: 'resnet18d_distill' is distilled" in printed.err
    assert len(list(Path("results/records/classifiers").glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('kind = "classification"\nrows = ["resnet50d_smoth"]', "did you mean resnet50d_smooth"),
        (
            'kind = "classification"\nrows = ["resnet18", "resnet18"]',
            "names the row resnet18 twice",
        ),
        ('kind = "classification"\nrows = []', "names no row"),
        ('kind = "classification"\nrows = ["resnet18"]\nseeds = [-1]', "from 0 to 4294967295"),
        ('kind = "transfer"\nrows = ["resnet18"]', "is not a suite of classifiers"),
        ('kind = "classification"\nrows = ["resnet18"]\nseed = [1]', "'seed': did you mean seeds"),
        ("kind = ", "is not valid TOML"),
    ],
)
def test_bad_suites_are_one_sentence(text, sentence, tmp_path):
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        suite.load(str(tmp_path / "own.toml"))


def test_a_seed_that_no_generator_takes_is_refused(folder, capsys):
    asked = ["--recipe", "resnet18_baseline", "--data", str(folder), "--seed", "4294967296"]
    assert train.main(asked) == 2
    assert "--seed must be a whole number from 0 to 4294967295" in capsys.readouterr().err


@pytest.mark.parametrize("share", ["nan", "0", "2", "-1"])
def test_a_crop_that_is_no_share_of_an_image_is_refused(share, folder, capsys):
    asked = ["--recipe", "resnet18_baseline", "--data", str(folder), "--min-area", share]
    assert train.main(asked) == 2
    assert "it must be above 0 and at most 1" in capsys.readouterr().err


def test_the_papers_ablations_are_suites():
    assert len(suite.load("table4").rows) == 10
    assert len(suite.load("table5").rows) == 4
    assert len(suite.load("table6").rows) == 18
    with pytest.raises(UserError, match="did you mean table"):
        suite.load("tabel6")


def test_cached_images_are_the_files_own(folder):
    plain = ImageFolder(str(folder), "val", 32)
    held = ImageFolder(str(folder), "val", 32, cache=True)
    assert copy.deepcopy(held) is held, "a runner copies what it is given"
    for (a, label, _), (b, other, _) in zip(plain, held, strict=False):
        assert np.array_equal(a, b)
        assert label == other


@pytest.mark.parametrize("mode", ["L", "CMYK", "P"])
def test_any_colour_mode_is_read(mode, folder):
    path = folder / "val" / "fish" / "odd.png"
    if mode == "CMYK":
        path = path.with_suffix(".jpg")
    Image.new("RGB", (50, 40), (200, 10, 10)).convert(mode).save(path)
    images = ImageFolder(str(folder), "val", 32)
    index = [p for p, _ in images.samples].index(path)
    assert images[index][0].shape == (32, 32, 3)


@pytest.mark.slow
def test_two_processes_train_one_classifier_and_measure_each_image_once(folder):
    for extra in sorted((folder / "val").glob("*/*"))[:1]:  # an odd number
        extra.unlink()
    options = [*SMALL, "--output", "out", "--precision", "float32", "--launcher", "pytorch"]
    arguments = ["--recipe", "resnet18_baseline", "--data", str(folder), *options]
    codes, printed = processes.ends(processes.start([train.__file__, *arguments]))
    assert codes == [0, 0], printed
    _, record = trained(folder)
    images = record["data"]["images"]["val"]
    assert images == 23
    assert (record["processes"], record["batch_size"]) == (2, 16)
    right = record["metrics"]["top1"] / 100 * images
    assert right == pytest.approx(round(right), abs=1e-4), "whole images, none counted twice"
    assert [point["iteration"] for point in record["history"]["training"]] == list(range(1, 7))
    assert sum("top-1" in text for text in printed) == 1, "one of them tells"


@pytest.mark.slow
def test_two_processes_of_which_one_is_asked_to_stop_both_save_and_go_on(folder):
    options = ["--epochs", "12", "--batch-size", "16", "--image-size", "32", "--min-area", "0.5"]
    options += ["--output", "out", "--precision", "float32", "--launcher", "pytorch"]
    command = [train.__file__, "--recipe", "resnet18_baseline", "--data", str(folder), *options]

    def finish():
        codes, printed = processes.ends(processes.start(command))
        assert codes == [0, 0], printed
        path, own = trained(folder)
        return load_file(path), own

    undisturbed, _ = finish()
    shutil.rmtree(folder.parent / "out")
    shutil.rmtree("work_dirs")
    both = processes.start(command)
    while not any("[1][" in log.read_text() for log in Path("work_dirs").rglob("log.txt")):
        assert all(process.poll() is None for process in both)
        time.sleep(0.05)
    both[1].send_signal(signal.SIGTERM)
    codes, printed = processes.ends(both)
    assert codes == [130, 130], printed
    assert not list((folder.parent / "out").glob("*.safetensors"))
    assert list(Path("work_dirs").rglob("state.pt"))
    log = next(Path("work_dirs").rglob("log.txt"))
    weights_of_resumed, own = finish()
    assert "resumed at iteration" in log.read_text()
    assert [point["iteration"] for point in own["history"]["training"]] == list(range(1, 37))
    assert all(torch.equal(weights_of_resumed[key], kept) for key, kept in undisturbed.items())
