"""Files of weights: which one an address means."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file

from backbones import weights
from backbones.errors import UserError

# --- Addresses ------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder, and the address at which its files are served."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def bias_at(address):
    return weights.read(weights.locate(address), "resnet18").tensors["fc.bias"].item()


def test_files_of_one_name_at_two_addresses_are_two(served):
    folder, address = served
    for name, value in {"r50-plain": 1.0, "r50-tricks": 2.0}.items():
        (folder / name).mkdir()
        save_file({"fc.bias": torch.tensor([value])}, folder / name / "model.safetensors")
    plain, tricks = (f"{address}/{name}/model.safetensors" for name in ("r50-plain", "r50-tricks"))
    assert (bias_at(plain), bias_at(tricks)) == (1.0, 2.0)
    (folder / "r50-plain" / "model.safetensors").unlink()
    assert bias_at(plain) == 1.0, "it is fetched once"


def test_what_follows_a_files_name_in_an_address_is_not_of_the_name(served):
    folder, address = served
    save_file({"fc.bias": torch.tensor([3.0])}, folder / "model.safetensors")
    assert bias_at(f"{address}/model.safetensors?download=true") == 3.0


def test_a_date_in_a_files_name_is_not_taken_for_its_checksum(served):
    folder, address = served
    torch.save({"fc.bias": torch.tensor([4.0])}, folder / "net-20240131.pth")
    assert bias_at(f"{address}/net-20240131.pth") == 4.0
    torch.save({"fc.bias": torch.tensor([4.0])}, folder / "net-0676ba61.pth")
    with pytest.raises(UserError, match="not the file that was expected"):
        bias_at(f"{address}/net-0676ba61.pth")
