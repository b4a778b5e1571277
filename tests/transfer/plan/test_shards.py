"""Shards of a suite, and putting their results together again."""

import errno
import fcntl
import json
import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.common.errors import UserError
from backbones.zoo.sizes import size_of
from tests.support import chaos_suite, synthetic
from transfer import run
from transfer.cli import main
from transfer.plan import suites
from transfer.plan.shards import Shard, share
from transfer.plan.suite_cells import Choice, make_suite_plan
from transfer.records import merge, records

ROWS = ("resnet18_scratch", "resnet50_scratch", "resnet152d_scratch", "resnet18d_scratch")


def cells(rows=ROWS, seeds=range(5), tasks=("detection", "segmentation")):
    return [
        synthetic.cell(row, task, seed=seed, architecture=row.removesuffix("_scratch"))
        for task in tasks
        for seed in seeds
        for row in rows
    ]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 20), st.integers(1, 3))
def test_every_cell_is_in_one_shard_and_no_shard_has_more_than_its_part(of, seeds):
    whole = cells(seeds=range(seeds))
    shards = [share(whole, Shard(number, of)) for number in range(1, of + 1)]
    assert sorted(cell.id for shard in shards for cell in shard) == sorted(c.id for c in whole)
    sizes = [len(shard) for shard in shards]
    if of <= len(whole):
        assert min(sizes) >= 1
    positions = [[whole.index(cell) for cell in shard] for shard in shards]
    assert all(a < b for places in positions for a, b in pairwise(places)), "the order is kept"


def test_shards_of_a_task_differ_by_one_network_at_most():
    whole = cells(seeds=range(7))
    work = [
        [
            sum(size_of(c.architecture).multiply_adds for c in shard if c.task == task)
            for shard in (share(whole, Shard(number, 4)) for number in range(1, 5))
        ]
        for task in ("detection", "segmentation")
    ]
    largest = max(size_of(cell.architecture).multiply_adds for cell in whole)
    assert all(max(loads) - min(loads) <= largest for loads in work)


def test_networks_that_nobody_has_measured_are_dealt_out_like_the_others():
    whole = [synthetic.cell(f"timm/x{i}", architecture=f"x{i}") for i in range(9)]
    assert [len(share(whole, Shard(number, 3))) for number in (1, 2, 3)] == [3, 3, 3]


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1", "a/b", "1/3/5", "-1/3", "1/0"])
def test_a_shard_that_makes_no_sense_is_named(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run.main(["--suite", "quick", "--dry-run", f"--shard={text}"]) == 2
    assert f"it is '{text}'" in capsys.readouterr().err


def test_the_dry_run_of_a_shard_names_its_cells(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    outputs = []
    for number in (1, 2, 3, 4):
        assert run.main(["--suite", "quick", "--dry-run", "--shard", f"{number}/4"]) == 0
        outputs.append(capsys.readouterr().out)
    assert sum("Shard" in text for text in outputs) == 4
    todo = [int(text.split(" to do.")[0].rsplit(" ", 1)[-1]) for text in outputs]
    assert sum(todo) == 18
    assert all(f"of 4: {n} of 18 cells." in text for n, text in zip(todo, outputs, strict=True))
    assert run.main(["--suite", "quick", "--dry-run", "--shard", "19/19"]) == 2
    assert "the suite 'quick' has only 18 cells" in capsys.readouterr().err


# --- Merging --------------------------------------------------------------------------------------


def fill(results: Path, chosen, shift=0.0):
    """Records of cells, each with per-image results; their values follow from the cell."""
    for cell in chosen:
        path = synthetic.write(results, cell, 50 + int(cell.id, 16) % 1000 / 50 + shift)
        path.with_suffix(".npz").write_bytes(f"outcomes of {cell.id}".encode())


def files(results: Path):
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in results.rglob("*")
        if path.is_file()
    }


def test_shards_merged_are_the_whole_and_merging_again_changes_nothing(tmp_path, capsys):
    whole = cells()
    fill(tmp_path / "whole", whole)
    synthetic.write_classifier(tmp_path / "whole", "resnet50d_cosine")
    synthetic.write_classifier(tmp_path / "shard-2", "resnet50d_cosine")
    sources = [str(tmp_path / f"shard-{number}") for number in (1, 2, 3)]
    for number in (1, 2, 3):
        fill(tmp_path / f"shard-{number}", share(whole, Shard(number, 3)))
    command = ["merge", *sources, "--results", str(tmp_path / "merged")]
    assert main.main(command) == 0
    assert "41 records merged" in capsys.readouterr().out
    assert files(tmp_path / "merged") == files(tmp_path / "whole")
    assert main.main([*command[:-1], str(tmp_path / "merged")]) == 0
    assert "0 records merged" in capsys.readouterr().out
    assert files(tmp_path / "merged") == files(tmp_path / "whole")


def test_other_times_and_hardware_are_no_conflict_and_what_stood_first_stays(tmp_path):
    (cell,) = cells(["resnet18_scratch"], [0], ["detection"])
    fill(tmp_path / "a", [cell])
    fill(tmp_path / "b", [cell])
    (path,) = (tmp_path / "b" / "records").glob("*.json")
    content = json.loads(path.read_text())
    content["seconds"]["train"] *= 3
    content["hardware"]["cpu"] = "another"
    content["finished"] = "2027-01-01T00:00:00+00:00"
    records.write(path, content)
    before = files(tmp_path / "a")
    assert merge.merge([tmp_path / "b"], tmp_path / "a") == merge.Merged(0, 1, ())
    assert files(tmp_path / "a") == before


@pytest.mark.parametrize("into", ["a", "new"])
def test_a_cell_with_other_results_is_refused_and_nothing_is_merged(into, tmp_path, capsys):
    first, second = cells(["resnet18_scratch"], [0, 1], ["detection"])
    fill(tmp_path / "a", [first])
    fill(tmp_path / "b", [second])
    fill(tmp_path / "c", [first], shift=0.25)
    before = files(tmp_path / "a")
    sources = [str(tmp_path / name) for name in "abc"]
    assert main.main(["merge", *sources, "--results", str(tmp_path / into)]) == 2
    error = capsys.readouterr().err
    assert "records of the same run with different results: mAP" in error
    assert str(tmp_path / "a") in error
    assert str(tmp_path / "c") in error
    assert files(tmp_path / "a") == before
    assert not (tmp_path / "new").exists()


def test_a_folder_without_records_is_named(tmp_path, capsys):
    fill(tmp_path / "a", cells(seeds=[0]))
    (tmp_path / "empty").mkdir()
    command = ["merge", str(tmp_path / "a"), str(tmp_path / "empty"), "--results"]
    assert main.main([*command, str(tmp_path / "r")]) == 2
    assert f"'{tmp_path / 'empty'}' holds no records" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_damaged_records_are_named_and_left_where_they_are(tmp_path, capsys):
    fill(tmp_path / "a", cells(seeds=[0]))
    folder = tmp_path / "a" / "records"
    cut, *others = sorted(folder.glob("*.json"))
    cut.write_bytes(cut.read_bytes()[:100])
    (folder / "classifiers").mkdir()
    deep = folder / "classifiers" / "deep.json"
    deep.write_text("[" * 100_000)
    (folder / "zero.json").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.json")
    assert main.main(["merge", str(tmp_path / "a"), "--results", str(tmp_path / "r")]) == 0
    said = capsys.readouterr().out
    assert f"{len(others)} records merged" in said
    for path in (cut, deep, folder / "zero.json", folder / "pipe.json"):
        assert str(path) in said
    there = {path.name for path in (tmp_path / "r" / "records").glob("*.json")}
    assert there == {path.name for path in others}


def test_what_a_killed_merge_left_is_cleared_and_two_at_once_are_refused(tmp_path):
    fill(tmp_path / "a", cells(seeds=[0]))
    (tmp_path / "r" / "records").mkdir(parents=True)
    left = tmp_path / "r" / "records" / ".a.json.merged"
    left.write_bytes(b"half")
    folder = os.open(tmp_path / "r", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="Another 'transfer merge'"):
        merge.merge([tmp_path / "a"], tmp_path / "r")
    assert left.exists()
    os.close(folder)
    merge.merge([tmp_path / "a"], tmp_path / "r")
    assert not left.exists()


def test_a_full_disk_leaves_nothing_half_merged(tmp_path, monkeypatch):
    fill(tmp_path / "a", cells(seeds=[0]))
    written = []

    def fsync(number):
        written.append(number)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match="No space left on device"):
        merge.merge([tmp_path / "a"], tmp_path / "r")
    assert files(tmp_path / "r") == {}


