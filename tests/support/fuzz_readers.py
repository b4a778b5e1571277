"""Coverage-guided fuzzing of the readers of ``foreign_files.py``; not part of the test run.

    pip install atheris
    python tests/support/fuzz_readers.py --reader voc-xml --minutes 5 --corpus FOLDER

Anything but a value or a ``UserError`` ends the run and writes the bytes that caused it to
``FOLDER/<reader>-crash-<hash>``. So does a read of over two seconds of processor time, and one that
asks for more memory than the reader's bound, which the kernel refuses. Keep them as a test.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import sys
import tempfile
import time
from pathlib import Path

import atheris
from torch import _weights_only_unpickler as unpickling  # whole, torch takes minutes to instrument

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
INSTRUMENTED = ["backbones", "transfer", "tomllib", "zipfile", "PIL"]
SECONDS = 2.0  # of computing, for a read
MIB = 1 << 20
WALL = ("-timeout=1800", "-report_slow_units=1800")
"""For endless reads: libFuzzer counts seconds of the clock, also while the process is paused."""

with atheris.instrument_imports(include=INSTRUMENTED):
    from backbones.common.errors import UserError
    from tests.support.foreign_files import READERS, Reader, read_content

unpickling.Unpickler.load = atheris.instrument_func(unpickling.Unpickler.load)


def fuzz(reader: Reader, minutes: float, corpus: Path, longest: int) -> None:
    """Read changed files until the time is over; ends the process."""
    found, tried = corpus / reader.name, 0
    found.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    for number, seed in enumerate(reader.seeds):
        (found / f"seed-{number}").write_bytes(seed)
        read_content(reader, seed, folder)  # a valid file is read, and what is lazy is loaded
    words = folder / "words.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in reader.words))

    def read(content: bytes) -> None:
        nonlocal tried
        tried += 1
        began = time.process_time()
        with contextlib.suppress(UserError), contextlib.redirect_stdout(io.StringIO()):
            read_content(reader, content, folder)
        took = time.process_time() - began
        assert took < SECONDS, f"{took:.1f} s"

    resource.setrlimit(resource.RLIMIT_AS, (_size() + (reader.megabytes + 256) * MIB,) * 2)
    bounds = [f"-max_total_time={round(60 * minutes)}", f"-max_len={longest}", *WALL]
    bounds += [f"-artifact_prefix={corpus}/{reader.name}-", "-print_final_stats=1"]
    bounds += ["-rss_limit_mb=0", "-detect_leaks=0", *([f"-dict={words}"] if reader.words else ())]
    atheris.Setup([sys.argv[0], *bounds, str(found)], read)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    """A word as libFuzzer's dictionaries have it."""
    return "".join(f"\\x{byte:02x}" for byte in word)


def _size() -> int:
    """Address space of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", choices=sorted(READERS), required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--corpus", type=Path, required=True, help="what is found is kept there")
    parser.add_argument("--longest", type=int, default=4096, help="bytes of a file")
    args = parser.parse_args()
    fuzz(READERS[args.reader], args.minutes, args.corpus, args.longest)


if __name__ == "__main__":
    main()
