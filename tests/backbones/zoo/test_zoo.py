"""The catalogue: the paper's rows, what stands for what, users' own rows, and all its networks."""

import pytest
import timm
import torch
from torch import nn

from backbones.common.errors import UserError
from backbones.openmmlab.backbone import TimmPyramid
from backbones.weights import hub, weights
from backbones.zoo import cost, paper_figures, zoo

# Millions of parameters as their publishers state them, rounded to two digits.
THE_NINE = {
    "resnet18": 11.69,
    "resnet26": 16.00,
    "resnet26d": 16.01,
    "resnet34": 21.80,
    "resnet34d": 21.82,
    "resnet50": 25.56,
    "resnet152": 60.19,
    "cse_resnet50": 28.09,
    "eca_resnet26t": 16.01,
}
TABLE_8 = [
    "resnet50_baseline",
    "resnet50d_efficient",
    "resnet50d_cosine",
    "resnet50d_smooth",
    "resnet50d_distill",
    "resnet50d_mixup",
    "resnet50d_mixup_distill",
]


def test_the_seven_rows_have_the_papers_figures():
    values = [(zoo.find(name).paper.top1, zoo.find(name).paper.voc_map) for name in TABLE_8]
    assert values == [
        (76.14, 77.54),
        (77.16, 78.30),
        (77.91, 79.23),
        (78.34, 80.71),
        (78.67, 80.96),
        (79.16, 81.10),
        (79.29, 81.33),
    ]


def test_every_row_but_the_first_adds_one_trick_to_the_row_above():
    tricks = [set(zoo.find(name).recipe.tricks()) for name in TABLE_8]
    efficient, cosine, smooth, distill, mixup, both = tricks[1:]
    assert tricks[0] == set()
    assert cosine - efficient == {"cosine"}
    assert smooth - cosine == {"label smoothing"}
    assert distill - smooth == {"distillation"}
    assert mixup - smooth == {"mixup"}
    assert both - smooth == {"distillation", "mixup"}


def test_tricks_stands_for_the_strongest_row_with_public_weights():
    row = zoo.find("resnet50d_tricks")
    public = [zoo.find(name) for name in TABLE_8 if zoo.find(name).weights]
    strongest = max(public, key=lambda r: r.paper.top1)
    assert row.alias_of == strongest.name
    assert row.weights == strongest.weights
    assert strongest.name in row.note


def test_every_control_is_a_row_of_the_same_family_without_tricks():
    for row in zoo.CATALOGUE.values():
        if row.control:
            control = zoo.find(row.control)
            assert control.recipe is None or control.recipe.tricks() == (), row.name


def test_every_named_network_exists_and_every_tag_is_timms():
    for row in zoo.CATALOGUE.values():
        assert timm.is_model(row.architecture), row.name
        if row.weights and row.weights.source.startswith("timm:"):
            name = row.weights.source.removeprefix("timm:")
            assert timm.get_pretrained_cfg(name, allow_unregistered=False), name
            assert name.split(".")[0] == row.architecture


@pytest.mark.parametrize("name", THE_NINE)
def test_the_nine_networks_have_their_published_size(name):
    parameters = cost.classifier_cost(zoo.find(name).architecture).parameters
    assert round(parameters / 1e6, 2) == THE_NINE[name]


