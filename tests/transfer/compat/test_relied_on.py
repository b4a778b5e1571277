"""The list of what is relied on in the toolboxes is whole; a name that is gone is a sentence."""

import ast
import inspect
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from backbones.common.errors import UserError
from transfer import openmmlab  # noqa: F401
from transfer.compat import relied_on
from transfer.compat.relied_on import RELIED_ON, TESTED

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = {  # what these assign to is a config's, which is data
    "transfer.bench.configs",
    "transfer.protocols.compose",
    "transfer.protocols.placement",
    "transfer.protocols.shared_batch",
    "transfer.protocols.toolbox_config",
    "transfer.protocols.toolbox_data",
    "transfer.protocols.toolbox_training",
    "transfer.protocols.trial",
}
OWN_OBJECTS = {"ctx", "self", "cls"}  # autograd's contexts are there to be assigned to


@cache
def modules():
    """The product's modules by name, parsed."""
    paths = [path for top in ("backbones", "transfer") for path in (ROOT / top).rglob("*.py")]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    return {names[path].removesuffix(".__init__"): ast.parse(path.read_text()) for path in paths}


@cache
def own_names():
    """All that the product itself defines."""
    found = set()
    for tree in modules().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for part in (part for target in targets for part in ast.walk(target)):
                    if isinstance(part, ast.Name):
                        found.add(part.id)
                    elif isinstance(part, ast.Attribute) and is_own(part.value):
                        found.add(part.attr)
    return found


def is_own(node):
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def packages_of(tree):
    """Toolboxes that a module imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found & set(TESTED)


def private_uses(tree):
    """Private names that a module takes from elsewhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module.partition(".")[0] in TESTED:
                yield from (alias.name for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Constant) and re.fullmatch(r"_[a-z]+(_[a-z]+)+", str(node.value)):
            yield node.value


