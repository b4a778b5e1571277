"""The number format of evaluations, which is the one that is trained in."""

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import default_collate

from backbones.runtime import loop, precision, randomness  # noqa: F401  (registers)
from backbones.runtime.runner import quiet_runner
from tests.support.composed import cell, composed
from transfer.finetune import predict
from transfer.finetune.finetune import build_runner

DEFAULTS = {"cuda": torch.float16, "cpu": torch.bfloat16}


class Asked(BaseModel):
    """Notes to what autocast would cast when it is evaluated; raises an error when asked to."""

    def __init__(self, device):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.computed_on, self.asked, self.enabled, self.fails = device, [], [], False

    def forward(self, inputs, mode="tensor"):
        self.asked.append(torch.get_autocast_dtype(self.computed_on))
        self.enabled.append(torch.is_autocast_enabled(self.computed_on))
        if self.fails:
            raise ArithmeticError("as asked")
        return [{}]


class Counted(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(len(data_samples))

    def compute_metrics(self, results):
        return {"count": sum(results)}


@pytest.fixture(params=["cuda", "cpu"])
def device(request, monkeypatch):
    """The device that MMEngine takes this machine to compute on."""
    for module in ("mmengine.runner.amp", "backbones.runtime.precision"):
        monkeypatch.setattr(f"{module}.get_device", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    return request.param


def runner(model, folder, wrapper, **val_cfg):
    loader = {"dataset": [{"inputs": 0.0}] * 3, "batch_size": 1, "collate_fn": default_collate}
    return quiet_runner(
        model=model,
        work_dir=str(folder),
        seed=0,
        train_dataloader={**loader, "sampler": {"type": "ReplayableSampler"}},
        train_cfg={"type": "ResumableTrainLoop", "max_epochs": 1},
        optim_wrapper={**wrapper, "optimizer": {"type": "SGD", "lr": 1.0}},
        val_dataloader={**loader, "sampler": {"type": "DefaultSampler", "shuffle": False}},
        val_cfg=val_cfg,
        val_evaluator=Evaluator([Counted()]),
        default_hooks={"checkpoint": None},
    )


@pytest.mark.parametrize("named", [{}, {"type": "ValLoop"}])
def test_what_is_trained_in_bfloat16_is_evaluated_in_it(device, named, tmp_path):
    model = Asked(device)
    wrapper = {"type": "Bfloat16OptimWrapper"}
    assert runner(model, tmp_path, wrapper, fp16=True, **named).val() == {"count": 3}
    assert model.asked == [torch.bfloat16] * 3
    assert torch.get_autocast_dtype(device) == DEFAULTS[device], "the next cell has its own"


@pytest.mark.parametrize("wrapper", [{"type": "AmpOptimWrapper"}, {"type": "OptimWrapper"}, {}])
def test_what_is_trained_otherwise_is_evaluated_in_the_devices_format(device, wrapper, tmp_path):
    model = Asked(device)
    runner(model, tmp_path, wrapper, fp16=True).val()
    assert model.asked == [DEFAULTS[device]] * 3


def test_an_evaluation_that_fails_leaves_no_format_behind(device, tmp_path):
    model = Asked(device)
    model.fails = True
    with pytest.raises(ArithmeticError):
        runner(model, tmp_path, {"type": "Bfloat16OptimWrapper"}, fp16=True).val()
    assert model.asked == [torch.bfloat16]
    assert torch.get_autocast_dtype(device) == DEFAULTS[device]
    assert not torch.is_autocast_enabled(device)


@pytest.mark.parametrize("fp16", [True, False])
def test_fp16_alone_decides_whether_there_is_autocast(fp16, tmp_path):
    model = Asked("cpu")
    runner(model, tmp_path, {"type": "Bfloat16OptimWrapper"}, fp16=fp16).val()
    assert model.enabled == [fp16] * 3


@pytest.mark.parametrize("task", ["detection", "segmentation"])
@pytest.mark.parametrize("asked", ["bfloat16", "float32"])
def test_a_cells_config_says_it_as_it_did_and_its_runner_does_it(
    task, asked, small_sample, tmp_path
):
    cfg = composed(cell(task, precision=asked, architecture="resnet18"), small_sample, weights="")
    fields = {"type": "ValLoop", **({"fp16": True} if asked == "bfloat16" else {})}
    assert cfg.val_cfg.to_dict() == fields
    built = build_runner(cfg, tmp_path, [])
    assert isinstance(built.val_loop, precision.Bfloat16ValLoop) == (asked == "bfloat16")
    assert built.val_loop.fp16 == (asked == "bfloat16")
    assert cfg.val_cfg.to_dict() == built.cfg.val_cfg.to_dict() == fields, "what is recorded"


@pytest.mark.parametrize(
    ("wrapper", "dtype"),
    [("Bfloat16OptimWrapper", torch.bfloat16), ("AmpOptimWrapper", torch.float16)],
)
def test_predictions_are_shown_in_the_format_that_was_measured(wrapper, dtype, small_sample):
    cfg = composed(cell("segmentation", precision="bfloat16"), small_sample)
    cfg.optim_wrapper.type = wrapper
    with predict._autocast(cfg, "cuda"):
        assert torch.get_autocast_dtype("cuda") == dtype
