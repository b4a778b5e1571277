"""Made-up records with the content that a finished cell and a trained classifier leave."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from backbones.training.suite import record_path, write_record
from backbones.zoo import paper_figures, zoo
from transfer.plan.request import Request
from transfer.records import records
from transfer.records.cells import Cell

METRIC = {"detection": "mAP", "segmentation": "mIoU"}
VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle",
    "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person",
    "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
PAPER_ROWS = [line["row"] for line in paper_figures.table(8)]


def config(task, architecture, seed, lr=0.02):
    """A resolved config of about the size that a real one has."""
    pipeline = [
        {"type": kind, "scale": [1000, 600], "keep_ratio": True, "prob": 0.5, "backend_args": None}
        for kind in ("LoadImageFromFile", "LoadAnnotations", "Resize", "RandomFlip", "Pack")
    ]
    loader = {
        "batch_size": 4,
        "num_workers": 2,
        "persistent_workers": True,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "dataset": {"type": "VocBoxes", "data_root": "", "pipeline": pipeline,
                    "metainfo": {"classes": VOC}},
    }  # fmt: skip
    heads = {
        f"head_{i}": {"type": "Head", "loss": {"type": "L1Loss", "loss_weight": 1.0},
                      "train_cfg": {"assigner": {"pos_iou_thr": 0.5, "neg_iou_thr": 0.5}}}
        for i in range(12)
    }  # fmt: skip
    return {
        "model": {
            "type": "FasterRCNN" if task == "detection" else "EncoderDecoder",
            "backbone": {"type": "Pyramid", "architecture": architecture, "weights": True},
            "data_preprocessor": {"mean": [123.7, 116.8, 103.9], "std": [58.4, 57.1, 57.4]},
            "neck": {"type": "FPN", "in_channels": [256, 512, 1024, 2048]},
            **heads,
        },
        "train_dataloader": loader,
        "val_dataloader": loader,
        "val_evaluator": {"type": "BoxAP", "form": "11points", "headline_classes": []},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": lr}},
        "randomness": {"seed": seed},
    }


def cell(backbone, task="detection", **changed):
    """A cell of a row of the zoo, or of a row that is not in it."""
    try:
        architecture = zoo.find(backbone).architecture
    except Exception:  # a user's own
        architecture = "resnet50"
    fields = {
        "backbone": backbone,
        "architecture": architecture,
        "weights": f"timm:{backbone}",
        "weights_id": f"timm:{backbone}",
        "classifier": "public",
        "task": task,
        "protocol": "openmmlab",
        "protocol_version": "5f4dfa4e",
        "data": "voc0712" if task == "detection" else "ade20k",
        "data_fingerprint": "0a1b2c3d",
        "precision": "float32",
        "seed": 0,
        "scratch": backbone.endswith("_scratch"),
    }
    if fields["scratch"]:
        fields |= {"weights": "", "weights_id": ""}
    if backbone.endswith("_shuffled"):
        fields["weights"] = f"shuffled:{fields['weights']}"
    return Cell(**{**fields, **changed})


def request(backbone, folder, **changed):
    """What a command asks for: a quick fine-tuning on the sample, and no control."""
    fields = {
        "tasks": ("segmentation",),
        "against": "none",
        "data": "sample",
        "data_root": folder,
        "protocol": "quick",
        "weights": "auto",
        "precision": "float32",
        "seed": 0,
        "classifier_seed": 0,
    }
    return Request(backbone=str(backbone), **{**fields, **changed})


def content(
    of, value, *, top1=77.0, classifier="one", lr=0.02, rng=None, points=100, baseline=None
):
    """The whole record of a cell; without a baseline, as elder records are."""
    rng = rng or np.random.default_rng(0)
    metric = METRIC[of.task]
    kind = "AP" if of.task == "detection" else "IoU"
    per_class = {f"{kind}/{name}": float(np.clip(value + rng.normal(0, 3), 0, 100)) for name in VOC}
    extra = {"mAP_11points": value, "mAP_area": min(value + 1, 100.0)} if kind == "AP" else {
        "mIoU_all": value, "pixAcc": min(value + 40, 99.0)}  # fmt: skip
    curve = [
        {"iteration": 10 * (i + 1), "lr": 0.02, "acc": 90 + float(rng.normal(0, 1)),
         **{f"loss_{part}": float(np.exp(-i / 40) + rng.uniform(0, 0.1))
            for part in ("bbox", "cls", "rpn_bbox", "rpn_cls")},
         "loss": float(3 * np.exp(-i / 40) + rng.uniform(0.2, 0.5))}
        for i in range(points)
    ]  # fmt: skip
    try:
        recipe = zoo.find(of.backbone).recipe
    except Exception:
        recipe = None
    return {
        "schema": records.SCHEMA,
        "cell": {**dataclasses.asdict(of), "id": of.id},
        "headline": {"metric": metric, "value": value},
        "metrics": {metric: value, **extra, **per_class},
        "curve": curve,
        "evaluations": [],
        **({} if baseline is None else {"baseline": baseline}),
        "classifier": {
            "source": of.weights_id,
            "sha256": hashlib.sha256(f"{of.backbone} {classifier}".encode()).hexdigest(),
            "architecture": of.architecture,
            "recipe": recipe.content() if recipe else None,
            "tricks": list(recipe.tricks()) if recipe else [],
            "top1": top1,
            "top1_on": "ImageNet",
            "near": "exact",
            "training": {},
            "mean": [123.68, 116.779, 103.939],
            "std": [58.393, 57.12, 57.375],
            "parameters": 25576264,
            "multiply_adds_224": 4328824832,
        },
        "data": {"name": of.data, "title": of.data, "fingerprint": of.data_fingerprint},
        "config": records.config_entry(config(of.task, of.architecture, of.seed, lr)),
        "training": {"lr": lr, "batch_size": 16, "images": {"train": 198612, "test": 4952}},
        "seconds": {"start_up": 9.1, "train": 7200.4, "evaluate": 100.2},
        "images_per_second": {"train": 27.6, "evaluate": 49.4},
        "versions": {"python": "3.11.7", "torch": "2.15.0", "timm": "1.0.31", "numpy": "2.2.6"},
        "hardware": {"cpu": "AMD EPYC", "cores": 16, "gpus": ["NVIDIA H200"], "system": "Linux"},
        "git": {"commit": "9ac45b25c20383a3232d16af578c3b6c72ea6aa3", "changed": False},
        "command": f"transfer run --backbone {of.backbone} --task {of.task} --seed {of.seed}",
        "started": "2026-11-22T18:59:12+00:00",
        "finished": "2026-11-22T21:00:06+00:00",
    }


def write(results, of, value, **options):
    """Write a cell's record; returns its file."""
    path = records.path_of(results, of)
    records.write(path, content(of, value, **options))
    return path


