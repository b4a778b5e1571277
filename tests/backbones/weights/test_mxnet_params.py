"""MXNet's parameter files: what is read, and that nothing else does harm.

The writer here packs files by the format's description, independently of the reader.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from backbones.common.errors import UserError
from backbones.weights.key_maps import to_timm
from backbones.weights.mxnet_params import MAX_ARRAYS, is_mxnet_params, read_params
from tests.support.params_files import (
    FLAGS,
    HEADER,
    SEEDS,
    VERSIONS,
    Raw,
    pack,
    ramp,
    small_file,
    zipped,
)

FIXTURE = Path(__file__).parents[4] / "shared/data/fixtures/gluoncv-cifar_resnet20_v1-0000.params"


def write(folder: Path, content: bytes, name: str = "net.params") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.fixture
def refused(tmp_path: Path):
    """Reads bytes that must be refused, and gives the sentence back."""

    def read(content: bytes, name: str = "net.params") -> str:
        path = write(tmp_path, content, name)
        with pytest.raises(UserError) as caught:
            read_params(path)
        sentence = str(caught.value)
        assert str(path) in sentence
        assert len(sentence) < 600 + len(str(path))
        return sentence

    return read


class TestWhatIsRead:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_names_shapes_and_values_of_every_version(self, tmp_path, version):
        arrays = read_params(write(tmp_path, small_file(version)))
        assert list(arrays) == ["conv0_weight", "batchnorm0_running_mean"]
        np.testing.assert_array_equal(arrays["conv0_weight"], ramp(4, 3, 3, 3))
        np.testing.assert_array_equal(arrays["batchnorm0_running_mean"], ramp(4))

    @pytest.mark.parametrize("dtype", FLAGS, ids=str)
    def test_every_type_keeps_its_type_and_is_writable(self, tmp_path, dtype):
        values = (ramp(2, 5, dtype="int64") % 2).astype(dtype)
        array = read_params(write(tmp_path, pack([Raw(values)], ["x"])))["x"]
        assert array.dtype == dtype
        assert array.flags.writeable
        assert array.flags.aligned
        np.testing.assert_array_equal(array, values)

    def test_bfloat16_is_widened_to_float32_without_loss(self, tmp_path):
        values = np.array([1.0, -2.5, 0.15625, np.inf], "float32")  # each fits in 16 bits
        upper = (values.view("uint32") >> 16).astype("uint16")
        array = read_params(write(tmp_path, pack([Raw(upper, flag=12)], ["x"])))["x"]
        np.testing.assert_array_equal(array, values)

    def test_any_byte_but_0_is_true(self, tmp_path):
        odd = np.array([0, 1, 2, 255], "uint8")
        array = read_params(write(tmp_path, pack([Raw(odd, flag=7)], ["x"])))["x"]
        assert array.tolist() == [False, True, True, True]

    def test_a_scalar_of_the_numpy_version(self, tmp_path):
        content = pack([Raw(np.float32(2.5)[()].reshape(()), "V3")], ["x"])
        assert read_params(write(tmp_path, content))["x"] == np.float32(2.5)

    def test_arrays_saved_from_a_gpu_are_read_the_same(self, tmp_path):
        content = pack([Raw(ramp(3), context=(2, 7))], ["x"])
        np.testing.assert_array_equal(read_params(write(tmp_path, content))["x"], ramp(3))

    def test_versions_may_be_mixed(self, tmp_path):
        content = pack([Raw(ramp(2), version) for version in VERSIONS], VERSIONS)
        assert list(read_params(write(tmp_path, content))) == list(VERSIONS)

    @pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
    def test_the_one_params_file_in_a_zip(self, tmp_path, method):
        members = {
            "readme.txt": b"weights",
            "resnet50_v1d-00319ddc.params": small_file(),
            "__MACOSX/._resnet50_v1d-00319ddc.params": b"Finder's",
        }
        path = write(tmp_path, zipped(members, method), "resnet50_v1d-00319ddc.zip")
        assert list(read_params(path)) == ["conv0_weight", "batchnorm0_running_mean"]
        assert [file.name for file in tmp_path.iterdir()] == [path.name]

    @settings(max_examples=100, deadline=None)
    @given(data=st.data())
    def test_whatever_the_writer_writes(self, tmp_path_factory, data):
        names = data.draw(st.lists(st.text(max_size=20), unique=True, min_size=1, max_size=4))
        names = [name for name in names if not name.startswith(("arg:", "aux:"))] or ["x"]
        shapes = hnp.array_shapes(max_dims=5, max_side=4)
        arrays = [
            data.draw(hnp.arrays(data.draw(st.sampled_from(list(FLAGS))), shapes)) for _ in names
        ]
        versions = [data.draw(st.sampled_from(VERSIONS)) for _ in names]
        content = pack([Raw(a, v) for a, v in zip(arrays, versions, strict=True)], names)
        path = write(tmp_path_factory.mktemp("any"), content)
        found = read_params(path)
        assert list(found) == names
        for name, array in zip(names, arrays, strict=True):
            np.testing.assert_array_equal(found[name], array)

    def test_a_zipped_resnet_d_under_gluoncvs_names_computes_what_it_did(self, tmp_path):
        network = timm.create_model("resnet18d", num_classes=5).eval()
        norms = {n for n, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
        fields = {"weight": "gamma", "bias": "beta"}
        saved = {}
        for key, tensor in network.state_dict().items():
            module, _, field = key.rpartition(".")
            if module in norms and tensor.ndim:  # else they are all 0 and 1, and hide a mix-up
                nn.init.uniform_(tensor, 0.1, 0.3)
            if field != "num_batches_tracked":
                field = fields.get(field, field) if module in norms else field
                saved[f"{module}.{field}"] = tensor.numpy()
        content = zipped({"net.params": pack([Raw(a) for a in saved.values()], list(saved))})
        state, _ = to_timm(read_params(write(tmp_path, content, "net.zip")), "resnet18d")
        again = timm.create_model("resnet18d", num_classes=5).eval()
        loaded = again.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, False)
        assert not loaded.unexpected_keys
        assert all(key.endswith("num_batches_tracked") for key in loaded.missing_keys)
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(again(images), network(images), atol=0, rtol=0)

    def test_it_needs_no_torch(self):
        program = "import sys, backbones.weights.mxnet_params; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.skipif(not FIXTURE.exists(), reason=f"GluonCV's file is not at {FIXTURE}")
class TestGluonCVsOwnFile:
    def test_every_array(self):
        arrays = read_params(FIXTURE)
        assert {name: array.shape for name, array in arrays.items()} == cifar_resnet20_shapes()
        assert all(array.dtype == np.float32 for array in arrays.values())
        assert all(np.isfinite(array).all() for array in arrays.values())
        trainable = [a.size for n, a in arrays.items() if "running" not in n]
        assert sum(trainable) == 272_474  # ResNet-20 at 10 classes with projection shortcuts

    def test_the_running_variances_are_positive_as_a_misread_would_not_have_them(self):
        arrays = read_params(FIXTURE)
        variances = [array for name, array in arrays.items() if name.endswith("running_var")]
        assert len(variances) == 21
        assert all((array > 0).all() for array in variances)

    def test_from_a_zip_it_is_the_same(self, tmp_path):
        path = write(tmp_path, zipped({"cifar.params": FIXTURE.read_bytes()}), "cifar.zip")
        plain, packed = read_params(FIXTURE), read_params(path)
        assert list(plain) == list(packed)
        assert all((plain[name] == packed[name]).all() for name in plain)

    @pytest.mark.parametrize("share", [0.0, 0.00002, 0.01, 0.5, 0.995, 0.9999])
    def test_a_truncated_copy_is_refused(self, refused, share):
        content = FIXTURE.read_bytes()
        refused(content[: int(len(content) * share)])

    def test_a_truncated_copy_is_refused_at_every_array(self, tmp_path):
        content = FIXTURE.read_bytes()
        path = write(tmp_path, content)
        for size in range(len(content) - 1, 0, -len(content) // 60):
            os.truncate(path, size)
            with pytest.raises(UserError, match="byte"):
                read_params(path)


def cifar_resnet20_shapes() -> dict[str, tuple[int, ...]]:
    """ResNet-20 for CIFAR-10 (He et al. 2016, section 4.2) under Gluon's counting names."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(prefix: str, number: int, out: int, into: int, kernel: int) -> None:
        shapes[f"{prefix}conv{number}_weight"] = (out, into, kernel, kernel)
        for field in ("gamma", "beta", "running_mean", "running_var"):
            shapes[f"{prefix}batchnorm{number}_{field}"] = (out,)

    net = "cifarresnetv10_"
    layer(net, 0, 16, 3, 3)
    into = 16
    for stage, width in enumerate((16, 32, 64), start=1):
        number = 0
        for block in range(3):
            widths = [(width, into, 3), (width, width, 3)]
            if into != width and block == 0:
                widths.append((width, into, 1))
            for out, before, kernel in widths:
                layer(f"{net}stage{stage}_", number, out, before, kernel)
                number += 1
            into = width
    shapes |= {f"{net}dense0_weight": (10, 64), f"{net}dense0_bias": (10,)}
    return shapes


