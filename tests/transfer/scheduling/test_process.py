"""A worker process as the driver sees it."""

from transfer.scheduling import process


def test_a_log_that_grows_without_end_is_cut_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "MAX_LOG_BYTES", 1000)
    path = tmp_path / "worker-0.log"
    with path.open("ab", buffering=0) as written:  # as the worker has it, at its end
        for number in range(2000):
            written.write(b"%07d\n" % number)
            process._bound(path)
    lines = path.read_bytes().splitlines()
    assert path.stat().st_size <= 1000
    assert lines[0] == b"0000000"
    assert lines[-1] == b"0001999"
    assert any(b"lines were removed here" in line for line in lines)


def test_a_log_that_is_not_there_is_no_matter(tmp_path):
    process._bound(tmp_path / "worker-0.log")
