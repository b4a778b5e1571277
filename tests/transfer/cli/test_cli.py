import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import processes
from transfer import run
from transfer.cli import doctor, main

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "mmengine", "mmcv", "timm", "cv2", "scipy", "matplotlib")


def python(*arguments, cwd, **variables):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "TRANSFER_CACHE": str(cwd / "cache"), **variables},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "transfer.cli.main", "--help"],
        ["-m", "transfer.cli.main", "run", "--help"],
        [str(ROOT / "transfer" / "run.py"), "--help"],
        [str(ROOT / "transfer" / "run.py"), "--backbone", "resnet50d_tricks", "--dry-run"],
        ["-m", "transfer.cli.main", "run", "--backbone", "timm/convnext_tiny", "--dry-run"],
        [str(ROOT / "backbones" / "train.py"), "--help"],
    ],
)
def test_light_commands_answer_at_once_and_import_nothing_heavy(arguments, tmp_path):
    before = processes.children_seconds()
    done = python("-X", "importtime", *arguments, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert processes.children_seconds() - before < 2
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported.intersection(HEAVY)
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_dry_run_names_the_cells_and_the_missing_data(tmp_path):
    command = [str(ROOT / "transfer" / "run.py"), "--backbone", "resnet50d_tricks", "--dry-run"]
    output = python(*command, cwd=tmp_path).stdout
    assert "voc0712 and ade20k not found under" in output
    assert "resnet50d_tricks stands for resnet50d_mixup" in output
    for row in ("resnet50_baseline", "resnet50d_tricks"):
        assert output.count(f" {row} ") >= 2


def test_data_that_are_there_in_part_are_reported_with_what_they_lack(tmp_path):
    lists = tmp_path / "data" / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("000001\n")
    command = [str(ROOT / "transfer" / "run.py"), "--backbone", "resnet50d_tricks", "--dry-run"]
    output = python(*command, cwd=tmp_path).stdout
    missing = Path("data", "VOCdevkit", "VOC2012", "ImageSets", "Main", "trainval.txt")
    assert (
        f"voc0712 incomplete: '{tmp_path / missing}' is missing; ade20k not found under" in output
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--backbone", "resnet50d_trick"], "did you mean resnet50d_tricks"),
        (["--backbone", "resnet50d_tricks", "--protocol", "quik"], "did you mean quick"),
        (["--backbone", "resnet50d_tricks", "--data", "voc0721"], "did you mean voc0712"),
        (["--backbone", "resnet50d_tricks", "--data", "voc0712"], "was not found at"),
        (["--backbone", "resnet50d_tricks", "--weights", "no.pth"], "There are no weights at"),
        (["--backbone", "resnet50d_tricks", "--against", "nobody"], "Unknown backbone 'nobody'"),
        (["--backbone", "resnet50d_distill"], "has no teacher"),
        (["--backbone", "resnet50d_tricks", "--seed", "-1"], "--seed must be a whole number from"),
        (["--backbone", "resnet50d_tricks", "--seed", "4294967296"], "from 0 to 4294967295"),
        (["--backbone", "resnet50d_tricks", "--classifier-seed", "-1"], "--classifier-seed must"),
        (["--backbone", "resnet50d_tricks", "--save-minutes", "nan"], "--save-minutes must be 0"),
        (["--backbone", "resnet50d_tricks", "--save-minutes", "-1"], "--save-minutes must be 0"),
        (["--backbone", "resnet50d_tricks", "--evaluate-every", "-3"], "--evaluate-every must be"),
        (["--suite", "quick", "--retry", "-1"], "--retry must be 0 or more"),
        (["--backbone", "resnet50d_tricks", "--data", "my.toml"], "my.toml' does not exist"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_code_2(
    arguments, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path / "cache"))
    assert run.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing is recorded, nothing half-written"


def test_an_unknown_task_is_refused_by_name(capsys):
    with pytest.raises(SystemExit) as stopped:
        run.main(["--backbone", "resnet50d_tricks", "--task", "detektion"])
    assert stopped.value.code == 2
    assert "invalid choice: 'detektion'" in capsys.readouterr().err


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_is_listed_and_has_its_module(command, capsys):
    for arguments in (["--help"], [command, "--help"]):
        with pytest.raises(SystemExit) as ended:
            main.main(arguments)
        assert ended.value.code == 0
        assert command in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["table", "all"], ["run", "--backbone", "resnet50d_tricks", "--dry-run"]]
)
def test_a_closed_pipe_is_no_error(arguments, tmp_path):
    """As ``transfer table all | head -1``: by print, and by rich's console."""
    code = (
        "import sys; from transfer.cli import main\n"
        f"sys.stdout.flush(); sys.stdin.readline(); sys.exit(main.main({arguments}))"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    started.stdout.close()
    started.stdin.write(b"\n")
    started.stdin.close()
    assert started.stderr.read() == b""
    assert started.wait(timeout=60) == 0


def test_a_broken_pipe_that_is_not_the_output_is_a_defect():
    def command(_):
        raise BrokenPipeError("a worker's")

    with pytest.raises(BrokenPipeError):
        main.guarded(command, None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is full")
def test_a_full_disk_behind_the_output_is_one_sentence(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "transfer.cli.main", "table", "1", "--results", str(tmp_path)],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2,
        "error: the output cannot be written because its disk is full\n",
    )


def test_brackets_in_paths_are_printed_as_they_stand(tmp_path, capsys):
    place = tmp_path / "a[/b] [red]"
    command = ["run", "--backbone", "resnet50_baseline", "--data-root", str(place), "--dry-run"]
    assert main.main(command) == 0
    assert f"transfer prepare voc0712 --root '{place}'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("address", "proxy", "message"),
    [
        ("http://localhost:99999", "", "is not a valid address"),
        ("https://hub.example", "http://proxy.example:3128", "behind the proxy"),
        ("http://127.0.0.1:9", "", "not reachable (ConnectionRefusedError)"),
    ],
)
def test_doctor_tells_of_the_hub_whatever_its_address(address, proxy, message, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr(doctor, "getproxies", lambda: {"https": proxy} if proxy else {})
    monkeypatch.setattr(doctor, "proxy_bypass", lambda host: False)
    assert message in doctor._hub().found


@pytest.fixture
def nobody(monkeypatch):
    """A user without a home folder, as of ``docker run --user 54321``."""
    for name in ("HOME", "XDG_CACHE_HOME", "TRANSFER_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)


def test_without_a_home_folder_the_cache_is_asked_for(nobody, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert doctor._cache().state == "missing"
    assert "TRANSFER_CACHE" in doctor._cache().advice
    assert run.main(["--backbone", "resnet18_baseline", "--dry-run"]) == 2
    assert "TRANSFER_CACHE" in capsys.readouterr().err
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path / "cache"))
    assert run.main(["--backbone", "resnet18_baseline", "--dry-run"]) == 0


def test_doctor_tells_of_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path / "file"))
    found = doctor._cache()
    assert found.state == "missing"
    assert "is not writable" in found.found


