"""A config that comes from data names nothing that is called, wherever it is read."""

import contextlib
import copy
import functools
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope

from backbones.common.errors import UserError
from backbones.runtime import checkpoint
from backbones.zoo import zoo
from tests.support.composed import cell, composed
from tests.support.tripwire import tripwire
from transfer import (
    openmmlab,  # noqa: F401  (registers everything, and closes what unpickles)
)
from transfer.cli import main
from transfer.compat import allowed_names
from transfer.compat.foreign_configs import fault_of_record, fault_of_setting
from transfer.compat.registered import registered
from transfer.datasets import catalogue
from transfer.finetune.predict import FinishedCell
from transfer.plan import suites
from transfer.protocols import compose, protocols
from transfer.records import finished_run, imported, records
from transfer.records.records import Record

ROOT = Path(__file__).resolve().parents[3]
TASKS = {"detection": "mmdet", "segmentation": "mmseg"}

FOREIGN_TYPES = (
    # functions, by the ways that MMEngine's registries find them
    *("mmengine.call_command", "mmengine.load", "mmengine.put_text", "os.system", "subprocess.run"),
    *("builtins.exec", "planted.call", "pseudo_collate", "default_collate"),
    # modules, of which importing alone runs code
    *("planted", "os", "mmengine", "mmengine.utils"),
    # classes that no registry has
    *("subprocess.Popen", "pathlib.Path", "torch.nn.Conv2d", "mmengine.runner.Runner"),
    # names with a scope
    *("mmdet.FasterRCNN", "mmengine.SGD", "mmseg.LoadBiomedicalData", "planted.SGD", ".SGD"),
    # registered classes that read files or run programs
    *("BaseDetDataset", "VOCDataset", "OpenImagesDataset", "LoadBiomedicalData", "LoadProposals"),
    *("Pretrained", "DVCLiveVisBackend", "CameraMotionCompensation", "Albu", "RFSearchHook"),
    *("", "SGD ", "sgd", "__import__('os').system('true')"),
)
FOREIGN_VALUES = ([], ["SGD"], {}, {"type": "SGD"}, 3, True, None)
OBJECTS = (os.system, os, subprocess.Popen, Path, len, b"SGD", lambda: None)
FOREIGN_TEXTS = {
    **dict.fromkeys(("proposal_file", "checkpoint", "load_from", "class_weight"), "evil.pkl"),
    **dict.fromkeys(("decode_backend", "imdecode_backend"), "pickle"),
    **dict.fromkeys(("collate_fn", "worker_init_fn", "runner_type"), "planted.call"),
    **dict.fromkeys(("constructor", "_scope_", "default_scope", "imports"), "planted"),
    **dict.fromkeys(("_base_", "custom_imports", "init_cfg", "pretrained", "batch_sampler"), "x"),
    **dict.fromkeys(("cmd", "backend", "hierarchy_file", "warp_mode", "mode"), "true"),
    **dict.fromkeys(("architecture",), "hf-hub:someone/net"),
}

keys = st.sampled_from(
    ["model", "neck", "roi_head", "mask_head", "custom_hooks", "dataset", "pipeline", "train_cfg",
     "_delete_", "scale", "0", "init_cfg", "custom_imports", "collate_fn", "nms", "clip_grad"]
)  # fmt: skip
plain = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False)


def tables(leaves):
    """Tables that have at least one of the leaves in them, somewhere."""

    def around(inner):
        lists = st.tuples(st.lists(plain, max_size=2), inner).map(lambda two: [*two[0], two[1]])
        extra = st.dictionaries(keys, plain, max_size=2)
        return lists | st.tuples(extra, keys, inner).map(lambda t: {**t[0], t[1]: t[2]})

    return st.recursive(leaves, around, max_leaves=6)


