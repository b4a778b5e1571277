"""The hub and addresses that are absent, stall, cut off or send something else than weights."""

import io
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save

from backbones.common.errors import UserError
from backbones.weights import weights

NAME = "timm:test_resnet.r160_in1k"
FILE = "test_resnet.r160_in1k.safetensors"
CONTENT = save({"fc.bias": torch.arange(1000.0)})


def torch_file(saved):
    file = io.BytesIO()
    torch.save(saved, file)
    return file.getvalue()


@pytest.fixture
def served(monkeypatch, tmp_path):
    """A hub on loopback: what it answers with, and how often it was asked."""
    answer = {"body": CONTENT, "length": None, "status": 200, "type": "application/octet-stream",
              "wait": 0.0, "asked": 0}  # fmt: skip
    release = threading.Event()

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            answer["asked"] += 1
            release.wait(answer["wait"])
            length = len(answer["body"]) if answer["length"] is None else answer["length"]
            self.send_response(answer["status"])
            self.send_header("Content-Type", answer["type"])
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        _point_to(f"http://127.0.0.1:{http.server_port}", monkeypatch, tmp_path)
        answer["address"] = f"http://127.0.0.1:{http.server_port}"
        yield answer
        release.set()
        http.shutdown()


def _point_to(address, monkeypatch, tmp_path):
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def kept(tmp_path):
    return [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_weights_are_fetched_from_the_hub_once(served, tmp_path):
    path = weights.locate(NAME)
    assert path == tmp_path / "cache" / "weights" / FILE
    assert torch.equal(load_file(path)["fc.bias"], torch.arange(1000.0))
    served["status"] = 500
    assert weights.locate(NAME) == path
    assert served["asked"] == 1


def test_a_hub_that_does_not_answer_is_absent_within_five_seconds(served, tmp_path):
    served["wait"] = 30.0
    began = time.monotonic()
    with pytest.raises(UserError, match="could not be downloaded from the hub") as caught:
        weights.locate(NAME)
    assert time.monotonic() - began < 5
    assert f"put it at '{tmp_path / 'cache' / 'weights' / FILE}'" in str(caught.value)
    assert kept(tmp_path) == []


def test_a_hub_that_nobody_runs_is_absent_at_once(monkeypatch, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    _point_to(address, monkeypatch, tmp_path)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"could not be reached.*--weights"):
        weights.locate(NAME)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"status": 404}, "returned 404"),
        ({"status": 503}, "returned 503"),
        ({"body": b"<html>log in</html>", "type": "text/html"}, "a web page"),
        ({"body": b'{"error": "busy"}', "type": "application/json"}, "did not send weights"),
        ({"body": bytes(5000)}, "did not send weights"),
        ({"body": CONTENT[:-1]}, "did not send weights"),
        ({"body": CONTENT[:500], "length": len(CONTENT)}, "was interrupted"),
    ],
)
def test_what_is_cut_off_or_no_weights_is_a_sentence_and_not_kept(answer, expected, served,
                                                                    tmp_path):  # fmt: skip
    served |= answer
    with pytest.raises(UserError, match=expected):
        weights.locate(NAME)
    assert FILE not in kept(tmp_path)
    served |= {"status": 200, "body": CONTENT, "length": None, "type": "application/octet-stream"}
    assert weights.locate(NAME).is_file(), "the next run is not spoilt"


def test_an_address_that_sends_no_weights_is_a_sentence_and_not_kept(served, tmp_path):
    address = f"{served['address']}/net.pth"
    for body in (b"nonsense", CONTENT, torch_file({"fc.bias": torch.ones(2)})[:-9]):
        served["body"] = body
        with pytest.raises(UserError, match="did not send weights"):
            weights.locate(address)
        assert kept(tmp_path) == []
    served["body"] = torch_file({"fc.bias": torch.ones(2)})
    assert weights.locate(address).read_bytes() == served["body"]


def test_without_the_hub_the_caches_serve_and_nothing_is_asked(served, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE forbids"):
        weights.locate(NAME)
    place = tmp_path / "cache" / "weights" / FILE
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert weights.locate(NAME) == place
    assert served["asked"] == 0
