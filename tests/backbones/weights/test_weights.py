"""Files of weights: which one an address means, and whose names are behind a prefix."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import timm
import torch
from safetensors.torch import save_file

from backbones.common.errors import UserError
from backbones.weights import weights
from tests.support.toolbox_names import toolbox_names

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
    with pytest.raises(UserError, match="not 0676ba61"):
        bias_at(f"{address}/net-0676ba61.pth")


# --- Prefixes -------------------------------------------------------------------------------------


@functools.cache
def state_of(architecture):
    """Random values under timm's names, other ones in each tensor."""
    torch.manual_seed(0)
    state = timm.create_model(architecture).state_dict()
    values = {k: torch.randn(v.shape) if v.is_floating_point() else v for k, v in state.items()}
    return {k: v.abs() if k.endswith("running_var") else v for k, v in values.items()}


def behind(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def load(state, architecture, folder):
    """The feature extractor that has loaded a file with this state, and the report."""
    path = folder / "saved.pth"
    torch.save(state, path)
    network = timm.create_model(architecture, features_only=True)
    report = weights.load_into_features(network, architecture, str(path))
    return network.state_dict(), report


def require_loaded(loaded, architecture):
    own = {name.replace(".", "_"): tensor for name, tensor in state_of(architecture).items()}
    for name, tensor in loaded.items():
        assert torch.equal(tensor, own[name.replace(".", "_")]), name


@pytest.mark.parametrize(
    "prefix", ["model.", "backbone.", "module.model.", "net.encoder.backbone."]
)
@pytest.mark.parametrize("architecture", ["resnet18d", "convnext_atto", "efficientnet_b0"])
def test_names_behind_a_prefix_are_found_and_the_prefix_is_reported(architecture, prefix, tmp_path):
    loaded, report = load(behind(prefix, state_of(architecture)), architecture, tmp_path)
    require_loaded(loaded, architecture)
    by_key_maps = {"module.model.": "model."}  # torch's own is taken off in any case
    if (architecture, prefix) != ("resnet18d", "backbone."):  # OpenMMLab's, which key_maps knows
        taken = by_key_maps.get(prefix, prefix)
        assert f"names, behind '{taken}')" in report.lines()[0]
    assert report.left_over == ()


def test_the_toolboxes_names_are_translated_behind_a_prefix_too(tmp_path):
    state = behind("model.backbone.", toolbox_names(state_of("resnet18d")))
    loaded, report = load(state, "resnet18d", tmp_path)
    require_loaded(loaded, "resnet18d")
    assert (report.place, report.convention) == ("behind 'model.backbone.'", "mmseg")


def test_parts_outside_of_the_prefix_are_left_over(tmp_path):
    body = {k: v for k, v in state_of("convnext_atto").items() if not k.startswith("head.fc.")}
    extra = {"neck.conv.weight": torch.ones(1), "head.fc.weight": torch.ones(1)}
    loaded, report = load({**behind("backbone.", body), **extra}, "convnext_atto", tmp_path)
    require_loaded(loaded, "convnext_atto")
    assert report.left_over == ("neck.conv.weight",)
    assert report.head == ("head.fc.weight",)


def test_one_stray_name_is_reported_and_does_not_hide_the_prefix_of_all_others(tmp_path):
    state = behind("model.", state_of("convnext_atto")) | {"stem.0.bias": torch.ones(40)}
    with pytest.raises(UserError, match=r"'stem\.0\.bias'") as caught:
        load(state, "convnext_atto", tmp_path)
    assert "0 keys match" not in str(caught.value)


def test_names_without_a_prefix_are_reported_without_one(tmp_path):
    _, report = load(state_of("convnext_atto"), "convnext_atto", tmp_path)
    assert report.place == ""
    assert "behind" not in report.lines()[0]


@pytest.mark.parametrize("other", ["ema_model.module.", "teacher."])
@pytest.mark.parametrize("with_buffers", [True, False])
def test_the_network_under_two_prefixes_is_refused(other, with_buffers, tmp_path):
    state = state_of("resnet18d")
    copy = {k: v + 1 for k, v in state.items() if with_buffers or "running" not in k}
    both = {**behind("model.", state), **behind(other, copy)}
    with pytest.raises(UserError, match=f"twice, under 'model.' and '{other}', with"):
        load(both, "resnet18d", tmp_path)


@pytest.mark.parametrize(
    ("of", "into"), [("resnet34", "resnet18"), ("resnet18", "resnet34"), ("resnet18", "resnet50")]
)
def test_another_network_is_refused_behind_a_prefix_too(of, into, tmp_path):
    with pytest.raises(UserError, match=f"are not those of '{into}'"):
        load(behind("model.", state_of(of)), into, tmp_path)


# --- Tensors that the network lacks ---------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["norm_pre.weight", "reg_token", "register_tokens", "patch_drop.x", "patch_embed.norm"]
)
def test_a_part_that_makes_it_another_network_of_its_kind_is_refused(name, tmp_path):
    state = state_of("eva02_tiny_patch14_224") | {name: torch.ones(192)}
    with pytest.raises(UserError, match=f"1 without a place, such as {name}"):
        load_plain(state, "eva02_tiny_patch14_224", tmp_path)