typed = st.builds(
    lambda name, rest: {**rest, "type": name},
    st.sampled_from([*FOREIGN_TYPES, *FOREIGN_VALUES]),
    st.dictionaries(keys, plain, max_size=2),
)
texts = st.sampled_from(sorted(FOREIGN_TEXTS.items())).map(lambda pair: dict([pair]))
foreign = tables(typed | texts)
objects = tables(st.sampled_from(OBJECTS).map(lambda thing: {"type": thing}))

walk = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def planted(tmp_path, monkeypatch):
    """A module that leaves a file when it is imported, where an import by name would find it."""
    folder = tmp_path / "planted"
    folder.mkdir()
    for name in ("planted", "SGD_", "evil"):
        (folder / f"{name}.py").write_text(f"open({str(folder / 'marker')!r}, 'w')")
    monkeypatch.syspath_prepend(str(folder))
    yield
    assert not (folder / "marker").exists()
    assert "planted" not in sys.modules


@pytest.fixture(scope="module")
def recorded(cache):
    """Gives a quick cell's config of a task, as its record has it."""

    @functools.cache
    def text(task):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRANSFER_CACHE", str(cache))
            return json.dumps(compose.resolved(composed(cell(task), cache / "sample")))

    return lambda task: json.loads(text(task))


def placed(tree, value, draw):
    """A copy of a tree with a value put in at a place that is drawn."""
    tree = copy.deepcopy(tree)
    node = tree
    while True:
        inner = [k for k, v in _items(node) if isinstance(v, dict | list) and v]
        if not inner or draw(st.integers(0, 3)) == 0:
            break
        node = node[draw(st.sampled_from(inner))]
    if isinstance(node, list):
        node.append(value)
    else:
        node[draw(st.sampled_from([*node, "new"]) if node else st.just("new"))] = value
    return tree


def _items(node):
    return list(node.items() if isinstance(node, dict) else enumerate(node))


@walk
@given(tree=foreign | objects)
def test_every_tree_that_names_something_foreign_is_seen(tree):
    assert fault_of_record({"model": tree})
    assert fault_of_setting("model.neck", tree)


@walk
@given(data=st.data(), task=st.sampled_from(sorted(TASKS)))
def test_a_record_is_refused_wherever_its_config_names_it(data, task, recorded, small_sample):
    config = placed(recorded(task), data.draw(foreign), data.draw)
    record = Record(Path("evil.json"), {"config": {"json": json.dumps(config)}})
    sample = catalogue.load("sample", small_sample.parent)
    with tripwire(), pytest.raises(UserError, match=r"'evil.json' was refused"):
        FinishedCell(record, sample, Path())


@walk
@given(
    place=st.lists(keys, max_size=4),
    pair=st.sampled_from([("type", name) for name in FOREIGN_TYPES if name])
    | st.sampled_from(sorted(FOREIGN_TEXTS.items())),
    key=st.sampled_from(["overrides", "vary", "overrides.detection", "vary.segmentation"]),
    several=st.booleans(),
)
def test_a_suite_is_refused_wherever_it_names_it(place, pair, key, several, tmp_path):
    name, text = ".".join([*place, pair[0]]), [pair[1], pair[1]] if several else pair[1]
    if "vary" in key:
        text = [0.5, text]
    path = tmp_path / "evil.toml"
    path.write_text(
        f'kind = "transfer"\nrows = ["resnet18_scratch"]\n[{key}]\n{json.dumps(name)} = '
        f"{json.dumps(text)}"  # whose lists, texts and numbers are TOML's too
    )
    with tripwire(), pytest.raises(UserError, match=r"suite '.*evil.toml' was refused"):
        suites.load(str(path))


@functools.cache
def protocol():
    return Config.fromfile(protocols.config_file("segmentation", "quick"))


