"""Whether the hub of weights answers is known within seconds, whatever it does."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from backbones.weights import hub_status

SOURCE = "timm:resnet50.tv_in1k"


class Hub(BaseHTTPRequestHandler):
    """Has one network's weights, and stalls over another's."""

    def do_HEAD(self):
        if "stalls" in self.path:
            time.sleep(3)
        if "nonsense" in self.path:
            self.wfile.write(b"\0\1\2\r\n\r\n")
            return
        if "headers" in self.path:
            self.send_response(200)
            for number in range(500):
                self.send_header(f"X-{number}", "x")
            self.end_headers()
            return
        known = self.path == "/timm/resnet50.tv_in1k/resolve/main/model.safetensors"
        self.send_response(200 if known else 404)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        "huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}"
    )
    yield server
    server.shutdown()
    server.server_close()


def test_it_answers_for_what_it_has(served, monkeypatch):
    assert hub_status.answers(SOURCE)
    assert not hub_status.answers("timm:resnet50.nobodys")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert not hub_status.answers(SOURCE), "asked to stay offline"


def test_one_that_stalls_or_is_not_there_is_given_up(served, monkeypatch):
    monkeypatch.setattr(hub_status, "_SECONDS", 0.5)
    start = time.monotonic()
    assert not hub_status.answers("timm:stalls.in1k")
    assert time.monotonic() - start < 2
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    assert not hub_status.answers(SOURCE)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "no address")
    assert not hub_status.answers(SOURCE)


@pytest.mark.parametrize("answer", ["nonsense", "headers"])
def test_one_that_answers_nonsense_is_given_up_at_once(served, answer, capfd):
    start = time.monotonic()
    assert not hub_status.answers(f"timm:{answer}.in1k")
    assert time.monotonic() - start < 3
    assert capfd.readouterr().err == ""


def test_weights_put_into_the_cache_are_here(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path))
    assert not hub_status.is_here(SOURCE)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "resnet50.tv_in1k.safetensors").touch()
    assert hub_status.is_here(SOURCE)