@pytest.mark.parametrize("whole", [0, 1, 45])
def test_a_disk_that_fails_while_files_are_moved_is_reported_and_gone_on_from(
    whole, tmp_path, monkeypatch
):
    fill(tmp_path / "a", cells())
    replace, moved = os.replace, []

    def fail(source, target):
        if len(moved) == whole:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        moved.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError) as caught:
        merge.merge([tmp_path / "a"], tmp_path / "r")
    monkeypatch.undo()
    outcome = f"{whole} of 80 files were moved" if whole else "nothing was moved"
    assert f"(Input/output error): {outcome}." in str(caught.value).replace("[Errno 5] ", "")
    there = files(tmp_path / "r")
    assert len(there) == whole
    assert there.items() <= files(tmp_path / "a").items(), "whole, and nothing else"
    records_there = {name.removesuffix(".json") for name in there if name.endswith(".json")}
    assert all(f"{name}.npz" in there for name in records_there)
    merge.merge([tmp_path / "a"], tmp_path / "r")
    assert files(tmp_path / "r") == files(tmp_path / "a")


@pytest.mark.long
def test_three_shards_run_by_themselves_and_merged_are_the_suite_run_whole(tmp_path, cache):
    suite = chaos_suite.write_suite(
        tmp_path, cache / "sample", rows=["resnet18_scratch", "resnet18d_scratch"], seeds=[0]
    )
    plan = make_suite_plan(suites.load(str(suite)), Choice(data_root=tmp_path))
    assert chaos_suite.start(suite, tmp_path / "whole").wait() == 0
    for number in (1, 2, 3):
        folder = tmp_path / f"shard-{number}"
        assert chaos_suite.start(suite, folder, "--shard", f"{number}/3").wait() == 0
        shutil.copytree(folder / "work", tmp_path / "merged" / "work", dirs_exist_ok=True)
    sources = [tmp_path / f"shard-{number}" / "results" for number in (1, 2, 3)]
    done = merge.merge(sources, tmp_path / "merged" / "results")
    assert done == merge.Merged(len(plan.cells), 0, ())
    assert chaos_suite.compare(tmp_path / "merged", tmp_path / "whole") == []
    for name, path in chaos_suite.records_of(tmp_path / "whole").items():
        merged = chaos_suite.records_of(tmp_path / "merged")[name]
        assert merge._results_of(path) == merge._results_of(merged)
        assert path.with_suffix(".npz").read_bytes() == merged.with_suffix(".npz").read_bytes()
