"""Top-1 of classifiers with their heads, against a forward pass by hand."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from backbones import evaluate
from backbones.common.errors import UserError
from backbones.training import top1
from backbones.zoo.zoo import find

CLASSES = {"n01440764": 0, "n01484850": 2, "n02099601": 207}  # ImageNet's places of these ids
NETWORK = "timm/resnet10t"
HALF = ((127.5,) * 3, (127.5,) * 3)
SIZE = 56  # images of 64 pixels are not resized


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in CLASSES:
            place = tmp_path / "images" / split / name
            place.mkdir(parents=True)
            for number in range(5):
                noise = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(noise).save(place / f"{number}.png")
    return tmp_path / "images"


def network(classes=1000):
    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=classes).eval()


def hits_by_hand(model, folder, columns):
    """Images whose label has the largest logit of some columns."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    hits = 0
    for name, column in columns.items():
        for path in (folder / "val" / name).iterdir():
            crop = np.array(Image.open(path))[4:60, 4:60]
            image = (torch.from_numpy(crop).permute(2, 0, 1) / 255 - mean) / std
            with torch.inference_mode():
                logits = model(image[None])[0]
            hits += max(columns.values(), key=lambda at: logits[at]) == column
    return hits


def test_a_head_of_imagenet_is_restricted_to_the_folders_classes(folder, tmp_path, capsys):
    model = network()
    with torch.no_grad():
        model.fc.weight.mul_(50)
        model.fc.bias[500] += 1000  # a class without a folder would always win
    torch.save(model.state_dict(), tmp_path / "w.pth")
    found = top1.measure(find(NETWORK), str(tmp_path / "w.pth"), folder, size=SIZE, batch_size=4)
    expected = hits_by_hand(model, folder, CLASSES)
    assert 0 < expected < 15
    assert found == top1.Top1(hits=expected, images=15, classes=3, of_head=1000)
    low, high = found.interval
    assert 0 < low < found.percent < high < 100
    arguments = ["--backbone", NETWORK, "--weights", str(tmp_path / "w.pth")]
    assert evaluate.main([*arguments, "--data", str(folder), "--image-size", str(SIZE)]) == 0
    printed = capsys.readouterr().out
    assert f"top-1 {found.percent:.2f} %" in printed
    assert "3 classes of the 1,000 in its head" in printed


def test_a_file_that_states_its_classes_is_judged_by_their_order(folder, tmp_path):
    model = network(4)
    with torch.no_grad():
        model.fc.weight.mul_(50)
    order = ["n02099601", "other", "n01440764", "n01484850"]
    own = {"classes": order, "architecture": "resnet10t", "row": "r"}
    path = tmp_path / "w.safetensors"
    save_file(model.state_dict(), path, {"transfer_bench": json.dumps(own)})
    found = top1.measure(find(NETWORK), str(path), folder, size=SIZE)
    assert found.hits == hits_by_hand(model, folder, {name: order.index(name) for name in CLASSES})
    assert (found.classes, found.of_head) == (3, 4)


def own_row(tmp_path, weights, more=""):
    """A user's row of these weights."""
    path = tmp_path / "own.toml"
    path.write_text(f'architecture = "resnet10t"\nweights = "{weights}"\n{more}')
    return str(path)


def test_renamed_weights_must_reproduce_the_rows_reference(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path / "cache"))
    model = network()
    torch.save({f"net_{k}": v for k, v in model.state_dict().items()}, tmp_path / "w.pth")
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        logits = model(images)
    row = own_row(tmp_path, "w.pth", 'rename = "by shape"\nreference = "logits.safetensors"')
    arguments = ["--backbone", row, "--data", str(folder), "--image-size", str(SIZE)]
    for change, code, said in ((0, 0, "top-1"), (1, 2, "do not compute the same")):
        stored = {"image": images, "logits": logits + change * torch.randn(2, 1000)}
        save_file(stored, tmp_path / "logits.safetensors")
        assert evaluate.main(arguments) == code
        assert said in "".join(capsys.readouterr())


def test_a_users_row_is_normalised_as_in_a_fine_tuning(folder, tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(top1, "preprocessing", lambda own, **stated: given.update(stated) or HALF)
    torch.save(network().state_dict(), tmp_path / "w.pth")
    row = find(own_row(tmp_path, "w.pth", "std = [0.5, 0.5, 0.5]"))
    top1.measure(row, row.weights.source, folder, size=SIZE)
    assert given["mean"] == (0.485, 0.456, 0.406)
    assert given["std"] == (0.5, 0.5, 0.5)


def test_a_row_that_contradicts_its_weights_is_refused(folder, tmp_path):
    own = {"transfer_bench": json.dumps({"mean": [1, 2, 3], "std": [4, 5, 6]})}
    save_file(network().state_dict(), tmp_path / "w.safetensors", own)
    row = find(own_row(tmp_path, "w.safetensors", "mean = [0.5, 0.5, 0.5]"))
    with pytest.raises(UserError, match="states the mean"):
        top1.measure(row, row.weights.source, folder, size=SIZE)


def test_a_head_without_the_folders_classes_is_refused(folder, tmp_path):
    torch.save(network(7).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"7 classes.*3 class folders"):
        top1.measure(find(NETWORK), str(tmp_path / "w.pth"), folder, size=SIZE)


def test_weights_without_a_head_are_refused(folder, tmp_path):
    state = {k: v for k, v in network().state_dict().items() if not k.startswith("fc.")}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"has no 'fc\.weight'"):
        top1.measure(find(NETWORK), str(tmp_path / "w.pth"), folder, size=SIZE)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fc.weight": torch.tensor(1.0)}, r"has no 'fc\.weight'"),
        ({"fc.bias": torch.zeros(3)}, r"has no 'fc\.bias' of the shape \(1000,\)"),
    ],
)
def test_a_damaged_head_is_one_sentence(changes, sentence, folder, tmp_path):
    torch.save({**network().state_dict(), **changes}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=sentence):
        top1.measure(find(NETWORK), str(tmp_path / "w.pth"), folder, size=SIZE)


def test_what_else_is_beside_a_head_is_not_loaded(folder, tmp_path):
    model = network()
    torch.save({**model.state_dict(), "fc.extra": torch.zeros(3)}, tmp_path / "w.pth")
    found = top1.measure(find(NETWORK), str(tmp_path / "w.pth"), folder, size=SIZE)
    assert found.of_head == 1000


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--backbone", "resnet18_scratch"], "no public weights"),
        (["--backbone", NETWORK, "--image-size", "0"], "must be 1 or more"),
    ],
)
def test_what_must_be_corrected_first(more, sentence, folder, capsys):
    assert evaluate.main([*more, "--data", str(folder)]) == 2
    assert sentence in capsys.readouterr().err
