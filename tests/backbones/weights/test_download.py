from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.request import Request

import pytest

from backbones.common.errors import UserError
from backbones.weights import download, paced_answer
from backbones.weights.download import fetch, verify

CONTENT = bytes(range(256)) * 4000
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


class Handler(BaseHTTPRequestHandler):
    """Serves one file in several ways, one for each path; what was asked for is kept."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str | None]]
    release: threading.Event

    def do_GET(self) -> None:
        self.close_connection = True
        self.asked.append((self.path, self.headers.get("Range")))
        getattr(self, "serve_" + self.path.strip("/").split(".")[0])()

    def serve_file(self) -> None:
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        if start >= len(CONTENT):
            self.start(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(CONTENT)}"})
        elif start:
            content_range = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
            self.send(CONTENT[start:], status=206, headers={"Content-Range": content_range})
        else:
            self.send(CONTENT)

    def serve_plain(self) -> None:
        self.send(CONTENT)

    def serve_cut(self) -> None:
        self.send(CONTENT[:HALF], length=len(CONTENT))

    def serve_stall(self) -> None:
        self.send(CONTENT[:HALF], length=len(CONTENT))
        self.release.wait(10)

    def serve_silent(self) -> None:
        self.release.wait(10)

    def serve_odd(self) -> None:
        self.send(CONTENT[7:], status=206, headers={"Content-Range": "bytes 7-8/9"})

    def serve_chunked(self) -> None:
        self.start(200, {"Transfer-Encoding": "chunked"})
        for piece in (CONTENT[:HALF], CONTENT[HALF:], b""):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def serve_page(self) -> None:
        self.send(b"<html>please log in</html>", headers={"Content-Type": "text/html"})

    def serve_moved(self) -> None:
        self.start(302, {"Location": "/file.bin", "Content-Length": "0"})

    def serve_local(self) -> None:
        self.start(302, {"Location": "file:///etc/hostname", "Content-Length": "0"})

    def serve_gone(self) -> None:
        self.start(404, {"Content-Length": "0"})

    def serve_trickle(self) -> None:
        self.start(200, {"Content-Length": str(len(CONTENT))})
        for byte in CONTENT:
            self.wfile.write(bytes([byte]))
            if self.release.wait(0.05):
                return

    def serve_extension(self) -> None:
        """A chunk's head that never ends: no byte of it reaches the caller."""
        self.start(200, {"Transfer-Encoding": "chunked"})
        self.wfile.write(b"1;")
        while not self.release.wait(0.05):
            self.wfile.write(b"x")

    def serve_endless(self) -> None:
        self.start(200, {})
        while not self.release.is_set():
            self.wfile.write(CONTENT)

    def serve_square(self) -> None:
        self.start(200, {"Content-Length": "\u00b2"})
        self.wfile.write(CONTENT)

    def serve_digits(self) -> None:
        self.start(200, {"Content-Length": "9" * 5000})
        self.wfile.write(CONTENT)

    def serve_nothing(self) -> None:
        self.send_response(204)
        self.end_headers()

    def serve_empty(self) -> None:
        self.start(200, {"Content-Length": "0"})

    def serve_circle(self) -> None:
        self.start(302, {"Location": self.path, "Content-Length": "0"})

    def serve_escape(self) -> None:
        self.send_response(500, "\x1b[31mno")
        self.end_headers()

    def send(
        self,
        body: bytes,
        status: int = 200,
        length: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.start(status, {"Content-Length": str(length or len(body)), **(headers or {})})
        self.wfile.write(body)
        self.wfile.flush()

    def start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class Server:
    def __init__(self) -> None:
        self.handler: type[Handler] = type("Own", (Handler,), {})
        self.asked = self.handler.asked = []
        self.release = self.handler.release = threading.Event()
        self.address = ""

    def url(self, way: str) -> str:
        return f"{self.address}/{way}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    ours = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), ours.handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        ours.address = f"http://127.0.0.1:{http.server_port}"
        yield ours
        ours.release.set()
        http.shutdown()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "made" / "file.bin"


def left(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir())


@pytest.mark.parametrize("way", ["file.bin", "plain.bin", "chunked.bin", "moved.bin"])
@pytest.mark.parametrize("checksum", ["", SHA256, SHA256[:15].upper().replace("SHA", "sha")])
def test_whole_file_arrives(server: Server, place: Path, way: str, checksum: str) -> None:
    steps: list[tuple[int, int | None]] = []

    assert (
        fetch(server.url(way), place, checksum=checksum, progress=lambda *p: steps.append(p))
        == place
    )

    assert place.read_bytes() == CONTENT
    assert left(place) == ["file.bin"]
    assert steps[-1] == (len(CONTENT), None if way == "chunked.bin" else len(CONTENT))


def test_present_file_is_verified_and_not_fetched(server: Server, place: Path) -> None:
    place.parent.mkdir()
    place.write_bytes(CONTENT)
    fetch(server.url("gone.bin"), place, checksum=SHA256, size=len(CONTENT))
    assert not server.asked

    place.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(
        UserError, match=r"not (the file that was expected|send the expected file).*remove it"
    ):
        fetch(server.url("file.bin"), place, checksum=SHA256)
    assert place.exists()


def test_interrupted_download_goes_on(server: Server, place: Path) -> None:
    with pytest.raises(UserError, match=r"was interrupted after 512\.0 kB of 1\.0 MB.*is kept"):
        fetch(server.url("cut.bin"), place, checksum=SHA256)
    assert left(place) == ["file.bin.part"]

    fetch(server.url("file.bin"), place, checksum=SHA256)

    assert place.read_bytes() == CONTENT
    assert server.asked[-1] == ("/file.bin", f"bytes={HALF}-")


@pytest.mark.parametrize("way", ["plain.bin", "odd.bin"])
def test_server_that_cannot_go_on(server: Server, place: Path, way: str) -> None:
    place.parent.mkdir()
    place.with_name("file.bin.part").write_bytes(b"not its beginning")
    if way == "plain.bin":
        fetch(server.url(way), place, checksum=SHA256)
        assert place.read_bytes() == CONTENT
    else:  # it sends another part than was asked for, and then asked for all
        with pytest.raises(
            UserError, match=r"not (the file that was expected|send the expected file)"
        ):
            fetch(server.url(way), place, checksum=SHA256)
        assert [asked for _, asked in server.asked] == ["bytes=17-", None]


def test_without_checksum_a_part_is_not_trusted(server: Server, place: Path) -> None:
    place.parent.mkdir()
    place.with_name("file.bin.part").write_bytes(b"of an older version")
    fetch(server.url("file.bin"), place)
    assert place.read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"longer than the file"])