class TestWhatIsRefused:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_every_truncation(self, tmp_path, version):
        content = small_file(version)
        path = write(tmp_path, content)
        for size in range(len(content) - 1, -1, -1):
            os.truncate(path, size)
            with pytest.raises(UserError, match="byte"):
                read_params(path)

    def test_the_sentence_names_array_and_byte(self, refused):
        content = pack([Raw(ramp(2)), Raw(ramp(2), shape=(9, 9))], ["a", "b"])
        start = len(HEADER) + 8 + len(Raw(ramp(2)).pack())
        values = start + len(Raw(ramp(2), shape=(9, 9)).pack()) - 8
        sentence = refused(content)
        assert f"at byte {values} array 2 of 2, of shape (9, 9), needs 324 bytes" in sentence

    def test_trailing_bytes(self, refused):
        assert "1 bytes follow" in refused(small_file() + b"\0")

    @pytest.mark.parametrize("content", [b"", b"PK", b"\x12\x01" + b"\0" * 5, b"not weights" * 9])
    def test_other_files(self, refused, content):
        assert "no MXNet NDArray list" in refused(content)

    def test_a_reserved_word_in_use(self, refused):
        content = bytearray(small_file())
        content[8] = 1
        assert "reserved" in refused(bytes(content))

    @pytest.mark.parametrize(("storage", "kind"), [(1, "row_sparse"), (2, "csr"), (-1, "-1")])
    @pytest.mark.parametrize("version", ["V2", "V3"])
    def test_sparse_arrays_by_name(self, refused, version, storage, kind):
        content = pack([Raw(ramp(4), version, storage=storage)], ["x"])
        assert kind in refused(content)

    @pytest.mark.parametrize("version", ["V1", "V2", "V3"])
    @pytest.mark.parametrize("dimensions", [-1, -(2**31), 33, 2**31 - 1])
    def test_numbers_of_dimensions(self, refused, version, dimensions):
        array = bytearray(Raw(ramp(4), version).pack())
        struct.pack_into("<i", array, 4 if version == "V1" else 8, dimensions)
        assert f"{dimensions} dimensions" in refused(pack([bytes(array)], ["x"]))

    def test_a_magic_number_that_is_none(self, refused):
        array = struct.pack("<I", 0xF993FACB) + bytes(40)
        assert f"{0xF993FACB} dimensions" in refused(pack([array], ["x"]))

    @pytest.mark.parametrize("version", ["legacy", "V1", "V2"])
    def test_arrays_without_dimensions(self, refused, version):
        array = Raw(np.float32(1).reshape(()), version)
        assert "empty" in refused(pack([array], ["x"]))

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("shape", [(0,), (4, 0, 3), (2**31, 0)])
    def test_dimensions_of_0(self, refused, version, shape):
        content = pack([Raw(ramp(4), version, shape=shape)], ["x"])
        assert f"has the shape {shape}" in refused(content)

    @pytest.mark.parametrize("shape", [(-1,), (-4, -1), (-(2**63),)])
    def test_negative_dimensions(self, refused, shape):
        assert f"has the shape {shape}" in refused(pack([Raw(ramp(4), shape=shape)], ["x"]))

    @pytest.mark.parametrize("shape", [(2**63 - 1,), (2**62, 4), (2**32,) * 32, (3 << 60,)])
    def test_dimensions_whose_product_overflows(self, refused, shape):
        assert "needs" in refused(pack([Raw(ramp(4), shape=shape)], ["x"]))

    @pytest.mark.parametrize("flag", [-1, 13, 2**31 - 1])
    def test_unknown_types(self, refused, flag):
        assert f"unknown type {flag}" in refused(pack([Raw(ramp(4), flag=flag)], ["x"]))

    @pytest.mark.parametrize("count", [2**64 - 1, 2**63, 100, 3])
    def test_more_arrays_than_there_are(self, refused, count):
        refused(HEADER + struct.pack("<Q", count) + small_file()[24:])

    def test_more_arrays_than_are_allowed(self, refused):
        count = MAX_ARRAYS + 1
        content = HEADER + struct.pack("<Q", count) + Raw(ramp(1), "legacy").pack() * count
        assert f"{count} arrays" in refused(content)

    def test_no_arrays(self, refused):
        assert "no arrays" in refused(pack([], []))

    @pytest.mark.parametrize("names", [[], ["a"], ["a", "b", "c"]])
    def test_another_number_of_names(self, refused, names):
        assert f"{len(names)} names for 2 arrays" in refused(pack([Raw(ramp(2))] * 2, names))

    @pytest.mark.parametrize("length", [2**64 - 1, 2**63, 4097, 2])
    def test_names_longer_than_what_is_left(self, refused, length):
        content = pack([Raw(ramp(2))], [])[:-8] + struct.pack("<QQ", 1, length) + b"a"
        assert f"{length} bytes" in refused(content)

    @pytest.mark.parametrize("other", ["x", "arg:x", "aux:x"])
    def test_a_name_twice_with_or_without_its_prefix(self, refused, other):
        sentence = refused(pack([Raw(ramp(2))] * 3, ["arg:x", "y", other]))
        assert "array 3 is named 'x', as array 1 is" in sentence

    def test_names_that_are_not_text(self, refused):
        assert "UTF-8" in refused(pack([Raw(ramp(2))], [b"\xff\xfe"]))

    def test_what_is_no_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "absent", tmp_path / "pipe", Path("/dev/zero")):
            with pytest.raises(UserError, match=path.name):
                read_params(path)
            assert not is_mxnet_params(path)


