"""Several processes that train one network: shares, agreement, failures, and the same results."""

import json
import os
import signal
import threading
import time
import types
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import default_collate

from backbones.common import hardware
from backbones.common.errors import UserError
from backbones.common.versions import versions
from backbones.runtime import (  # noqa: F401  (registers)
    loop,
    precision,
    randomness,
    ranks,
    stopping,
)
from backbones.runtime.checkpoint import ResumableState, load_state, unwrapped
from backbones.runtime.evaluation import BatchesOfARank
from backbones.runtime.loop import ResumableBatchSampler
from backbones.runtime.progress import Curve
from backbones.runtime.randomness import ReplayableDataset, ReplayableSampler
from backbones.runtime.runner import quiet_runner
from tests.support import chaos_suite, processes, synthetic
from tests.support.draws import Draws
from transfer import run
from transfer.protocols.shared_batch import batch_of_each

ROOT = Path(__file__).resolve().parents[3]
AS_T = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import test_ranks as t"


def as_rank(monkeypatch, rank, of):
    for module in ("loop", "randomness", "evaluation"):
        monkeypatch.setattr(f"backbones.runtime.{module}.get_dist_info", lambda: (rank, of))


def batches_of(monkeypatch, rank, of, whole=12, length=50, endless=False, **options):
    as_rank(monkeypatch, rank, of)
    sampler = ReplayableSampler(ReplayableDataset(Draws(length)), seed=3, endless=endless)
    return ResumableBatchSampler(sampler, whole // of, **options)


@pytest.mark.parametrize("of", [2, 3, 4])
@pytest.mark.parametrize("options", [{"drop_last": True}, {"by_aspect_ratio": True}, {}])
def test_processes_share_the_batches_that_one_process_would_have(of, options, monkeypatch):
    alone = list(batches_of(monkeypatch, 0, 1, **options))
    shares = [batches_of(monkeypatch, rank, of, **options) for rank in range(of)]
    drawn = [list(share) for share in shares]
    assert [len(share) for share in shares] == [len(alone)] * of
    for batch, parts in zip(alone, zip(*drawn, strict=True), strict=True):
        assert [len(part) for part in parts] == [-(-len(batch) // of)] * of
        together = [parts[i % of][i // of] for i in range(len(batch))]
        assert together == batch, "image i of a batch is with process i modulo their number"
        assert set().union(*parts) == set(batch), "a batch is filled up with images of its own"


def test_an_endless_stream_is_shared_and_resumed_alike(monkeypatch):
    def first(sampler, count):
        return [batch for batch, _ in zip(sampler, range(count), strict=False)]

    alone = first(batches_of(monkeypatch, 0, 1, endless=True), 12)
    second = first(batches_of(monkeypatch, 1, 2, endless=True), 12)
    assert [batch[1::2] for batch in alone] == second
    resumed = batches_of(monkeypatch, 1, 2, endless=True)
    resumed.skip(7)
    assert first(resumed, 5) == second[7:]


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5))
def test_sharded_evaluation_has_every_image_once_in_its_batch(images, of, batch_size):
    with pytest.MonkeyPatch.context() as patch:
        parts = []
        for rank in range(of):
            as_rank(patch, rank, of)
            sampler = ReplayableSampler(ReplayableDataset(Draws(images)))
            parts.append(BatchesOfARank(sampler, batch_size))
            assert len(parts[-1]) == len(list(parts[-1]))
    batches = [batch for part in parts for batch in part]
    order = list(range(images))
    assert batches == [order[i : i + batch_size] for i in range(0, images, batch_size)]


def test_draws_for_an_image_follow_from_its_place_in_the_whole_batch():
    alone = [randomness.Now(1, 7, 0, 1).seed_of(image, 64) for image in range(6)]
    shared = [randomness.Now(1, 7, i % 3, 3).seed_of(i // 3, 64) for i in range(6)]
    assert alone == shared
    assert len(set(alone)) == 6
    assert randomness.Now(1, 8).seed_of(0, 64) not in alone
    assert randomness.Now(1, 7).seed_of(0, 128) not in alone


def test_sampled_boxes_do_not_depend_on_what_was_drawn_before(monkeypatch):
    from transfer import openmmlab  # noqa: F401  (mmcv's operators first)
    from transfer.protocols.placed_sampler import PlacedRandomSampler

    gallery = torch.arange(100)
    draws = []
    monkeypatch.setattr(
        PlacedRandomSampler.__mro__[2], "sample", lambda self: self.random_choice(gallery, 5)
    )
    for rank, of in ((0, 1), (0, 2), (1, 2)):
        monkeypatch.setattr(randomness, "_now", randomness.Now(0, 3, rank, of))
        torch.rand(17)
        sampler = PlacedRandomSampler(num=8, pos_fraction=0.5)
        draws.append([sampler.sample().tolist() for _ in range(4 // of)])
    assert draws[0] == [draws[1][0], draws[2][0], draws[1][1], draws[2][1]]


@pytest.mark.parametrize(
    ("own", "stated", "count", "each"),
    [
        (4, 4, 2, 2),  # the paper's detector: its batch of 4 is shared
        (4, 4, 4, 1),
        (4, 4, 8, 1),  # cannot be shared further: 8 in all, and the rate doubles
        (4, 4, 3, 1),
        (16, 16, 8, 2),  # the paper's segmenter
        (2, 16, 4, 2),  # MMDetection's: 2 a GPU, 16 on the eight that its rate is stated for
        (2, 16, 8, 2),
        (2, 16, 16, 1),
        (4, 16, 8, 2),
    ],
)
def test_processes_share_the_stated_batch(own, stated, count, each):
    assert batch_of_each(own, stated, count) == each


def test_the_learning_rate_follows_the_global_batch_size_and_the_protocol_is_kept_where_it_can_be(
    small_sample, monkeypatch
):
    from transfer.datasets import catalogue
    from transfer.protocols import compose

    data = catalogue.load("sample", small_sample.parent)

    def config(task, protocol, count):
        cell = synthetic.cell("resnet18_baseline", task, protocol=protocol, processes=count)
        return compose.compose(cell, data, weights="", mean=(0.0,) * 3, std=(1.0,) * 3)

    shared = config("detection", "paper", 2)
    assert shared.train_dataloader.batch_size == 2
    assert not shared.auto_scale_lr.enable, "the paper's batch, hence its absolute rate"
    larger = config("detection", "paper", 8)
    assert larger.train_dataloader.batch_size == 1
    assert larger.auto_scale_lr == {"enable": True, "base_batch_size": 4}
    assert shared.val_dataloader.batch_sampler == {"type": "BatchesOfARank"}
    assert shared.val_evaluator.shared
    with pytest.raises(UserError, match=r"synchronises batch norms .* only on GPUs"):
        config("segmentation", "paper", 2)
    monkeypatch.setattr("transfer.protocols.shared_batch.hardware.cuda_devices", lambda: 2)
    masks = config("segmentation", "paper", 2)
    assert masks.train_dataloader.batch_size == 8
    assert masks.model.backbone.norm_sync
    assert {masks.model[f"{h}_head"].norm_cfg.type for h in ("decode", "auxiliary")} == {"SyncBN"}


def test_a_cell_of_several_processes_is_another_cell():
    one = synthetic.cell("resnet18_baseline")
    two = synthetic.cell("resnet18_baseline", processes=2)
    assert one.id != two.id
    assert two.name == f"{one.name}_x2"


# --- Meeting, failing -----------------------------------------------------------------------------

MEET = """
import sys, time
from backbones.common.errors import UserError
from backbones.runtime import ranks
from backbones.runtime.command import guarded

def work(args):
    with ranks.together("auto", {"timm": VERSION if ranks_of() else "1.0.31"}):
        seen = ranks.gathered(ranks.rank())
        assert seen == [0, 1]
        assert ranks.means({"a": float(ranks.rank())}) == {"a": 0.5}
        assert ranks.any_of(ranks.rank() == 1, False, ranks.rank() == 0) == [True, False, True]
        assert ranks.on_main(lambda: ranks.rank()) == 0
        assert ranks.on_each_machine(lambda: ranks.rank()) == 0
        FAULT
        ranks.any_of(False)
        print("finished")
    return 0

def ranks_of():
    import os
    return os.environ["RANK"] == "1"

sys.exit(guarded(work, None))
"""


def meet(fault="pass", version="1.0.31"):
    code = MEET.replace("VERSION", repr(version)).replace("FAULT", fault)
    return processes.start(["-c", code])


@pytest.mark.slow
def test_processes_agree_and_end_together():
    codes, outputs = processes.ends(meet())
    assert codes == [0, 0], outputs
    assert all("finished" in text for text in outputs)


def test_versions_that_differ_are_refused_with_both():
    codes, outputs = processes.ends(meet(version="0.9.2"))
    assert codes == [2, 2], outputs
    for text in outputs:
        assert "timm 1.0.31 and 0.9.2" in text or "timm 0.9.2 and 1.0.31" in text
        assert "Traceback" not in text


@pytest.mark.parametrize(
    ("fault", "codes", "own", "others"),
    [
        (
            'if ranks.rank() == 1: raise UserError("there is no room on the disk.")',
            [2, 2],
            "error: process 1 of 2: there is no room on the disk.",
            "ended: process 1: there is no room on the disk.",
        ),
        pytest.param(
            "if ranks.rank() == 1: 1 / 0",
            [2, 1],
            "ZeroDivisionError",
            "ended: process 1: ZeroDivisionError: division by zero",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "if ranks.rank() == 1: import os; os.kill(os.getpid(), 9)",
            [2, -signal.SIGKILL],
            "",
            "ended: another process ended without a message",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_when_one_process_dies_all_end_and_its_reason_is_reported(fault, codes, own, others):
    began = time.monotonic()
    ended, outputs = processes.ends(meet(fault))
    assert ended == codes, outputs
    assert own in outputs[1]
    assert others in outputs[0]
    assert "Traceback" not in outputs[0]
    assert time.monotonic() - began < 60


def test_several_processes_take_the_classifier_that_one_has_made(monkeypatch):
    """The sample's too: trained by several together it would be another, and they would wait."""
    from transfer.finetune import classifiers

    monkeypatch.setattr(ranks, "world_size", lambda: 2)
    monkeypatch.setattr(
        classifiers, "_locate_in_a_process_of_its_own", lambda name: Path(name.replace(":", "_"))
    )
    for name in ("sample:resnet18_baseline:0", "timm:resnet18.a1_in1k"):
        assert classifiers._located(name, None) == Path(name.replace(":", "_"))


def lingering(name):
    """In the place of what finds a classifier: it takes as long as it is not asked to stop."""
    with stopping.on_signals():
        while not stopping.requested():
            time.sleep(0.02)
    raise stopping.Interrupted("its training is saved")


def test_a_helper_that_makes_a_classifier_is_asked_to_stop_too(monkeypatch):
    from transfer.finetune import classifiers

    monkeypatch.setattr(classifiers, "_locate", lingering)
    with stopping.on_signals():
        threading.Timer(3, stopping.request).start()
        with pytest.raises(
            stopping.Interrupted, match=r"its training is saved|before the classifier"
        ):
            classifiers._locate_in_a_process_of_its_own("sample:resnet18_baseline:0")


@pytest.mark.parametrize("rank", range(4))
def test_each_machine_has_what_its_own_process_found_wherever_its_ranks_are(rank, monkeypatch):
    """Slurm may deal ranks out to machines in turn."""
    of_all = [
        ("one", ("done", "/one")), ("two", ("done", "/two")), ("one", None), ("two", None),
    ]  # fmt: skip
    place = ranks.Place(rank, 4, rank // 2)
    monkeypatch.setattr(ranks, "_group", types.SimpleNamespace(place=place))
    monkeypatch.setattr(ranks.socket, "gethostname", lambda: of_all[rank][0])
    monkeypatch.setattr(ranks, "gathered", lambda own: [*of_all[:rank], own, *of_all[rank + 1 :]])
    found = ranks.on_each_machine(lambda: f"/{of_all[rank][0]}")
    assert found == ("/one" if rank % 2 == 0 else "/two")


def test_what_a_single_process_cannot_do_is_reported():
    def refuse():
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        ranks.on_main(refuse)


@pytest.mark.slow
def test_what_the_main_process_of_several_cannot_do_ends_all_of_them():
    fault = 'ranks.on_main(lambda: (_ for _ in ()).throw(UserError("no such data.")))'
    codes, outputs = processes.ends(meet(fault))
    assert codes == [2, 2]
    assert "error: process 0 of 2: no such data." in outputs[0]
    assert "ended: no such data." in outputs[1]


def test_a_gpu_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setattr(hardware, "cuda_devices", lambda: 2)
    with pytest.raises(UserError, match=r"needs GPU 2 of this machine, which has 2 .*=2'"):
        ranks._require_gpu(ranks.Place(rank=2, of=4, local_rank=2))
    ranks._require_gpu(ranks.Place(rank=3, of=4, local_rank=1))


def test_a_gpu_that_the_environment_names_and_nobody_has_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hardware, "cuda_devices", lambda: 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,7")
    assert run.main(["--suite", "quick", "--dry-run"]) == 2
    assert "CUDA_VISIBLE_DEVICES asks for GPU 0, 7, but only 1 of them" in capsys.readouterr().err
    for fine in ("", "-1", "0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", fine)
        hardware.require_asked_gpus()


@pytest.mark.parametrize(
    ("arguments", "variables", "sentence"),
    [
        (["--launcher", "pytorch"], {}, "torchrun --nproc_per_node"),
        (["--launcher", "slurm"], {}, "start the command with srun"),
        (
            ["--jobs", "2"],
            {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
            "--jobs needs a single process",
        ),
    ],
)
def test_a_launcher_that_did_not_launch_is_named(
    arguments, variables, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run.main(["--suite", "quick", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def as_slurm_task(monkeypatch, gpus, **variables):
    """The environment that srun gives a task, which sees this many GPUs."""
    monkeypatch.setattr(hardware, "cuda_devices", lambda: gpus)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that it is taken away again
    monkeypatch.delenv("MASTER_PORT")
    for name in ("GPUS_PER_TASK", "TRES_PER_TASK", "GPUS_ON_NODE"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    variables = {"PROCID": 5, "NTASKS": 8, "LOCALID": 1, "JOB_ID": 123, **variables}
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("MASTER_ADDR", "node1")


def test_slurm_tells_what_torchrun_would(monkeypatch):
    as_slurm_task(monkeypatch, gpus=0)
    assert ranks.place_of("slurm") == ranks.Place(rank=5, of=8, local_rank=1)
    assert os.environ["MASTER_PORT"] == "20123"
    assert os.environ["LOCAL_RANK"] == "1"


@pytest.mark.parametrize(
    ("gpus", "variables", "device"),
    [
        (1, {"GPUS_PER_TASK": "1"}, 0),  # srun --gpus-per-task=1
        (1, {"TRES_PER_TASK": "cpu=4,gres/gpu=1"}, 0),  # the same, of a younger Slurm
        (1, {"GPUS_ON_NODE": "8"}, 0),  # --gpu-bind=single:1, or a script of one's own
        (8, {"GPUS_PER_TASK": "1", "GPUS_ON_NODE": "8"}, 3),  # --gpu-bind=none
        (8, {"GPUS_ON_NODE": "8"}, 3),
        (0, {}, 3),  # CPUs; the number of a process on its machine is of use there too
    ],
)
def test_a_task_of_slurm_takes_the_gpu_that_it_was_given(gpus, variables, device, monkeypatch):
    as_slurm_task(monkeypatch, gpus, LOCALID=3, **variables)
    for _ in range(2):  # the command asks twice
        place = ranks.place_of("slurm")
    ranks._require_gpu(place)
    assert place.device == device
    assert os.environ["LOCAL_RANK"] == str(device), "MMEngine's device_ids"
    assert place.local_rank == 3, "what is done once a machine is done by its process 0"


@pytest.mark.parametrize("variables", [{}, {"GPUS_ON_NODE": "1", "TRES_PER_TASK": "cpu=4"}])
def test_tasks_that_share_one_gpu_are_refused(variables, monkeypatch):
    as_slurm_task(monkeypatch, 1, LOCALID=3, **variables)
    with pytest.raises(UserError, match=r"needs GPU 3 .* which has 1 .*--gpus-per-task=1"):
        ranks._require_gpu(ranks.place_of("slurm"))
    ranks._require_gpu(ranks.Place(rank=4, of=8, local_rank=0))


def test_processes_of_torchrun_are_not_taken_for_tasks_of_slurm(monkeypatch):
    """Inside a job, whose variables all its processes have."""
    as_slurm_task(monkeypatch, 1, GPUS_PER_TASK=1, GPUS_ON_NODE=8)
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1}.items():
        monkeypatch.setenv(name, str(value))
    assert ranks.place_of("auto").device == 1


# --- Training together ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(tmp_path_factory, cache):
    """What one process and what two processes give."""
    import timm

    folder = tmp_path_factory.mktemp("ranks")
    chaos_suite.write_suite(folder, cache / "sample", rows=["a"], seeds=[0])
    torch.manual_seed(0)
    torch.save(timm.create_model("resnet18").state_dict(), folder / "resnet18.pth")
    results = []
    for count in (1, 2):
        command = [str(ROOT / "tests" / "support" / "processes.py"), str(folder)]
        codes, printed = processes.ends(processes.start(command, count), 900)
        assert codes == [0] * count, printed
        results.append(json.loads((folder / f"results-{count}.json").read_text()))
    return (*results, folder)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_two_processes_train_what_one_trains_and_measure_the_same(task, both):
    alone, shared = both[0][task], both[1][task]
    assert (alone["processes"], shared["processes"]) == (1, 2)
    for name in ("batch_size", "lr", "images"):
        assert alone[name] == shared[name]
    assert len(alone["curve"]) >= 2
    first, *rest = [
        (a[name], b[name], name)
        for a, b in zip(alone["curve"], shared["curve"], strict=True)
        for name in a
        if name.startswith(("loss", "decode.loss", "aux.loss"))
    ]
    np.testing.assert_allclose(first[1], first[0], rtol=1e-6)
    for one, two, name in rest:
        np.testing.assert_allclose(two, one, rtol=2e-4, atol=1e-6, err_msg=name)
    assert alone["metrics"].keys() == shared["metrics"].keys()
    np.testing.assert_array_equal(  # NaN is equal to NaN here
        list(alone["metrics"].values()), list(shared["metrics"].values())
    )
    per_image = [np.load(both[2] / f"{task}-{count}.npz") for count in (1, 2)]
    assert len(per_image[0]["images"]) % 2 == 1, "an odd number of images"
    for name in per_image[0].files:
        np.testing.assert_array_equal(per_image[0][name], per_image[1][name])
    assert per_image[0]["score" if task == "detection" else "predicted"].any()


@pytest.mark.parametrize("address", ["memory://states/cell.pt", "file://{}/states/cell.pt"])
def test_a_state_survives_its_machine_where_it_is_copied(address, tmp_path):
    from backbones.runtime import checkpoint, storage

    class Runner:
        rank, iter = 0, 5
        model = torch.nn.Linear(2, 2)
        optim_wrapper = torch.optim.SGD(model.parameters(), lr=0.1)
        param_schedulers = hooks = ()

    address = address.format(tmp_path)
    lost, fresh = tmp_path / "lost", tmp_path / "fresh"
    saved = checkpoint.ResumableState(str(lost), "cell", copy=address)
    saved.after_train(Runner)
    resumed = checkpoint.ResumableState(str(fresh), "cell", copy=address)
    assert resumed._last()["iteration"] == 5
    assert checkpoint.ResumableState(str(tmp_path / "x"), "other", copy=address)._last() is None
    storage.forget(address)
    assert checkpoint.ResumableState(str(tmp_path / "y"), "cell", copy=address)._last() is None


def test_a_storage_that_fails_costs_the_copy_only(tmp_path):
    from backbones.runtime import storage

    (tmp_path / "state.pt").write_bytes(b"state")
    storage.keep(tmp_path / "state.pt", "nowhere://bucket/state.pt")
    storage.fetch("nowhere://bucket/state.pt", tmp_path / "other.pt")
    storage.forget("nowhere://bucket/state.pt")
    assert not (tmp_path / "other.pt").exists()


class NoCredentialsError(Exception):
    """As botocore's, which s3fs lets through."""


class WithoutCredentials(fsspec.AbstractFileSystem):
    """A storage that refuses whatever is asked of it."""

    def _refuse(self, *args, **kwargs):
        raise NoCredentialsError("Unable to locate credentials")

    makedirs = exists = _refuse


def test_errors_that_a_storage_alone_knows_cost_the_copy_only(tmp_path, monkeypatch):
    from backbones.runtime import storage

    fsspec.register_implementation("locked", WithoutCredentials, clobber=True)
    monkeypatch.setattr(storage, "print_log", lambda text, logger: warnings.append(text))
    warnings = []
    (tmp_path / "state.pt").write_bytes(b"state")
    storage.keep(tmp_path / "state.pt", "locked://bucket/state.pt")
    storage.fetch("locked://bucket/state.pt", tmp_path / "other.pt")
    storage.forget("locked://bucket/state.pt")
    assert [("Unable to locate credentials" in text) for text in warnings] == [True] * 3


def put_state(folder, state):
    """A state as it is saved, or the bytes that are left of one; nothing for None."""
    from backbones.runtime.checkpoint import save_checkpoint
    from backbones.runtime.state_files import LATEST

    folder.mkdir()
    if isinstance(state, bytes):
        (folder / LATEST).write_bytes(state)
    elif state:
        save_checkpoint(folder, state)


@pytest.mark.parametrize("here", [None, b"", b"PK\x03\x04 cut short", 3, 5, 7])
@pytest.mark.parametrize("there", [None, b"PK\x03\x04 cut short", "another's", 5])
def test_of_a_state_here_and_its_copy_the_one_that_came_further_serves(here, there, tmp_path):
    """A cell that ran here, then elsewhere, and returns, must not begin where it was here."""
    from backbones.runtime.checkpoint import ResumableState
    from backbones.runtime.state_files import LATEST

    of = {"another's": {"identity": "other", "iteration": 9}}
    of |= {number: {"identity": "cell", "iteration": number} for number in (3, 5, 7)}
    put_state(tmp_path / "here", of.get(here, here))
    put_state(tmp_path / "there", of.get(there, there))
    before = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    address = f"file://{tmp_path}/there/{LATEST}"
    state = ResumableState(str(tmp_path / "here"), "cell", copy=address)._last()
    best = max([number for number in (here, there) if isinstance(number, int)], default=None)
    assert (state and state["iteration"]) == best
    after = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    if best == here or best is None:
        assert after == before, "a copy that does not serve changes nothing"
    else:
        assert after == {LATEST: (tmp_path / "there" / LATEST).read_bytes()}


def test_a_copy_that_is_cut_off_while_it_is_fetched_takes_no_room(tmp_path, monkeypatch):
    from fsspec.implementations.local import LocalFileSystem

    from backbones.runtime import storage

    def cut_off(self, path, local, **options):
        Path(local).write_bytes(b"the first half")
        raise OSError("connection reset")

    monkeypatch.setattr(LocalFileSystem, "get_file", cut_off)
    (tmp_path / "copy.pt").write_bytes(b"whole")
    storage.fetch(f"file://{tmp_path}/copy.pt", tmp_path / "here" / "state.pt")
    assert list((tmp_path / "here").iterdir()) == []


class Convolutions(BaseModel):
    """Two layers whose weights have a layout, and a loss that is a mean over images."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3))

    def forward(self, inputs, mode="tensor"):
        return {"loss": self.layers(inputs).square().mean()}


class Noise(Draws):
    def __getitem__(self, index):
        return {"inputs": torch.from_numpy(np.random.rand(3, 8, 8).astype(np.float32))}


def one_epoch(folder, hooks, whole, lr):
    """A runner of 24 images, of which all processes together take some a step; trained."""
    runner = quiet_runner(
        model=Convolutions(),
        work_dir=str(folder / "work"),
        seed=3,
        train_dataloader={
            "dataset": ReplayableDataset(Noise(24)),
            "sampler": {"type": "ReplayableSampler"},
            "batch_sampler": {"type": "ResumableBatchSampler"},
            "batch_size": whole // ranks.world_size(),
            "collate_fn": default_collate,
        },
        train_cfg={"type": "ResumableTrainLoop", "max_epochs": 1},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": lr}},
        param_scheduler=[{"type": "ConstantLR", "factor": 1.0}],
        default_hooks={"checkpoint": None},
        custom_hooks=hooks,
    )
    runner.train()
    return runner


def two_steps(folder):
    """What each process runs: plain SGD, so that what is learnt is the gradients themselves."""
    torch.manual_seed(0)
    with ranks.together("auto", versions()):
        hooks = [{"type": "SeedIterations"}, {"type": "ChannelsLast"}]
        runner = one_epoch(folder, hooks, whole=12, lr=1.0)
        if ranks.is_main():
            torch.save(unwrapped(runner.model).state_dict(), folder / f"{ranks.world_size()}.pt")


def test_two_processes_learn_from_their_first_step_on_what_one_learns(tmp_path):
    """With weights laid out channels-last, which torch's wrapper must know of before."""
    torch.manual_seed(0)
    begun = Convolutions().state_dict()
    code = f"{AS_T}; from pathlib import Path; t.two_steps(Path({str(tmp_path)!r}))"
    for count in (1, 2):
        codes, printed = processes.ends(processes.start(["-c", code], count))
        assert codes == [0] * count, printed
    alone, together = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in (1, 2))
    for name, learnt in alone.items():
        assert (learnt - begun[name]).norm() > 1e-3
        torch.testing.assert_close(together[name], learnt, rtol=1e-5, atol=1e-6)


def late_losses(folder, stopped_at):
    """Each process reports losses one step later, as on a GPU, and saves each step."""
    from backbones.runtime import late_scalars

    late_scalars._is_of_gpu = lambda tensor: True
    torch.cuda.Event = lambda: types.SimpleNamespace(record=lambda: None, synchronize=lambda: None)

    class Stop(Hook):
        """One of the processes is asked to stop."""

        def after_train_iter(self, runner, *args, **kwargs):
            if ranks.rank() == 1 and runner.iter + 1 == stopped_at:
                stopping.request()

    with ranks.together("auto", versions()):
        state = ResumableState(str(folder / "state"), "cell", 0)
        one_epoch(folder, [Stop(), Curve(), state], whole=4, lr=0.01)


@pytest.mark.parametrize("stopped_at", [0, 3])
def test_processes_save_together_what_they_tell_late(stopped_at, tmp_path):
    code = f"{AS_T}; import pathlib; t.late_losses(pathlib.{tmp_path!r}, {stopped_at})"
    codes, printed = processes.ends(processes.start(["-c", code]))
    assert codes == [1 if stopped_at else 0] * 2, printed
    state = load_state(tmp_path / "state", "cell")
    steps = stopped_at or 6
    assert state["iteration"] == steps
    curve = state["hooks"]["curve"]
    assert [point["iteration"] for point in curve["points"]] == list(range(1, steps + 1))
    if stopped_at:
        assert all("Interrupted" in text for text in printed)