def assigned_over(tree):
    """Attributes of other objects than its own that a module assigns to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets = [part for target in node.targets for part in unpacked(target)]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        for target in targets:
            of = target.value if isinstance(target, ast.Attribute) else None
            if of is not None and not (isinstance(of, ast.Name) and of.id in OWN_OBJECTS):
                # "self.conv1.stride" changes what a toolbox's class has made
                yield of.attr if isinstance(of, ast.Attribute) and is_own(of.value) else target.attr


def unpacked(target):
    return target.elts if isinstance(target, ast.Tuple) else [target]


def set_by_name(tree):
    """Names in calls of ``setattr`` and in the tables that feed them."""
    if any(getattr(node, "id", "") == "setattr" for node in ast.walk(tree)):
        yield "setattr"


def listed(module):
    names = [name.attribute.split(".") for name in RELIED_ON if module in name.users]
    return {part for parts in names for part in parts}


PUBLIC = {"grad", "requires_grad"}  # torch documents that these are assigned to


@pytest.mark.parametrize("module", sorted(modules()))
def test_every_private_name_of_a_toolbox_and_every_assignment_over_one_is_listed(module):
    tree = modules()[module]
    if module == "transfer.compat.relied_on" or not packages_of(tree):
        return
    used = set(private_uses(tree))
    if module not in CONFIGS:
        used |= set(assigned_over(tree))
    unlisted = used - listed(module) - own_names() - PUBLIC - OF_OTHERS.get(module, set())
    assert not unlisted, f"{module} uses {sorted(unlisted)} of a toolbox: list it in relied_on.py"


OF_OTHERS = {
    "backbones.runtime.loader_workers": {"_exit", "excepthook", "tempdir"},  # Python's
    "backbones.runtime.storage": {"_parent"},  # fsspec's
    "transfer.bench.torchvision_detection": {"dataset"},  # a new attribute, for our own sampler
    "backbones.runtime.runner": {"handleError"},  # logging's
    "transfer.operators.stand_in": {"_ext"},  # the stand-in, which is ours
    "backbones.runtime.randomness": {"dataset"},
}


def test_what_is_set_by_name_is_known():
    by_name = {module for module, tree in modules().items() if list(set_by_name(tree))}
    of_timm = {"backbones.tricks.resnet_d"}  # parts of a network that it finds by their class
    assert by_name - of_timm == {"transfer.bench.breakdown", "transfer.protocols.placed_sampler"}
    assert listed("transfer.bench.breakdown") >= {
        *("__next__", "_run_forward", "backward", "step", "zero_grad", "run")
    }


def test_private_methods_of_a_toolboxs_class_that_are_overridden_are_listed():
    for module in modules():
        if not packages_of(modules()[module]):
            continue
        for kind in vars(import_module(module)).values():
            if not inspect.isclass(kind) or kind.__module__ != module:
                continue
            bases = [base for base in kind.__mro__ if base.__module__.partition(".")[0] in TESTED]
            of_bases = {name for base in bases for name in {*vars(base), *relied_on._set_by(base)}}
            own = {*vars(kind), *relied_on._set_by(kind)}
            shared = {name for name in own & of_bases if is_private(name)} - {
                *("_abc_impl", "_backward_cls", "_instance_dict")  # made anew for every class
            }
            assert shared <= listed(module), f"{kind}: {shared}"


@pytest.mark.parametrize("name", RELIED_ON, ids=lambda name: f"{name.module}.{name.attribute}")
def test_every_name_is_there_and_somebody_uses_it(name):
    assert relied_on._is_there(name)
    last = name.attribute.rpartition(".")[2]
    words = {"init_assigner_sampler": "bbox_sampler", "load_ext": "_ext"}
    for user in name.users:
        assert words.get(last, last) in ast.unparse(modules()[user])


def test_the_versions_are_those_of_the_dependencies():
    text = (ROOT / "pyproject.toml").read_text()
    renamed = {"mmdet": "mmdetection", "mmseg": "mmsegmentation"}
    for package, version in TESTED.items():
        distribution = renamed.get(package, package)
        (bounds,) = re.findall(rf'^  "(?:onedl-)?{distribution}([<>=][^"]*)",$', text, re.MULTILINE)
        assert SpecifierSet(bounds).contains(version), package


GONE = {
    "mmdet.models.dense_heads.AnchorHead.forward": "mmdet",
    "mmseg.models.decode_heads.decode_head.BaseDecodeHead._stack_batch_gt": "mmseg",
    "mmengine.runner.checkpoint._safe_torch_load": "mmengine",
}


@pytest.mark.parametrize("path", GONE)
def test_a_name_that_is_gone_is_reported_with_both_versions(path, monkeypatch):
    (name,) = [n for n in RELIED_ON if f"{n.module}.{n.attribute}" == path]
    owner = import_module(name.module)
    *way, last = name.attribute.split(".")
    for part in way:
        owner = getattr(owner, part)
    monkeypatch.delattr(owner, last)
    package = GONE[path]
    monkeypatch.setattr(import_module(package), "__version__", "99.1")
    with pytest.raises(UserError) as error:
        relied_on.require(package)
    assert len(str(error.value).splitlines()) == 1
    for part in (f"{package} 99.1", last, TESTED[package], *name.users):
        assert part in str(error.value)
    other = next(each for each in TESTED if each != package)
    relied_on.require(other)


def test_what_only_init_sets_is_looked_for_there(monkeypatch):
    from mmengine.optim import OptimWrapper

    monkeypatch.setattr(OptimWrapper, "__init__", lambda self, optimizer: None)
    with pytest.raises(UserError, match="_accumulative_counts"):
        relied_on.require("mmengine")


def test_a_module_that_is_gone_is_such_a_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "mmdet.models.detectors", None)
    with pytest.raises(UserError, match=r"TwoStageDetector\.loss"):
        relied_on.require("mmdet")


@pytest.mark.slow
def test_importing_the_project_into_changed_toolboxes_ends_in_the_sentence():
    program = (
        "import mmengine.runner.checkpoint as changed\n"
        "changed.load_checkpoint_safely = changed.__dict__.pop('_safe_torch_load')\n"
        "import transfer.openmmlab\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "has no 'mmengine.runner.checkpoint._safe_torch_load'" in done.stderr
    assert "tested with mmengine" in done.stderr