class TestArchives:
    @pytest.mark.parametrize("names", [[], ["a.params", "b.params"], ["weights.pth"]])
    def test_not_exactly_one_parameter_file(self, refused, names):
        content = zipped(dict.fromkeys(names or ["readme"], small_file()))
        wanted = [name for name in names if name.endswith(".params")]
        assert f"{len(wanted)} .params files" in refused(content, "net.zip")

    def test_every_truncation(self, tmp_path):
        content = zipped({"net.params": small_file()})
        path = write(tmp_path, content, "net.zip")
        for size in range(len(content) - 1, -1, -1):
            os.truncate(path, size)
            with pytest.raises(UserError, match=r"net\.zip"):
                read_params(path)

    def test_a_bomb_by_its_ratio(self, refused):
        content = zipped({"net.params": bytes(64 << 20)})
        assert len(content) < 100_000
        assert "would unpack to" in refused(content, "net.zip")

    def test_a_declared_size_over_the_limit(self, refused):
        content = _with_size(zipped({"net.params": small_file()}), 2**32 - 2)
        assert "would unpack to 4294967294 bytes" in refused(content, "net.zip")

    @pytest.mark.parametrize("change", [-1, -100, +1, +100])
    def test_a_declared_size_that_is_not_so(self, refused, change):
        content = zipped({"net.params": small_file()})
        refused(_with_size(content, len(small_file()) + change), "net.zip")

    def test_more_than_declared_is_noticed_even_where_the_checksum_fits(self, refused):
        whole = small_file()
        content = bytearray(_with_size(zipped({"net.params": whole + b"more"}), len(whole)))
        at = content.rindex(b"PK\x01\x02") + 16
        content[at : at + 4] = struct.pack("<L", zlib.crc32(whole))
        refused(bytes(content), "net.zip")

    def test_a_wrong_checksum(self, refused):
        content = bytearray(zipped({"net.params": small_file()}, zipfile.ZIP_STORED))
        content[content.index(struct.pack("<3f", 1, 2, 3))] ^= 1
        assert "CRC" in refused(bytes(content), "net.zip")

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_methods_whose_output_cannot_be_bounded(self, refused, method):
        assert f"method {method}" in refused(zipped({"a.params": small_file()}, method), "a.zip")

    def test_an_encrypted_member(self, refused):
        content = bytearray(zipped({"net.params": small_file()}))
        content[content.rindex(b"PK\x01\x02") + 8] |= 1
        assert "encrypted" in refused(bytes(content), "net.zip")

    def test_a_directory_of_very_many_files(self, refused):
        content = zipped({f"{i}.params": b"" for i in range(2000)}, zipfile.ZIP_STORED)
        assert "lists too many files" in refused(content, "net.zip")

    def test_the_form_for_over_4_gib(self, refused):
        content = zipped({"net.params": small_file()})
        refused(content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:], "net.zip")

    def test_a_comment_in_which_another_end_could_hide(self, refused):
        content = zipped({"net.params": small_file()})
        assert "end of an archive" in refused(content[:-2] + b"\4\0some", "net.zip")


