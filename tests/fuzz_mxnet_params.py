"""Coverage-guided fuzzing of the reader of MXNet's files; not part of the test run.

    pip install atheris
    python tests/fuzz_mxnet_params.py -max_total_time=600 [CORPUS]

Anything but arrays or a UserError ends the run with the bytes that caused it, in ``crash-<hash>``;
so does a read that takes over 5 seconds or a process over 1 GiB. Keep them as a test.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]
with atheris.instrument_imports(include=["backbones", "zipfile"]):
    from backbones.errors import UserError
    from backbones.mxnet_params import is_mxnet_params, read_params


def main() -> None:
    from test_mxnet_params import SEEDS

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "input")

        def read(content: bytes) -> None:
            path.write_bytes(content)
            arrays = {}
            with contextlib.suppress(UserError):
                arrays = read_params(path)
            assert is_mxnet_params(path) or not arrays
            assert sum(array.nbytes for array in arrays.values()) <= 200 * len(content)

        seeds = Path(folder, "seeds")
        seeds.mkdir()
        for i, seed in enumerate(SEEDS):
            Path(seeds, str(i)).write_bytes(seed)
        bounds = ["-timeout=5", "-rss_limit_mb=1024", "-max_len=4096"]
        atheris.Setup([sys.argv[0], *bounds, *sys.argv[1:], str(seeds)], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