@pytest.mark.parametrize("name", THE_NINE)
@pytest.mark.parametrize("output_stride", [32, 8])
def test_the_nine_networks_serve_a_pyramid_and_a_dilated_segmenter(name, output_stride):
    architecture = zoo.find(name).architecture
    with torch.device("meta"):
        network = TimmPyramid(architecture, output_stride=output_stride)
        maps = network(torch.zeros(1, 3, 64, 96))
    strides = [min(s, output_stride) for s in (4, 8, 16, 32)]
    assert [tuple(m.shape[2:]) for m in maps] == [(64 // s, 96 // s) for s in strides]
    assert [m.shape[1] for m in maps] == network.channels


@pytest.mark.parametrize("name", ["inception_v3_mixup", "mobilenet_mixup"])
def test_the_papers_other_networks_serve_as_far_as_they_can(name):
    architecture = zoo.find(name).architecture
    with torch.device("meta"):
        network = TimmPyramid(architecture)
        assert len(network(torch.zeros(2, 3, 96, 96))) == 4


def test_the_papers_mobilenet_is_howards_with_plain_relu():
    """Against its table 1 by hand; timm's own network cuts activations at 6."""

    def layer(inputs, outputs, kernel, stride, groups=1):
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]

    widths = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    layers = layer(3, 32, 3, 2)
    for inputs, outputs, stride in zip(widths[:-1], widths[1:], strides, strict=True):
        layers += [*layer(inputs, inputs, 3, stride, groups=inputs), *layer(inputs, outputs, 1, 1)]
    by_hand = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))
    architecture = zoo.find("mobilenet_baseline").architecture
    network = timm.create_model(architecture).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 2.0, 0.5)
    weights = network.state_dict()
    by_hand.load_state_dict(dict(zip(by_hand.state_dict(), weights.values(), strict=True)))
    cut = timm.create_model("mobilenetv1_100").eval()
    cut.load_state_dict(weights)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found, expected, other = network(images), by_hand.eval()(images), cut(images)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert not torch.allclose(other, expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


def test_the_original_resnet_strides_in_its_first_convolution():
    rows = [zoo.find("resnet50v1_baseline"), zoo.find("resnet50_baseline")]
    with torch.device("meta"):
        v1, b = (timm.create_model(row.architecture) for row in rows)
    strides = [
        [block.stride for block in network.layer2[0].modules() if isinstance(block, nn.Conv2d)]
        for network in (v1, b)
    ]
    assert strides[0][:2] == [(2, 2), (1, 1)]
    assert strides[1][:2] == [(1, 1), (2, 2)]


def test_any_network_of_timm_and_its_scratch():
    row = zoo.find("timm/convnext_tiny.fb_in1k")
    assert (row.architecture, row.weights.source) == ("convnext_tiny", "timm:convnext_tiny.fb_in1k")
    scratch = zoo.find("timm/convnext_tiny_scratch")
    assert scratch.scratch
    assert scratch.architecture == "convnext_tiny"
    assert zoo.find("resnet50d_tricks_scratch").architecture == "resnet50d"


@pytest.mark.parametrize(
    ("name", "row", "start"),
    [
        ("resnet50_baseline_scratch", "resnet50_baseline_scratch", "random:gamma=1"),
        ("resnet50_scratch", "resnet50_scratch", ""),
        ("resnet50b_smooth_scratch", "resnet50_scratch", ""),  # with zero gamma, like timm
    ],
)
def test_random_weights_of_a_row_start_as_its_training_does(name, row, start):
    scratch = zoo.find(name)
    assert (scratch.name, scratch.start, scratch.scratch) == (row, start, True)


def test_an_unknown_row_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="resnet50d_cosine"):
        zoo.find("resnet50d_cosin")


@pytest.mark.parametrize(
    "name",
    ["convnext_atto", "vit_tiny_patch16_224_scratch", "resnet32ts", "convnext_atto_shuffled"],
)
def test_a_network_of_timm_without_its_prefix_is_refused_with_it(name):
    network = name.removesuffix("_scratch").removesuffix("_shuffled")
    with pytest.raises(UserError, match=f"'timm/{network}', or 'timm/{network}_scratch' for rand"):
        zoo.find(name)


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_users_own_row(tmp_path):
    row = zoo.find(
        write(
            tmp_path,
            'architecture = "resnet18"\nweights = "w.safetensors"\nmean = [0.5, 0.5, 0.5]\n'
            'std = [0.2, 0.2, 0.2]\ntop1 = 70.5\ncontrol = "resnet18_baseline"\n',
        )
    )
    assert (row.name, row.architecture, row.control) == ("mine", "resnet18", "resnet18_baseline")
    assert row.weights.source == str(tmp_path / "w.safetensors")
    assert row.weights.top1 == 70.5
    assert row.weights.top1_on == "", "not reported"
    text = 'architecture = "resnet18"\nweights = "w.pth"\ntop1 = 70.5\ntop1_on = "my flowers"'
    assert zoo.find(write(tmp_path, text)).weights.top1_on == "my flowers"
    assert zoo.find("resnet50_baseline").weights.top1_on == "ImageNet"
    assert row.mean == (0.5, 0.5, 0.5)


def test_random_weights_are_asked_for_and_never_what_a_forgotten_line_means(tmp_path):
    text = 'architecture = "resnet18"\n'
    asked = zoo.find(write(tmp_path, text + 'weights = "random"\n'))
    assert (asked.scratch, asked.weights) == (True, None)
    forgotten = zoo.find(write(tmp_path, text))
    assert (forgotten.scratch, forgotten.weights) == (False, None)


@pytest.mark.parametrize("word", ["random", "none"])
def test_either_word_asks_for_random_weights(word, tmp_path):
    row = zoo.find(write(tmp_path, f'architecture = "resnet18"\nweights = "{word}"\n'))
    assert (row.scratch, row.weights) == (True, None)