def test_complete_part_needs_no_more(server: Server, place: Path, extra: bytes) -> None:
    place.parent.mkdir()
    place.with_name("file.bin.part").write_bytes(CONTENT + extra)
    fetch(server.url("file.bin"), place, checksum=SHA256)
    assert place.read_bytes() == CONTENT


def test_wrong_checksum_removes_what_arrived(server: Server, place: Path) -> None:
    with pytest.raises(UserError, match=r"its md5 is [0-9a-f]{32}, not 00000000.*was removed"):
        fetch(server.url("file.bin"), place, checksum="md5:00000000")
    assert left(place) == []


def test_wrong_size_is_refused_before_the_download(server: Server, place: Path) -> None:
    with pytest.raises(UserError, match="has 1024000 bytes instead of 5"):
        fetch(server.url("file.bin"), place, size=5)
    assert left(place) == []


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("gone.bin", "returned 404"),
        ("page.bin", "a web page"),
        ("local.bin", "not an http or https address|not allowed"),
    ],
)
def test_refusals_say_where_to_put_the_file(
    server: Server, place: Path, way: str, said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        fetch(server.url(way), place)
    assert way == "local.bin" or str(place) in str(caught.value)
    assert left(place) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/file", "file.bin", "http:/x"])
def test_only_http_addresses(place: Path, url: str) -> None:
    with pytest.raises(UserError, match="not an http or https address"):
        fetch(url, place)


def test_step_down_from_https_is_not_followed() -> None:
    request = Request("https://host/file.bin")
    with pytest.raises(UserError, match="unencrypted"):
        download._HttpOnly().redirect_request(
            request, BytesIO(), 302, "", HTTPMessage(), "http://host/file.bin"
        )


def test_silent_server_fails_soon(
    server: Server, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "OPEN_SECONDS", 0.3)
    begun = time.monotonic()
    with pytest.raises(UserError, match="could not be reached"):
        fetch(server.url("silent.bin"), place)
    assert time.monotonic() - begun < 2


def test_stalled_server_leaves_the_part(
    server: Server, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced_answer, "STALL_SECONDS", 0.3)
    with pytest.raises(UserError, match=r"was interrupted.*(timed out|it sent nothing).*to resume"):
        fetch(server.url("stall.bin"), place, checksum=SHA256)
    assert place.with_name("file.bin.part").stat().st_size == HALF


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("trickle.bin", "fewer than 4096 bytes per second"),
        ("extension.bin", "it sent nothing for|timed out"),
    ],
)
def test_a_server_that_is_too_slow_is_left(
    server: Server, place: Path, monkeypatch: pytest.MonkeyPatch, way: str, said: str
) -> None:
    monkeypatch.setattr(paced_answer, "STALL_SECONDS", 0.5)
    begun = time.monotonic()
    with pytest.raises(UserError, match=said):
        fetch(server.url(way), place)
    assert time.monotonic() - begun < 5