@walk
@given(
    place=st.lists(keys.filter(lambda key: key != "0"), min_size=1, max_size=3),
    tree=foreign | objects,
)
def test_what_a_cell_overrides_is_looked_at_again_where_it_is_built(place, tree, small_sample):
    overrides = ((".".join(place), tree),)
    evil = cell("segmentation", overrides=overrides)
    with pytest.MonkeyPatch.context() as patch:  # reading a config file leaves copies of it
        base = protocol()
        patch.setattr(Config, "fromfile", lambda _: copy.deepcopy(base))
        for build in (lambda: composed(evil, small_sample), lambda: compose.network_parts(evil)):
            with tripwire(), pytest.raises(UserError, match="were refused"):
                build()


@walk
@given(tree=foreign)
def test_no_other_reader_calls_what_it_reads(tree, tmp_path):
    """Imports and states are data that is never built; a row's file names a network of timm's."""
    run = tmp_path / "run" / "vis_data"
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.py").write_text(f"model = {tree!r}\ntrain_cfg = dict(max_epochs=1)")
    (run / "scalars.json").write_text('{"mIoU": 10.0, "step": 1}')
    checkpoint.save_checkpoint(tmp_path, {"identity": "a", "iteration": 1, "config": tree})
    row = tmp_path / "row.toml"
    row.write_text(f'architecture = {json.dumps(str(tree.get("type") if tree else tree))}'
                   if isinstance(tree, dict) else 'architecture = "planted"')  # fmt: skip
    with tripwire():
        content = imported.record_of(finished_run.read_run(run.parent), "", "", None)
        assert checkpoint.load_state(tmp_path, "a")["config"] == tree
        with contextlib.suppress(UserError):
            zoo.find(str(row))
    path = tmp_path / "results" / "records" / "r.json"
    records.write(path, content)
    with tripwire():
        read = records.read(path)
        assert read.comparable
    with tripwire(), pytest.raises(UserError):  # also where it no longer says that it is imported
        FinishedCell(read, None, Path())


@pytest.mark.parametrize(("task", "name"), [(t, n) for t in TASKS for n in protocols.names(t)])
def test_what_the_protocols_build_may_be_recorded_and_built(task, name, small_sample):
    cfg = composed(cell(task, name, precision="bfloat16"), small_sample)
    assert fault_of_record(json.loads(json.dumps(compose.resolved(cfg)))) is None


def test_what_data_sets_of_ones_own_choose_may_be_recorded(recorded):
    config = recorded("detection")
    config["val_dataloader"]["dataset"] |= {
        "type": "CocoBoxes", "suffix": "_leftImg8bit.png", "exclude": ["a/b.jpg"]
    }  # fmt: skip
    assert fault_of_record(config) is None


def test_the_published_records_may_be_built():
    paths = records.files(ROOT / "results" / "records")
    assert paths
    for path in paths:
        assert fault_of_record(json.loads(records.read(path).content["config"]["json"])) is None


def test_each_allowed_class_is_one_in_a_registry():
    for module in ("mmdet.engine", "mmdet.visualization", "mmseg.engine", "mmseg.visualization"):
        importlib.import_module(module)
    for name in allowed_names.CLASSES:
        found = [one for scope in TASKS.values() for one in registered(name, scope)]
        assert found, name
        assert all(isinstance(one, type) for one in found), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optim_wrapper.optimizer.type", "AdamW"),
        ("optim_wrapper.optimizer.betas", (0.9, 0.95)),
        ("param_scheduler.0.type", "CosineAnnealingLR"),
        ("model.roi_head.bbox_head.loss_bbox.type", "GIoULoss"),
        ("model.test_cfg.rcnn.nms.type", "soft_nms"),
        ("optim_wrapper.clip_grad.type", "value"),
        ("train_dataloader.dataset.dataset.pipeline.3.direction", ("horizontal", "vertical")),
        ("optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult", 0.1),
        ("val_evaluator.form", "area"),
    ],
)
def test_what_runs_use_may_be_overridden(name, value):
    assert fault_of_setting(name, value) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.test_cfg.rcnn.nms.type", "__import__('os').system('touch marker')"),
        ("model.test_cfg.rcnn.nms.type", "SGD"),
        ("model.roi_head.bbox_roi_extractor.roi_layer.type", "nms"),
        ("optim_wrapper.clip_grad.type", "SGD"),
        ("train_dataloader.dataset.dataset.datasets.0.ann_file", "lists.pkl"),
        ("model.backbone.weights", "https://host.invalid/net.pth"),
        ("model.neck.type.x", 1),
    ],
)
def test_words_are_those_of_their_key(name, value):
    assert fault_of_setting(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.decode_head.channels", 10**6),
        ("model.neck.num_outs", -(10**9)),
        ("model.data_preprocessor.size", (10**5, 10**5)),
        ("model.data_preprocessor.pad_size_divisor", 10**4),
        ("train_dataloader.dataset.pipeline.0.scale", [[10**5, 10**5]]),
        ("optim_wrapper.optimizer.lr", float("nan")),
        ("train_cfg.max_epochs", 10**10),
        ("train_cfg.max_epochs", 10**400),
    ],
)
def test_numbers_are_bounded_where_they_say_how_large_something_becomes(name, value):
    assert "at most" in fault_of_setting(name, value)


