"""Logs of MMCV's and MMEngine's toolboxes, written here in their forms, and imported."""

import json
import tracemalloc

import pytest

from backbones.common.errors import UserError
from transfer.cli import main as cli
from transfer.records import records, run_log
from transfer.records.finished_run import read_run

# --- Logs of a detector's training by epochs: mAP 0.50 + 0.02 an epoch, loss 2 / epoch -----------

NEWER_CONFIG = """default_scope = 'mmdet'
model = dict(
    type='FasterRCNN',
    backbone=dict(type='ResNet', depth=50, init_cfg=dict(checkpoint='torchvision://resnet50')))
train_dataloader = dict(batch_size=2, dataset=dict(type='VOCDataset'))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs={epochs}, val_interval=1)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
randomness = dict(seed={seed})
load_from = None
resume = {resume}
"""
OLDER_CONFIG = """model = dict(
    type='FasterRCNN',
    backbone=dict(type='ResNet', depth=50, init_cfg=dict(checkpoint='torchvision://resnet50')))
dataset_type = 'VOCDataset'
data = dict(samples_per_gpu=2, train=dict(
    type='RepeatDataset', times=3, dataset=dict(type='VOCDataset')))
optimizer = dict(type='SGD', lr=0.01)
runner = dict(type='EpochBasedRunner', max_epochs={epochs})
gpu_ids = range(0, 1)
load_from = None
resume_from = None
"""


def newer(done, epochs=12, *, first=1, seed=7, config=NEWER_CONFIG, resume=False, date="2024/"):
    """A log of MMEngine; ``date`` is empty for one that the terminal showed."""
    lines = [f" - mmengine - INFO - \n----\nSystem environment:\n    seed: {seed}\n"
             "    GPU number: 1\n----\n"]  # fmt: skip
    if config:
        text = config.format(epochs=epochs, seed=seed, resume=resume)
        lines.append(f" - mmengine - INFO - Config:\n{text}")
    for epoch in range(first, done + 1):
        left = (100 * (epochs - epoch) + 50) * 0.3
        lines.append(
            f" - mmengine - INFO - Epoch(train)  [{epoch}][ 50/100]  lr: 1.0000e-02  "
            f"eta: {int(left // 3600)}:{int(left // 60 % 60):02}:{int(left % 60):02}  "
            f"time: 0.3000  data_time: 0.0110  memory: 3789  loss: {2 / epoch:.4f}"
        )
        lines.append(
            f" - mmengine - INFO - Epoch(val) [{epoch}][50/50]    pascal_voc/mAP: "
            f"{0.5 + epoch / 50:.4f}  pascal_voc/AP50: 0.520  data_time: 0.0021  time: 0.0311"
        )
    return "".join(f"{date}05/08 17:{i:02}:00{line}\n" for i, line in enumerate(lines))


def older(done, epochs=12, config=OLDER_CONFIG):
    """A text log of MMDetection 2.x."""
    lines = ["Environment info:\n----\nsys.platform: linux\n----\n",
             "Distributed training: False"]  # fmt: skip
    if config:
        lines.append("Config:\n" + config.format(epochs=epochs))
    lines += ["Set random seed to 3, deterministic: False",
              f"workflow: [('train', 1)], max: {epochs} epochs"]  # fmt: skip
    for epoch in range(1, done + 1):
        lines.append(
            f"Epoch [{epoch}][50/100]\tlr: 1.000e-02, eta: 4:10:00, time: 0.291, memory: 3789, "
            f"loss_cls: 0.2100, acc: 93.1201, loss: {2 / epoch:.4f}"
        )
        lines.append(
            f"Epoch(val) [{epoch}][4952]\tAP50: {0.5 + epoch / 50:.4f}, mAP: {0.5 + epoch / 50:.4f}"
        )
    return "".join(
        f"2021-06-01 09:{i:02}:00,120 - mmdet - INFO - {line}\n" for i, line in enumerate(lines)
    )


def older_json(done, config=None):
    head = {"env_info": "sys.platform: linux", "seed": 3, "exp_name": "a.py"}
    lines = [head | ({"config": config} if config else {})]
    for epoch in range(1, done + 1):
        lines.append({"mode": "train", "epoch": epoch, "iter": 50, "lr": 0.01, "loss": 2 / epoch})
        lines.append({"mode": "val", "epoch": epoch, "iter": 4952, "lr": 0.01,
                      "AP50": 0.5 + epoch / 50, "mAP": 0.5 + epoch / 50})  # fmt: skip
    return "".join(json.dumps(line) + "\n" for line in lines)


