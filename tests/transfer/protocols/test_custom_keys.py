"""Learning rates by ``custom_keys`` in a user's own protocol: of the backbone, and of its parts."""

import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

from backbones.common.errors import UserError
from tests.transfer.protocols.test_own_protocols import RETINANET, composed, written
from transfer.protocols.trial import require_working


def with_keys(keys, folder, small_sample, architecture="resnet18"):
    text = RETINANET + f"optim_wrapper = dict(paramwise_cfg=dict(custom_keys={keys!r}))\n"
    return composed(written(folder, text), small_sample, architecture)


def learning_rates(cfg):
    """The learning rate of each parameter, as a factor, by its name."""
    cfg.model.backbone.weights = None
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    base = cfg.optim_wrapper.optimizer.lr
    return {names[id(p)]: round(group["lr"] / base, 9) for group in groups for p in group["params"]}


def test_new_parts_of_the_backbone_learn_like_a_neck(tmp_path, small_sample):
    keys = {"backbone": {"lr_mult": 0.1}}
    found = learning_rates(with_keys(keys, tmp_path, small_sample, "convnext_atto"))
    parts = {rate for name, rate in found.items() if name.startswith("backbone.parts.")}
    network = {rate for name, rate in found.items() if name.startswith("backbone.network.")}
    neck = {rate for name, rate in found.items() if name.startswith("neck.")}
    assert parts == neck == {1.0}
    assert network == {0.1}


def test_a_files_own_learning_rate_of_the_parts_is_kept(tmp_path, small_sample):
    keys = {"backbone": {"lr_mult": 0.1}, "backbone.parts": {"lr_mult": 0.5}}
    found = learning_rates(with_keys(keys, tmp_path, small_sample, "convnext_atto"))
    assert {r for name, r in found.items() if name.startswith("backbone.parts.")} == {0.5}


@pytest.mark.parametrize("key", ["backbone.layer1", "backbone.stages.0", "backbone.norm"])
def test_a_key_of_the_toolboxes_backbone_is_refused(key, tmp_path, small_sample):
    cfg = with_keys({key: {"lr_mult": 0.1}}, tmp_path, small_sample)
    with pytest.raises(UserError) as error:
        require_working(cfg, "mine", "resnet18")
    assert f"custom_keys: {key}' names no parameter" in str(error.value)
    assert 'constructor="LayerDecay"' in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_keys_of_a_rows_network_and_of_other_parts_are_kept(tmp_path, small_sample):
    keys = {
        "backbone": {"lr_mult": 0.1},
        "backbone.network.layer1": {"lr_mult": 0.0},
        "relative_position_bias_table": {"decay_mult": 0.0},
    }
    require_working(with_keys(keys, tmp_path, small_sample), "mine", "resnet18")
