"""Weights under names of no known library: by order and shape, by a table, against logits."""

import functools
import re

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import checkpoint_filter_fn

from backbones.common.errors import UserError
from backbones.weights import weights
from backbones.weights.blueprint import blueprint
from backbones.weights.other_names import by_shape, by_table
from backbones.weights.renamed import renamed
from backbones.zoo.entry import BY_SHAPE
from tests.backbones.weights.test_weights import state_of

NETWORK = "test_resnet"


def foreign(state):
    """The same tensors under other names, as another author would call them."""
    names = {}
    for name in state:
        new = re.sub(r"layer(\d)\.(\d)", r"_blocks.\1\2", name)
        names[name] = re.sub(r"\.?(conv|bn)(\d)", r"._\1_\2", new).lstrip(".").replace("fc", "_fc")
    return {names[name]: tensor for name, tensor in state.items()}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path / "cache"))


def saved(state, folder):
    path = folder / "other.pth"
    torch.save(state, path)
    return path


@pytest.mark.parametrize("architecture", [NETWORK, "resnet18d", "efficientnet_b0", "convnext_atto"])
@pytest.mark.parametrize("form", ["whole", "without a head", "10 classes", "in a table"])
def test_by_order_and_shape_every_tensor_finds_its_place(architecture, form, tmp_path):
    state = state_of(architecture)
    plan = blueprint(architecture)
    if form == "without a head":
        state = {k: v for k, v in state.items() if not k.startswith(plan.heads)}
    if form == "10 classes":
        state = {k: v[:10] if k.startswith(plan.heads) and v.shape[0] == 1000 else v
                 for k, v in state.items()}  # fmt: skip
    other = {f"m.{k}": v for k, v in foreign(state).items()}
    path = saved({"net": other} if form == "in a table" else other, tmp_path)
    read = weights.read(path, architecture, BY_SHAPE)
    report = weights.match(architecture, read, str(path))
    assert report.convention == "other"
    assert len(report.matched) >= len(plan.parts)
    for name in report.matched:
        assert torch.equal(read.tensors[name], state[name]), name


def test_the_sentence_about_other_names_says_that_the_shapes_are_the_same(tmp_path):
    path = saved(foreign(state_of(NETWORK)), tmp_path)
    with pytest.raises(UserError, match=f"shapes of '{NETWORK}' but other.*rename = \"by shape\""):
        weights.match(NETWORK, weights.read(path, NETWORK), str(path))
    with pytest.raises(UserError, match="are not those of 'resnet18'"):
        weights.match("resnet18", weights.read(path, "resnet18"), str(path))


def swapped(names, one, other):
    names = list(names)
    i, j = names.index(one), names.index(other)
    names[i], names[j] = names[j], names[i]
    return names


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (lambda s: {k: s[k] for k in sorted(s)}, "has the shape|does not fit|order"),
        (lambda s: {k: s[k] for k in swapped(s, "_bn_1.weight", "_bn_1.running_var")},
         "'_bn_1.running_var' would be 'bn1.weight'"),
        (lambda s: {f"p{i}": v for i, v in enumerate(s.values())}, "its name does not fit"),
        (lambda s: dict(list(s.items())[1:]), "has the shape|but the"),
        (lambda s: {"first": torch.zeros(3), **s}, "but the|has the shape"),
        (lambda s: {k: s[k] for k in swapped(s, "_blocks.10._conv_1.weight",
                                             "_blocks.10._conv_2.weight")}, "has the shape|order"),
    ],
)  # fmt: skip
def test_where_order_and_shape_leave_a_choice_nothing_is_taken(state, why, tmp_path):
    other = foreign({k: v for k, v in state_of(NETWORK).items() if "num_batches" not in k})
    names, fault = by_shape(state(other), blueprint(NETWORK))
    assert not names
    assert re.search(why, fault), fault
    with pytest.raises(UserError, match="by order and shape"):
        weights.read(saved(state(other), tmp_path), NETWORK, BY_SHAPE)