def imported(folder, run, capsys):
    """The exit code, the only record if there is one, and what was printed."""
    code = cli.main(["import", str(run), "--results", str(folder / "results")])
    written = list((folder / "results").glob("records/*.json"))
    return code, records.read(written[0]) if written else None, capsys.readouterr()


def write(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


# --- MMDetection 2.x, MMSegmentation 0.x ---------------------------------------------------------


@pytest.mark.parametrize("given", ["a.log", "a.log.json", ""])
def test_a_run_of_mmdetection_2_is_imported_in_percent_with_what_it_says(given, tmp_path, capsys):
    run = tmp_path / "run"
    write(run, "a.log", older(12))
    write(run, "a.log.json", older_json(12))
    code, record, _ = imported(tmp_path, run / given, capsys)
    assert (code, record.metric, record.value) == (0, "mAP", pytest.approx(74))
    assert record.content["metrics"]["pascal_voc/AP50"] == pytest.approx(74)
    cell = record.cell
    assert (cell["backbone"], cell["seed"], cell["data"]) == ("ResNet50", 3, "VOCDataset")
    assert (cell["precision"], cell["weights"]) == ("float32", "torchvision://resnet50")
    assert record.content["training"]["batch_size"] == 2
    assert [p["iteration"] for p in record.content["curve"]] == [100 * e + 50 for e in range(12)]


@pytest.mark.parametrize("config", [OLDER_CONFIG, None])
@pytest.mark.parametrize("given", ["a.log", "a.log.json", ""])
def test_a_run_of_mmdetection_2_that_was_stopped_is_refused(given, config, tmp_path, capsys):
    run = tmp_path / "run"
    write(run, "a.log", older(5, config=config))
    write(run, "a.log.json", older_json(5))
    code, record, out = imported(tmp_path, run / given, capsys)
    assert (code, record) == (2, None)
    assert "after epoch 5 of 12" in out.err


def test_json_lines_alone_tell_what_is_not_known(tmp_path, capsys):
    code, record, out = imported(tmp_path, write(tmp_path, "a.log.json", older_json(4)), capsys)
    assert (code, record.value, record.cell["seed"]) == (0, pytest.approx(58), 3)
    assert record.content["curve"] == []
    assert "whether the training was finished" in out.out
    assert "the iterations of an epoch" in out.out


def test_json_lines_with_the_config_in_their_head_are_guarded_by_it(tmp_path, capsys):
    path = write(tmp_path, "a.log.json", older_json(5, OLDER_CONFIG.format(epochs=12)))
    assert imported(tmp_path, path, capsys)[0] == 2
    path = write(tmp_path, "a.log.json", older_json(12, OLDER_CONFIG.format(epochs=12)))
    assert imported(tmp_path, path, capsys)[1].value == pytest.approx(74)


def segmentation(form, scale, done=80_000, of=80_000):
    """A log of MMSegmentation by iterations whose mIoU ends at 0.38, times ``scale``."""
    lines = []
    for step in (40_000, 80_000):
        if step > done:
            break
        miou, acc = (scale * v for v in ((0.34, 0.75) if step < 80_000 else (0.38, 0.78)))
        if form == "0.x json":
            lines += [{"mode": "train", "epoch": step // 634, "iter": step, "loss": 0.6},
                      {"mode": "val", "epoch": step // 634, "iter": 2000, "aAcc": acc,
                       "mIoU": miou}]  # fmt: skip
        elif form == "1.x json":
            lines += [{"loss": 0.6, "iter": step, "step": step},
                      {"aAcc": acc, "mIoU": miou, "step": step}]  # fmt: skip
        elif form == "0.x":
            lines += [f"Iter [{step}/{of}]\tlr: 1e-04, eta: 0:00:00, time: 0.4, loss: 0.6000",
                      f"Iter(val) [2000]\taAcc: {acc:.4f}, mIoU: {miou:.4f}, "
                      "IoU.traffic light: 0.7100"]  # fmt: skip
        else:
            lines += [f"Iter(train) [{step}/{of}]  lr: 1e-04  eta: 0:00:00  time: 0.4  "
                      "loss: 0.6000", f"Iter(val) [2000/2000]    aAcc: {acc:.4f}  "
                      f"mIoU: {miou:.4f}  data_time: 0.0"]  # fmt: skip
    if form.endswith("json"):
        return "\n".join(map(json.dumps, lines))
    date = "2021-06-01 09:00:00,120 - mmseg" if form == "0.x" else "05/08 17:00:00 - mmengine"
    return "\n".join(f"{date} - INFO - {line}" for line in lines)


@pytest.mark.parametrize(
    ("form", "scale"),
    [("0.x", 1), ("0.x json", 1), ("0.x", 100), ("0.x json", 100), ("1.x", 100), ("1.x json", 100)],
)
def test_segmentation_is_imported_in_percent(form, scale, tmp_path, capsys):
    run = write(tmp_path, "train.out", segmentation(form, scale))
    code, record, _ = imported(tmp_path, run, capsys)
    assert (code, record.metric, record.value) == (0, "mIoU", pytest.approx(38))
    assert record.content["metrics"]["pixAcc"] == pytest.approx(78)
    assert [point["iteration"] for point in record.content["curve"]] == [40_000, 80_000]
    if form == "0.x" and scale == 1:
        assert record.content["metrics"]["IoU.traffic light"] == pytest.approx(71)


@pytest.mark.parametrize("form", ["1.x", "1.x json"])
def test_a_fraction_where_percent_is_meant_is_refused(form, tmp_path, capsys):
    run = write(tmp_path, "train.out", segmentation(form, 1))
    code, record, out = imported(tmp_path, run, capsys)
    assert (code, record) == (2, None)
    assert "fraction or a percentage" in out.err


@pytest.mark.parametrize("form", ["0.x", "1.x"])
def test_a_training_by_iterations_that_was_stopped_is_refused(form, tmp_path, capsys):
    run = write(tmp_path, "a.log", segmentation(form, 1 if form == "0.x" else 100, done=40_000))
    code, _, out = imported(tmp_path, run, capsys)
    assert (code, "after iter 40000 of 80000" in out.err) == (2, True)


def test_cocos_figure_of_mmdetection_2(tmp_path, capsys):
    log = older(12).replace("AP50", "bbox_mAP_50").replace(" mAP:", " bbox_mAP:")
    log = log.replace("0.7400\n", "0.7400, bbox_mAP_copypaste: 0.740 0.900 0.800\n")
    code, record, _ = imported(tmp_path, write(tmp_path, "a.log", log), capsys)
    assert (code, record.metric, record.value) == (0, "COCO AP", pytest.approx(74))
    assert "coco/bbox_mAP_copypaste" not in record.content["metrics"]


@pytest.mark.parametrize("value", ["740.0", "nan", "-1"])
def test_more_than_all_or_nothing_is_no_figure(value, tmp_path, capsys):
    log = older(12).replace(" mAP: 0.7400", f" mAP: {value}")
    code, record, out = imported(tmp_path, write(tmp_path, "a.log", log), capsys)
    assert (code, record) == (2, None)
    assert "is not a number" in out.err


# --- What a terminal shows -----------------------------------------------------------------------


def coloured(log):
    return log.replace("INFO", "\x1b[4m\x1b[37mINFO\x1b[0m")


def of_a_batch_system(log):
    return "".join(f"0: {line}\n" if " - INFO - " in line else f"{line}\n" for line in
                   log.splitlines())  # fmt: skip


def labelled_throughout(log):
    """As ``srun --label`` does, with a time as containers' logs have it."""
    return "".join(f"3: 2024-01-02T03:04:{number % 60:02d}.67{number:03d}Z {line}\n"
                   for number, line in enumerate(log.splitlines()))  # fmt: skip


FORMS = {
    "full dates": newer,
    "a terminal's": lambda done, **more: newer(done, date="", **more),
    "coloured": lambda done, **more: coloured(newer(done, date="", **more)),
    "labelled throughout": lambda done, **more: labelled_throughout(newer(done, date="", **more)),
    "with a terminal's other controls": lambda done, **more: coloured(
        newer(done, date="", **more)
    ).replace("\x1b[0m", "\x1b[0m\x1b[K"),
    "labelled": lambda done, **more: of_a_batch_system(newer(done, date="", **more)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_log_is_imported_with_config_row_and_precision(form, tmp_path, capsys):
    path = write(tmp_path, "nohup.out", FORMS[form](12))
    code, record, _ = imported(tmp_path, path, capsys)
    assert (code, record.value) == (0, pytest.approx(74))
    cell = record.cell
    assert (cell["backbone"], cell["precision"], cell["seed"]) == ("ResNet50", "float32", 7)


@pytest.mark.parametrize("config", [NEWER_CONFIG, "model = build()\n", None])
@pytest.mark.parametrize("form", FORMS)
def test_a_log_of_a_training_that_was_stopped_is_refused(form, config, tmp_path, capsys):
    """With the config, and by the log's own estimate without one."""
    path = write(tmp_path, "nohup.out", FORMS[form](5, config=config))
    code, record, out = imported(tmp_path, path, capsys)
    assert (code, record) == (2, None)
    assert "after epoch 5" in out.err
    assert "not finished" in out.err


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_log_without_a_config_is_imported(form, tmp_path, capsys):
    path = write(tmp_path, "nohup.out", FORMS[form](12, config=None))
    assert imported(tmp_path, path, capsys)[1].value == pytest.approx(74)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_what_powershell_writes_is_read(encoding, tmp_path):
    path = tmp_path / "a.log"
    path.write_text(newer(12, date=""), encoding=encoding)
    assert read_run(path).metrics["pascal_voc/mAP"] == 0.74


# --- Several starts in one file ------------------------------------------------------------------


def test_a_log_that_a_resumed_training_continued(tmp_path):
    log = newer(5) + newer(12, first=6, resume=True)
    found = read_run(write(tmp_path, "a.log", log))
    assert found.metrics["pascal_voc/mAP"] == 0.74
    assert [p["iteration"] for p in found.curve] == [100 * e + 50 for e in range(12)]
    with pytest.raises(UserError, match="after epoch 8 of 12"):
        read_run(write(tmp_path, "b.log", newer(5) + newer(8, first=6, resume=True)))


def test_of_two_trainings_in_one_file_the_last_counts_alone(tmp_path):
    found = read_run(write(tmp_path, "a.log", newer(12, seed=1) + newer(6, 6, seed=2)))
    assert (found.metrics["pascal_voc/mAP"], found.seed) == (0.62, 2)
    assert [p["iteration"] for p in found.curve] == [100 * e + 50 for e in range(6)]
    with pytest.raises(UserError, match="after epoch 5 of 12"):
        read_run(write(tmp_path, "b.log", newer(12) + newer(5)))


def test_a_start_that_was_broken_off_before_its_first_evaluation_does_not_count(tmp_path):
    begun = newer(1, seed=2).rsplit("2024/", 1)[0]
    found = read_run(write(tmp_path, "a.log", newer(12, seed=1) + begun))
    assert (found.metrics["pascal_voc/mAP"], found.seed) == (0.74, 1)


@pytest.mark.parametrize(
    "doubled", [lambda log: log + log, lambda log: "\n".join(f"{x}\n{x}" for x in log.split("\n"))]
)
def test_a_log_or_its_lines_twice_count_once(doubled, tmp_path):
    once = read_run(write(tmp_path, "a.log", newer(12)))
    twice = read_run(write(tmp_path, "b.log", doubled(newer(12))))
    assert (twice.metrics, twice.curve, twice.seed) == (once.metrics, once.curve, once.seed)


def test_the_last_evaluation_counts_and_not_the_best(tmp_path):
    log = older(12).replace(" mAP: 0.7400", " mAP: 0.6000")
    log += "2021-06-01 10:00:00,120 - mmdet - INFO - Best mAP is 0.7200 at 11 epoch.\n"
    assert read_run(write(tmp_path, "a.log", log)).metrics["pascal_voc/mAP"] == 0.6


@pytest.mark.parametrize("line", ["\n", "a\n", "\r", " - INFO - \n", "\x1b[0m\n"])
def test_a_log_of_short_lines_needs_a_small_multiple_of_its_length(line, monkeypatch):
    """64 MiB of empty lines took over a gigabyte."""
    monkeypatch.setattr(run_log, "_LONGEST_MESSAGE", 1 << 14)
    text = line * (300_000 // len(line))
    tracemalloc.start()
    try:
        starts = run_log.read_log(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not starts[0].points
    assert peak < 8 * len(text)


@pytest.mark.parametrize("line", ['{"loss": 1}\n', "\n", "a\r"])
def test_a_log_of_over_a_million_lines_is_refused(line, tmp_path):
    """64 MiB of short lines of JSON took minutes and gigabytes."""
    path = write(tmp_path, "a.log", line * ((1 << 20) + 1))
    with pytest.raises(UserError, match="has 1,048,577 lines"):
        read_run(path)


def test_lines_of_a_log_end_as_those_of_any_system():
    lines = ["a - INFO - Set random seed to 7, x", "progress 1", "progress 2", ""]
    for end in ("\n", "\r\n", "\r"):
        assert run_log.read_log(end.join(lines))[0].seed == 7
    evaluated = "b - INFO - Epoch(val) [1][5/5]    pascal_voc/mAP: 0.5000  time: 0.1"
    for end in ("\n", "\r\n", "\r"):
        assert run_log.read_log(end.join([*lines, evaluated]))[0].is_evaluated