def test_a_network_of_a_record_is_measured_before_it_is_built(recorded, small_sample):
    config = recorded("segmentation")
    config["model"]["decode_head"] |= {"channels": 1 << 17, "in_channels": 1 << 17}
    record = Record(Path("large.json"), {"config": {"json": json.dumps(config)}})
    sample = catalogue.load("sample", small_sample.parent)
    with pytest.raises(UserError, match=r"network has \d+,\d+,\d+,\d+ weights"):
        FinishedCell(record, sample, Path())


def test_tables_in_tables_end_somewhere():
    tree = 1
    for _ in range(10_000):
        tree = [tree]
    assert "nested tables" in fault_of_record({"model": tree})


def test_a_class_that_the_toolboxes_lost_is_not_imported_by_its_name(monkeypatch, small_sample):
    for registry in (MODELS, MODELS.children["mmdet"]):
        monkeypatch.delitem(registry.module_dict, "FPN", raising=False)
    with pytest.raises(UserError, match="'FPN' is not a class of the installed toolboxes"):
        composed(cell("detection", overrides=(("model.neck.type", "FPN"),)), small_sample)


def test_the_attack_by_a_suite_ends_with_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("evil.toml").write_text(
        'kind = "transfer"\ndata = "sample"\nprotocol = "quick"\nrows = ["resnet18_scratch"]\n'
        '[overrides]\n"model.roi_head.mask_head.type" = "mmengine.call_command"\n'
        '"model.roi_head.mask_head.cmd" = ["touch", "marker"]\n'
    )
    with tripwire():
        assert main.main(["run", "--suite", "evil.toml"]) == 2
    assert "'model.roi_head.mask_head.type' is 'mmengine.call_command'" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.toml", "planted"]


def test_what_is_refused_would_have_been_called(tmp_path):
    """The attacks of these tests are none if MMEngine no longer calls what a ``type`` names."""
    marker = tmp_path / "marker"
    MODELS.build({"type": "mmengine.call_command", "cmd": ["touch", str(marker)]})
    assert marker.exists()


def test_a_record_says_neither_what_is_read_nor_where_it_lies(recorded, small_sample):
    config = recorded("segmentation")
    config["val_dataloader"]["dataset"].update(
        type="VocBoxes",
        data_root="/etc",
        ann_file="passwd",
        data_prefix={"img_path": "/"},
        suffix=".exe",
        exclude=["a"],
    )
    cfg = compose.located(config, catalogue.load("sample", small_sample.parent))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        built = DATASETS.build(cfg.val_dataloader.dataset)
    assert type(built).__name__ == "IndexMasks"
    assert (built.suffix, list(built.exclude)) == ("", [])
    assert Path(built.data_prefix["img_path"]).is_relative_to(small_sample)