def test_numbers_in_names_must_ascend_in_the_files_order():
    """Blocks of one shape, sorted as texts: 10 comes before 2."""
    state = {f"blocks.{i}.weight": torch.zeros(2, 2) for i in (0, 1, 10, 2)}
    shapes = {f"layer.{i}.weight": (2, 2) for i in range(4)}
    plan = blueprint(NETWORK)._replace(shapes=shapes, heads=(), parts=frozenset(shapes))
    assert "'blocks.2.weight' comes after 'blocks.10.weight'" in by_shape(state, plan)[1]
    ascending = {f"blocks.{i}.weight": torch.zeros(2, 2) for i in (0, 1, 2, 10)}
    assert by_shape(ascending, plan)[0]["blocks.10.weight"] == "layer.3.weight"


def test_a_table_renames_by_the_longest_beginning():
    state = {"a.b.weight": 1, "a.c.weight": 2, "ab.weight": 3, "head": 4}
    pairs = (("a", "x"), ("a.c", "y.z"), ("head", "fc.bias"))
    assert by_table(state, pairs) == {"x.b.weight": 1, "y.z.weight": 2, "ab.weight": 3,
                                      "fc.bias": 4}  # fmt: skip
    assert by_table({"net.a.weight": 1}, (("net", ""),)) == {"a.weight": 1}
    with pytest.raises(UserError, match=r"has 'q\.r', but no name"):
        by_table(state, (("q.r", "x"),))
    with pytest.raises(UserError, match=r"two tensors of the weights one name, 'x\.weight'"):
        by_table({"a.weight": 1, "b.weight": 2}, (("a", "x"), ("b", "x")))


def test_a_table_gives_a_network_its_weights(tmp_path):
    state = state_of(NETWORK)
    pairs = tuple(zip(foreign(state), state, strict=True))
    path = saved({"net": foreign(state)}, tmp_path)
    read = weights.read(path, NETWORK, pairs)
    assert read.place == "in 'net'"
    assert weights.match(NETWORK, read, str(path)).left_over == ()
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in state.items())


# --- Logits as the reference ----------------------------------------------------------------------


@functools.cache
def reference():
    """An image and what the network computes of it under its own names."""
    network = timm.create_model(NETWORK).eval()
    network.load_state_dict(state_of(NETWORK))
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return {"image": image, "logits": network(image).clone()}


def test_renamed_weights_that_compute_the_references_logits_are_taken(tmp_path):
    save_file(reference(), tmp_path / "logits.safetensors")
    path = saved(foreign(state_of(NETWORK)), tmp_path)
    made = renamed(path, NETWORK, BY_SHAPE, str(tmp_path / "logits.safetensors"))
    network = timm.create_model(NETWORK).eval()
    network.load_state_dict(weights.read(made, NETWORK).tensors)
    with torch.inference_mode():
        found = network(reference()["image"])
    torch.testing.assert_close(found, reference()["logits"])
    assert renamed(path, NETWORK, BY_SHAPE, str(tmp_path / "logits.safetensors")) == made


def test_a_head_with_other_classes_is_renamed_and_compared(tmp_path):
    network = timm.create_model(NETWORK, num_classes=7).eval()
    image = reference()["image"]
    with torch.inference_mode():
        logits = network(image).clone()
    save_file({"image": image, "logits": logits}, tmp_path / "logits.safetensors")
    path = saved(foreign(network.state_dict()), tmp_path)
    made = renamed(path, NETWORK, BY_SHAPE, str(tmp_path / "logits.safetensors"))
    read = weights.read(made, NETWORK).tensors
    for name, value in network.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(read[name], value)