def write_suite(results, rows, seeds=range(5), task="detection", spread=0.4, gain=None, **changed):
    """Runs of several rows: the paper's figure, or ``gain``'s, and a spread between seeds."""
    for row in rows:
        figures = paper_figures.figures(row)
        field = figures.of(METRIC[task]) or 75.0
        rng = np.random.default_rng(int(hashlib.sha256(row.encode()).hexdigest()[:8], 16))
        for seed in seeds:
            value = (field if gain is None else 70 + gain.get(row, 0)) + rng.normal(0, spread)
            of = cell(row, task, seed=seed, **changed)
            write(results, of, float(value), top1=figures.top1 or 76.0, rng=rng)


def classifier(row, seed=0, *, top1=77.0, data="tiny-imagenet-200", images=(50_000, 5_000),
               classes=200, **changed):  # fmt: skip
    """What a training tells of itself."""
    variant = zoo.find(row)
    recipe = variant.recipe.content()
    batch = changed.get("batch_size", recipe["batch_size"])
    half = recipe["half_precision"]
    return {
        "version": 2,
        "row": row,
        "architecture": variant.architecture,
        "recipe": recipe,
        "identity": hashlib.sha256(f"{row} {seed} {changed}".encode()).hexdigest()[:16],
        "seed": seed,
        "epochs": recipe["epochs"],
        "batch_size": batch,
        "image_size": 299 if variant.architecture == "inception_v3" else 224,
        "lr": recipe["base_lr"] * batch / 256,
        "precision": "AmpOptimWrapper" if half else "OptimWrapper",
        "authors_code": False,
        "min_area": 0.08,
        "mean": [123.68, 116.779, 103.939],
        "std": [58.393, 57.12, 57.375],
        "classes": [str(i) for i in range(classes)],
        "data": {"name": data, "fingerprint": f"{data}-0123",
                 "images": dict(zip(("train", "val"), images, strict=True))},
        "metrics": {"top1": top1, "top5": min(top1 + 15, 99.0)},
        "history": {"training": [], "evaluations": []},
        "seconds": 36000.0,
        "images_per_second": 1000.0,
        "versions": {"torch": "2.15.0", "timm": "1.0.31"},
        **changed,
    }  # fmt: skip


IMAGENET = {"data": "ILSVRC2012", "images": (1_281_167, 50_000), "classes": 1000}


def write_classifier(results: Path, row, seed=0, **options):
    """Write a classifier's record; returns its file."""
    own = classifier(row, seed, **options)
    path = record_path(results, f"{row}_{own['data']['name']}_s{seed}_{own['identity']}")
    write_record(path, json.loads(json.dumps(own)))
    return path