def _with_size(archive: bytes, size: int) -> bytes:
    """The archive with another unpacked size declared in its directory."""
    changed = bytearray(archive)
    at = changed.rindex(b"PK\x01\x02") + 24
    changed[at : at + 4] = struct.pack("<L", size)
    return bytes(changed)


class TestSniffing:
    def test_parameter_files_and_archives_of_them(self, tmp_path):
        assert is_mxnet_params(write(tmp_path, small_file()))
        assert is_mxnet_params(write(tmp_path, zipped({"a.params": small_file()}), "a.zip"))

    @pytest.mark.parametrize("content", [b"", b"\x12\x01", b"PK\x03\x04", b"{}" * 20])
    def test_others(self, tmp_path, content):
        assert not is_mxnet_params(write(tmp_path, content))

    def test_an_archive_of_something_else(self, tmp_path):
        assert not is_mxnet_params(write(tmp_path, zipped({"data.pkl": b"pickle"})))
        assert not is_mxnet_params(write(tmp_path, zipped({"a.params": b"of another kind"})))


NUMBERS = st.sampled_from(
    [0, 1, 2, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A valid file with a few places overwritten, cut out or repeated."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        how = draw(st.sampled_from(["overwrite", "number", "cut", "repeat"]))
        if how == "overwrite":
            patch = draw(st.binary(min_size=1, max_size=8))
            content[at : at + len(patch)] = patch
        elif how == "number":
            width = draw(st.sampled_from([2, 4, 8]))
            number = draw(NUMBERS) % (1 << (8 * width))
            content[at : at + width] = number.to_bytes(width, "little")
        elif how == "cut":
            del content[at : at + draw(st.integers(1, 64))]
        else:
            content[at:at] = content[at : at + draw(st.integers(1, 64))]
    return bytes(content)


class TestAnyBytes:
    """Any bytes give arrays or the project's own error, in bounded memory."""

    @settings(
        max_examples=400,
        deadline=20_000,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(content=st.one_of(mutations(), st.binary(max_size=200), st.binary().map(HEADER.__add__)))
    @example(content=SEEDS[4])
    def test_value_or_user_error(self, tmp_path, content):
        path = write(tmp_path, content)
        arrays, sentence = {}, ""
        tracemalloc.start()
        try:
            arrays = read_params(path)
        except UserError as error:
            sentence = str(error)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert sentence.isprintable()
        # A zip may unpack to 100 times its size; beyond that only fixed costs.
        assert peak < (1 << 20) + 300 * len(content)
        assert sum(array.nbytes for array in arrays.values()) <= 200 * len(content)
        assert is_mxnet_params(path) or not arrays