def test_two_tensors_of_one_shape_that_changed_places_are_seen_by_the_logits(tmp_path):
    state = foreign(state_of(NETWORK))
    scales = [k for k, v in state.items() if k.endswith("weight") and v.shape == (48,)]
    state[scales[0]], state[scales[1]] = state[scales[1]], state[scales[0]]
    save_file(reference(), tmp_path / "logits.safetensors")
    path = saved(state, tmp_path)
    assert renamed(path, NETWORK, BY_SHAPE), "not seen without the reference"
    with pytest.raises(UserError, match="do not compute the same"):
        renamed(path, NETWORK, BY_SHAPE, str(tmp_path / "logits.safetensors"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: {"image": r["image"]}, "must hold the tensors"),
        (lambda r: {**r, "image": r["image"][0]}, "must have the shape"),
        (lambda r: {**r, "image": r["image"][:, :1].contiguous()}, "does not accept the image"),
        (lambda r: {**r, "logits": r["logits"][:, :7].contiguous()}, "can be compared only"),
        (lambda r: {**r, "logits": r["logits"] * float("nan")}, "do not compute the same"),
    ],
)
def test_references_that_are_none_are_sentences(change, expected, tmp_path):
    save_file(change(reference()), tmp_path / "logits.safetensors")
    path = saved(foreign(state_of(NETWORK)), tmp_path)
    with pytest.raises(UserError, match=expected):
        renamed(path, NETWORK, BY_SHAPE, str(tmp_path / "logits.safetensors"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"logits": torch.zeros(2, 1).expand(2, 10**12)}, "with their values"),
        ({"image": torch.zeros(2, 3, 1, 1).expand(2, 3, 10**6, 10**6)}, "with their values"),
        ({"image": torch.zeros(2, 3, 1024, 1024)}, "2,097,152 pixels"),
        ({"logits": torch.zeros(2, 1 << 20)}, "can be compared only"),
    ],
)
def test_a_reference_cannot_ask_for_a_large_network(change, expected, tmp_path, monkeypatch):
    def built(*args, **settings):
        assert torch.empty(0).device.type == "meta"
        return create_model(*args, **settings)

    create_model = timm.create_model
    path = saved(foreign(state_of(NETWORK)), tmp_path)
    torch.save({**reference(), **change}, tmp_path / "logits.pth")
    monkeypatch.setattr(timm, "create_model", built)
    with pytest.raises(UserError, match=expected):
        renamed(path, NETWORK, BY_SHAPE, str(tmp_path / "logits.pth"))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("resnet18", "resnet18"), ("mobilenet_v2", "mobilenetv2_100")],
)
def test_a_network_of_torchvision_whose_order_is_timms_computes_its_logits(theirs, ours, tmp_path):
    """An independent implementation of the same network, with names of its own."""
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    network = getattr(models, theirs)(weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        logits = network(image).clone()
    save_file({"image": image, "logits": logits}, tmp_path / "logits.safetensors")
    path = saved(foreign(network.state_dict()), tmp_path)
    assert renamed(path, ours, BY_SHAPE, str(tmp_path / "logits.safetensors")).is_file()


def in_openais_layout(state):
    """A ViT's weights as OpenAI's CLIP names and shapes them."""
    swaps = {"patch_embed.proj": "conv1", "blocks.": "transformer.resblocks.", "qkv.": "in_proj_",
             "norm1": "ln_1", "norm2": "ln_2", "norm_pre": "ln_pre", "norm.": "ln_post.",
             "attn.proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
             "head.weight": "proj"}  # fmt: skip
    found = {}
    for name, tensor in state.items():
        for old, new in swaps.items():
            name = name.replace(old, new)
        found[f"visual.{name}"] = tensor
    found["visual.proj"] = found["visual.proj"].T
    del found["visual.head.bias"]
    found["visual.class_embedding"] = found.pop("visual.cls_token")[0, 0]
    found["visual.positional_embedding"] = found.pop("visual.pos_embed")[0]
    return found


@pytest.mark.parametrize("rename", ["", BY_SHAPE, (("visual.conv1", "patch_embed.proj"),)])
@pytest.mark.parametrize("behind", ["", "module."])
def test_clip_in_openais_layout_is_refused_with_what_converts_it(rename, behind, tmp_path):
    architecture = "test_vit"
    state = in_openais_layout(state_of(architecture))
    stored = {f"{behind}{k}": v for k, v in state.items()}
    with pytest.raises(UserError, match=r"OpenAI's CLIP.*checkpoint_filter_fn"):
        weights.read(saved(stored, tmp_path), architecture, rename)
    converted = checkpoint_filter_fn(state, timm.create_model(architecture))
    report = weights.match(
        architecture, weights.read(saved(converted, tmp_path), architecture), "converted"
    )
    assert report.left_over == ()