def test_a_download_has_an_end_however_fast_it_is(
    server: Server, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced_answer, "END_SECONDS", 0.3)
    with pytest.raises(UserError, match="it took over"):
        fetch(server.url("endless.bin"), place)


def test_an_endless_body_fills_no_disk(
    server: Server, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 3 * len(CONTENT))
    with pytest.raises(UserError, match=r"sent over 3\.1 MB"):
        fetch(server.url("endless.bin"), place)
    assert left(place) == []


@pytest.mark.parametrize("way", ["square.bin", "digits.bin"])
def test_an_odd_length_is_no_length(server: Server, place: Path, way: str) -> None:
    """Python's own client takes it for none, and reads to the connection's end."""
    fetch(server.url(way), place, checksum=SHA256)
    assert place.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("nothing.bin", "returned 204"),
        ("empty.bin", "an empty file"),
        ("circle.bin", r"returned 302 \([^\n]*\) for '[^\n]*this again\.$"),
        ("escape.bin", r"returned 500 \(\\x1b\[31mno\)"),
    ],
)
def test_answers_that_are_no_file_leave_nothing(
    server: Server, place: Path, way: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        fetch(server.url(way), place)
    assert left(place) == []


@pytest.mark.parametrize("host", ["127.0.0.1:9", "no-such-host.invalid", "[bad"])
def test_unreachable_address_says_what_to_do(
    place: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError, match="Download it on another machine and put it at"):
        fetch(f"http://{host}/file.bin", place)


def test_space_is_looked_at_first(
    server: Server, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"needs 1\.0 MB, but the disk of .* has only 1\.0 kB left"):
        fetch(server.url("file.bin"), place)
    assert left(place) == []


def test_disk_that_fills_up_keeps_the_part(server: Server, place: Path) -> None:
    """A limit on the size of files stands for the disk: writing fails half-way."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from backbones.weights.download import *\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({HALF}, resource.RLIM_INFINITY))\n"
        "fetch(sys.argv[1], Path(sys.argv[2]), checksum=sys.argv[3])"
    )
    command = [sys.executable, "-c", code, server.url("file.bin"), str(place), SHA256]
    run = subprocess.run(command, capture_output=True, text=True)
    assert "could not be written" in run.stderr
    assert 0 < place.with_name("file.bin.part").stat().st_size <= HALF

    fetch(server.url("file.bin"), place, checksum=SHA256)
    assert place.read_bytes() == CONTENT


def test_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="could not be written"):
        fetch(server.url("file.bin"), tmp_path / "taken" / "file.bin")


@pytest.mark.parametrize("way", ["file.bin", "plain.bin"])
def test_several_at_once_fetch_once(server: Server, place: Path, way: str) -> None:
    gate = threading.Barrier(4)
    done: list[Path] = []

    def work() -> None:
        gate.wait()
        done.append(fetch(server.url(way), place, checksum=SHA256))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert done == [place] * 4
    assert len(server.asked) == 1
    assert left(place) == ["file.bin"]


def test_waiting_process_takes_over_after_a_failure(server: Server, place: Path) -> None:
    failures: list[Exception] = []

    def fail() -> None:
        try:
            fetch(server.url("stall.bin"), place, checksum="md5:00000000")
        except UserError as error:
            failures.append(error)

    first = threading.Thread(target=fail)
    first.start()
    part = place.with_name("file.bin.part")
    while not part.exists() or part.stat().st_size == 0:
        time.sleep(0.01)
    second = threading.Thread(
        target=fetch, args=(server.url("file.bin"), place), kwargs={"checksum": SHA256}
    )
    second.start()
    server.release.set()  # the stalled answer ends, short of what it promised
    first.join()
    second.join()

    assert len(failures) == 1
    assert place.read_bytes() == CONTENT


@pytest.mark.parametrize("checksum", ["sha256:12345", "crc32:12345678", "12345678", "md5:zzzzzzzz"])
def test_malformed_checksum_is_a_defect(place: Path, checksum: str) -> None:
    with pytest.raises(ValueError, match="no checksum"):
        verify(place, checksum)
