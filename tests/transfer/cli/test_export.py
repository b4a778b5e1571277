"""``transfer export``: rows that other programs read, with their types."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from pandas.api.types import is_numeric_dtype

from transfer.cli import main
from transfer.records import flat, records

ROOT = Path(__file__).resolve().parents[3]
RECORDS = ROOT / "results" / "records"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Four of the project's own records, two of each task."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "records").mkdir()
    for task in ("detection", "segmentation"):
        for path in sorted(RECORDS.glob(f"{task}_*.json"))[:2]:
            shutil.copy(path, folder / "records")
    return folder


def exported(results, rows, capsys, *more):
    assert main.main(["export", rows, "--results", str(results), *more]) == 0
    return capsys.readouterr().out


def test_a_row_a_run(results, capsys, tmp_path):
    (tmp_path / "runs.csv").write_text(exported(results, "runs", capsys))
    frame = pandas.read_csv(tmp_path / "runs.csv", float_precision="round_trip")
    found, _ = records.read_all(results, "")
    assert list(frame["run"]) == [record.path.stem for record in found]
    assert list(frame["value"]) == [record.value for record in found]
    assert list(frame["mAP"].dropna()) == [r.value for r in found if r.metric == "mAP"]
    text = {
        *("run", "task", "data", "data_version", "protocol", "protocol_version", "overrides"),
        *("precision", "backbone", "architecture", "classifier", "baseline", "weights", "tricks"),
        *("top1_on", "metric", "cpu", "finished", "config", "torch", "gpu"),
    }
    images = {record.path.stem: record.content["training"]["images"]["train"] for record in found}
    assert dict(zip(frame["run"], frame["images_seen"], strict=True)) == images
    for name, column in frame.dropna(axis=1, how="all").items():
        assert is_numeric_dtype(column) != (name in text), name


def test_a_row_a_class_and_run(results, capsys, tmp_path):
    (tmp_path / "classes.csv").write_text(exported(results, "classes", capsys))
    frame = pandas.read_csv(tmp_path / "classes.csv", float_precision="round_trip")
    assert not frame.duplicated(["run", "class"]).any()
    assert frame["in_headline"].dtype == bool
    found, _ = records.read_all(results, "")
    metrics = {record.path.stem: record.content["metrics"] for record in found}
    compared = 0
    for row in frame.to_dict("records"):
        of_run = metrics[row["run"]]
        for name in ("IoU", "AP_11points"):
            if (key := f"{name}/{row['class']}") in of_run:
                assert row[name] == of_run[key]
                compared += 1
    assert compared > 60
    of_headline = frame[(frame["task"] == "segmentation") & frame["in_headline"]]
    for run, mean in of_headline.groupby("run")["IoU"].mean().items():
        assert mean == pytest.approx(metrics[run]["mIoU"])


def test_json_says_the_same_as_csv(results, capsys, tmp_path):
    (tmp_path / "runs.csv").write_text(exported(results, "runs", capsys))
    frame = pandas.read_csv(tmp_path / "runs.csv", float_precision="round_trip")
    rows = json.loads(exported(results, "runs", capsys, "--format", "json"))
    assert list(rows[0]) == list(frame.columns)
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert [row["value"] for row in rows] == list(frame["value"])
    missing = pandas.DataFrame(rows).isna()
    assert missing.equals(frame.isna()), "no value, rather than a word for it or an empty text"
    assert missing.any(axis=None)


def test_parquet_keeps_the_types(results, tmp_path):
    pytest.importorskip("pyarrow")
    file = tmp_path / "classes.parquet"
    command = ["export", "classes", "--format", "parquet", "--output", str(file)]
    assert main.main([*command, "--results", str(results)]) == 0
    frame = pandas.read_parquet(file)
    assert frame["in_headline"].dtype == bool
    assert frame["IoU"].dtype == float
    assert frame["seed"].dtype == "int64"


def test_parquet_has_the_same_types_whatever_is_missing(results, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert main.main(
        ["export", "runs", "--output", str(tmp_path / "a.parquet"), "--results", str(results)]
    ) == 0  # fmt: skip
    types = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "a.parquet")}
    assert types["memory_gpu_bytes"] == "int64", "no GPU was there"
    assert types["finished"] == "timestamp[us, tz=UTC]"
    assert types["tricks"] == types["gpu"] == "string"
    assert types["value"] == types["mIoU"] == "double"


@pytest.mark.parametrize(
    ("name", "start"), [("a.csv", "run,"), ("a.JSON", "["), ("-", None), ("a.xlsx", None)]
)
def test_the_ending_chooses_the_format(name, start, results, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = main.main(["export", "runs", "--output", name, "--results", str(results)])
    printed = capsys.readouterr()
    if name == "-":
        assert printed.out.startswith("run,")
    elif start is None:
        assert code == 2
        assert "--format" in printed.err
    else:
        assert Path(name).read_text().startswith(start)
    assert Path(name).exists() == (start is not None)


def test_a_folder_is_no_output(results, tmp_path, capsys):
    command = ["export", "runs", "--output", str(tmp_path), "--results", str(results)]
    assert main.main(command) == 2
    assert "is a folder" in capsys.readouterr().err


def test_parquet_without_its_package_is_one_sentence(results, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    command = ["export", "runs", "--format", "parquet", "--output", str(tmp_path / "a.parquet")]
    assert main.main([*command, "--results", str(results)]) == 2
    printed = capsys.readouterr().err
    assert "pip install pyarrow" in printed
    assert printed.count("\n") == 1


def test_parquet_is_not_printed(results, capsys):
    assert main.main(["export", "runs", "--format", "parquet", "--results", str(results)]) == 2
    assert "--output" in capsys.readouterr().err


def test_no_record_and_no_folder(tmp_path, capsys):
    for place in (tmp_path, tmp_path / "none"):
        assert main.main(["export", "runs", "--results", str(place)]) == 2
        assert str(place) in capsys.readouterr().err


def test_an_unreadable_record_is_left_out_and_said_elsewhere(results, tmp_path, capsys):
    shutil.copytree(results / "records", tmp_path / "records")
    (tmp_path / "records" / "broken.json").write_text("{")
    assert main.main(["export", "runs", "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "broken.json" in printed.err
    assert len(printed.out.splitlines()) == 1 + 4


def test_a_class_may_have_a_slash_in_its_name(results):
    found, _ = records.read_all(results, "")
    record = next(one for one in found if one.metric == "mIoU")
    text = record.content["config"]["json"].replace('"dog"', '"dog/wolf"')
    record.content["config"]["json"] = text
    metrics = record.content["metrics"]
    metrics["IoU/dog/wolf"] = metrics.pop("IoU/dog")
    rows = flat.classes([record])
    assert [row["IoU"] for row in rows if row["class"] == "dog/wolf"] == [metrics["IoU/dog/wolf"]]


def test_it_imports_nothing_heavy(results):
    code = (
        "import sys; from transfer.cli import main; "
        f"main.main(['export', 'classes', '--results', {str(results)!r}]); "
        "sys.exit(bool({'torch', 'pandas', 'mmengine'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