def test_a_row_says_how_names_become_timms(tmp_path):
    text = 'architecture = "resnet18"\nweights = "w.pth"\n'
    assert zoo.find(write(tmp_path, text)).rename == ""
    row = zoo.find(write(tmp_path, text + 'rename = "by shape"'))
    assert row.rename == "by shape"
    assert "by order and shape" in row.note
    table = text + '[rename]\n"a.b" = "conv1"\nc.d = "bn1"\n'
    assert zoo.find(write(tmp_path, table)).rename == (("a.b", "conv1"), ("c.d", "bn1"))
    (tmp_path / "l.pth").touch()
    row = zoo.find(write(tmp_path, text + 'rename = "by shape"\nreference = "l.pth"'))
    assert row.reference == str(tmp_path / "l.pth")
    assert "l.pth" in row.note


def test_a_control_that_is_a_file_lies_beside_the_row_that_names_it(tmp_path):
    row = zoo.find(write(tmp_path, 'architecture = "resnet18"\ncontrol = "plain/b.toml"\n'))
    assert row.control == str(tmp_path / "plain" / "b.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("architecture = ", "not valid TOML"),
        ('weights = "a.pth"', "names no network"),
        ('architecture = "resnet18"\nlr = 0.1', "unknown entry 'lr'"),
        ('architecture = "resnet18"\nmean = [1, 2]', "three numbers from 0 to 1"),
        ('architecture = "resnet18"\nname = "resnet50_baseline"', "a row of the zoo"),
        ('architecture = "resnet18"\nname = "../x"', "other characters than allowed"),
        ('architecture = "resnet18"\nname = "mine_scratch"', "reserved for controls"),
        ('architecture = "resnet18"\nname = "mine_shuffled"', "reserved for controls"),
        ('architecture = "resnet18"\nweights = "random"\ntop1 = 50', "but no 'weights'"),
        ('architecture = ""', "names no network"),
        ('architecture = "timm/resnet18"', "without 'timm/'"),
        ('architecture = "resnet18"\nstd = [0.2, 0.0, 0.2]', "'std' .* has a zero"),
        ('architecture = "resnet18"\nmean = [nan, 0.0, 0.2]', "three numbers from 0 to 1"),
        ('architecture = "resnet18"\ntop1 = nan', "'top1' .* must be in percent"),
        ('architecture = "resnet18"\ntop1 = 7910', "'top1' .* must be in percent"),
        ('architecture = "resnet18"\ntop1 = 0.791', "'top1' .* must be in percent"),
        ('architecture = "resnet18"\ntop1 = 79.1', "but no 'weights'"),
        ('architecture = "resnet18"\nrename = "by shape"', "'rename' but no 'weights'"),
        ('architecture = "resnet18"\nweights = "a.pth"\nrename = "by name"', "'rename' .* must be"),
        ('architecture = "resnet18"\nweights = "a.pth"\nrename = 3', "'rename' .* must be"),
        (
            'architecture = "resnet18"\nweights = "a"\n[rename]\na.b = 3',
            r"'rename\.a\.b' .* a text",
        ),
        ('architecture = "resnet18"\nweights = "a"\nreference = "b"', "no 'rename' that it could"),
        (
            'architecture = "resnet18"\nweights = "a"\nrename = "by shape"\nreference = "b"',
            "There are no weights at .*/b'",
        ),
    ],
)
def test_a_users_row_that_is_wrong(text, message, tmp_path):
    with pytest.raises(UserError, match=message):
        zoo.find(write(tmp_path, text))


@pytest.mark.parametrize(
    "address",
    ["https://", "https://host", "https://host/", "https://host/..", "https://[host/net.pth"],
)
def test_an_address_without_a_file_is_refused(address):
    with pytest.raises(UserError, match="names no file of weights"):
        weights.locate(address)


def test_names_of_files_tell_their_checksums():
    mmpretrain = zoo.find("resnet50d_efficient").weights.source.rsplit("/", 1)[-1]
    assert hub._checksum_in(mmpretrain) == "sha256:db14775a"
    assert hub._checksum_in("resnet18-5c106cde.pth") == "sha256:5c106cde"
    assert hub._checksum_in("resnet50-0676ba61.pth") == "sha256:0676ba61"
    assert hub._checksum_in("resnet50_v1d-00319ddc.zip") == ""
    assert hub._checksum_in("mine.pth") == ""
    for stamp in ("20240131", "00012000", "20240131120000"):
        assert hub._checksum_in(f"net-{stamp}.pth") == "", "a date or a count of steps"


def test_no_row_of_the_paper_is_in_the_zoo_twice():
    figures = [paper_figures.figures(name) for name in TABLE_8]
    assert len({f.top1 for f in figures}) == 7