def load_plain(state, architecture, folder):
    """The report of a file with this state, of a network of one stride."""
    torch.save(state, folder / "saved.pth")
    network = timm.create_model(architecture)
    return weights.load_into_features(network, architecture, str(folder / "saved.pth"))


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("inception_v3", "AuxLogits.fc.weight"),
        ("resnet18", "global_pool.p"),
        ("test_vit", "fc_norm.x"),
    ],
)
def test_pools_and_heads_that_this_network_leaves_empty_are_only_named(
    architecture, name, tmp_path
):
    report = load_plain(state_of(architecture) | {name: torch.ones(3)}, architecture, tmp_path)
    assert report.dropped() == f"'{name.split('.')[0]}' (1)"


def test_parts_that_a_backbone_lacks_are_counted(tmp_path):
    extra = {f"{name}.{i}.weight": torch.ones(1) for name in "abcdefg" for i in range(2)}
    more = {"attn_pool.q.weight": torch.ones(1), "mask_token": torch.ones(1)}
    report = load_plain(state_of("test_vit") | more | extra, "test_vit", tmp_path)
    assert (
        report.dropped() == "'attn_pool' (1), 'mask_token' (1), 'a' (2), 'b' (2), 'c' (2), 4 more"
    )
    assert load_plain(state_of("test_vit"), "test_vit", tmp_path).dropped() == ""


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("swin_tiny_patch4_window7_224", "layers.0.blocks.0.attn.relative_position_index"),
        ("eva02_tiny_patch14_224", "rope.freqs_cos"),
    ],
)
def test_buffers_that_timm_computes_are_no_part(architecture, name, tmp_path):
    stored = state_of(architecture) | {name: torch.zeros(49, 49)}
    assert load_plain(stored, architecture, tmp_path).dropped() == ""


# --- Other sizes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "into"),
    [
        ("vit_tiny_patch16_384", "vit_tiny_patch16_224"),
        ("vit_tiny_patch16_224", "vit_tiny_patch16_384"),
        ("swin_base_patch4_window12_384", "swin_base_patch4_window7_224"),
    ],
)
def test_weights_for_images_of_another_size_name_their_network(of, into, tmp_path):
    with pytest.raises(UserError, match=f"of another size. Give the architecture '{of}'"):
        load_plain(state_of(of), into, tmp_path)


def test_a_size_that_timm_has_not_is_a_sentence(tmp_path):
    state = timm.create_model("vit_tiny_patch16_224", img_size=320).state_dict()
    with pytest.raises(UserError, match="timm has no 'vit_tiny_patch16_224' of that size"):
        load_plain(state, "vit_tiny_patch16_224", tmp_path)


def test_of_a_network_that_differs_in_more_no_size_is_named(tmp_path):
    state = state_of("vit_tiny_patch16_384") | {"norm.weight": torch.ones(3)}
    with pytest.raises(UserError, match="Give the architecture that they were trained"):
        load_plain(state, "vit_tiny_patch16_224", tmp_path)


# --- Files that are not there ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        ("net.safetensors", "net.pth", "that folder contains 'net.safetensors'"),
        ("Net.pth", "net.pth", "that folder contains 'Net.pth'"),
        ("pie\u0300ce.pth", "pi\u00e8ce.pth", "that folder contains 'pie\u0300ce.pth'"),
        ("resnet50_best.pth", "resnet50_bets.pth", "that folder contains 'resnet50_best.pth'"),
        ("folder/model.safetensors", "folder", "is a folder.*'model.safetensors'"),
        ("other.pth", "nowhere/net.pth", "of its parent folders, only '.*' exists"),
    ],
)
def test_what_is_in_the_place_of_a_missing_file_is_said(there, asked, expected, tmp_path):
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    with pytest.raises(UserError, match=f"There are no weights at .*{tmp_path}/.*{expected}"):
        weights.locate(str(tmp_path / asked))


def test_the_place_of_a_missing_file_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"'{tmp_path}/net.pth'"):
        weights.locate("net.pth")


def test_a_link_into_nothing_is_named(tmp_path):
    (tmp_path / "net.pth").symlink_to(tmp_path / "gone.pth")
    with pytest.raises(UserError, match=r"a link to '.*gone\.pth', which does not exist"):
        weights.locate(str(tmp_path / "net.pth"))