def test_ctrl_c_while_a_command_is_imported_is_one_sentence(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(main.importlib, "import_module", interrupted)
    assert main.main(["table", "all"]) == 130
    assert capsys.readouterr().err.startswith("interrupted;")


def test_signs_that_the_terminal_does_not_know_are_replaced(tmp_path):
    done = python(
        "-m", "transfer.cli.main", "table", "all",
        cwd=tmp_path, PYTHONPATH=str(ROOT), PYTHONIOENCODING="ascii",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| - [a] |" in done.stdout


def test_the_folder_of_the_script_shadows_no_library(tmp_path):
    """timm imports ``datasets``; started as a script, transfer/datasets must not answer."""
    code = (
        "import runpy, sys; sys.argv = ['run.py', '--help']\n"
        f"sys.path.insert(0, {str(ROOT / 'transfer')!r})\n"
        "try: runpy.run_path(sys.path[0] + '/run.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        f"assert {str(ROOT / 'transfer')!r} not in sys.path"
    )
    assert python("-c", code, cwd=tmp_path).returncode == 0


LONG = "x" * 300


@pytest.mark.parametrize(
    "command",
    [
        ["table", "--results", LONG],
        ["report", "--results", LONG],
        ["export", "runs", "--results", LONG],
        ["check", f"{LONG}.toml"],
        ["backbones", f"{LONG}.toml"],
        ["backbones", LONG],
        ["backbones", "resnet18" + "_scratch" * 100_000],
        ["run", "--backbone", f"{LONG}.toml"],
        ["run", "--suite", f"{LONG}.toml"],
        ["run", "--backbone", "resnet18_scratch", "--data", f"{LONG}.toml"],
        ["run", "--backbone", "resnet18_baseline", "--weights", LONG, "--data", "sample"],
        ["run", "--backbone", "resnet18_scratch", "--results", LONG, "--data", "sample"],
        ["run", "--backbone", "resnet18_scratch", "--work-dir", LONG, "--data", "sample"],
        ["merge", LONG, "--results", LONG],
        ["import", LONG],
    ],
    ids=lambda command: " ".join(word[:12] for word in command),
)
def test_a_name_longer_than_any_file_may_have_is_one_sentence(
    command, tmp_path, monkeypatch, capsys, small_sample
):
    monkeypatch.chdir(tmp_path)
    assert main.main(command) == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert sentence.startswith("error: ")
