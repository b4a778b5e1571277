"""The hub of timm's weights: which files are cached, and whether the hub responds.

It imports neither torch nor timm, so planning a run is fast.
"""

from __future__ import annotations

import queue
import threading
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from backbones.common.resources import cache_dir

SCHEME = "timm:"
_FILE = "model.safetensors"
_SECONDS = 4.0  # for a response, including name lookup


def is_here(source: str) -> bool:
    """Whether weights of the hub are in a cache.

    Args:
        source: ``timm:<model>.<tag>``.
    """
    from huggingface_hub import try_to_load_from_cache

    name = source.removeprefix(SCHEME)
    own = cache_dir() / "weights" / f"{name}.safetensors"
    return own.is_file() or isinstance(try_to_load_from_cache(f"timm/{name}", _FILE), str)


def answers(source: str) -> bool:
    """Whether the hub would send some weights; takes a few seconds at most.

    Args:
        source: ``timm:<model>.<tag>``.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    address = f"{constants.ENDPOINT}/timm/{source.removeprefix(SCHEME)}/resolve/main/{_FILE}"
    heard: queue.Queue[bool] = queue.Queue()
    # In a thread: looking up a name and trying several addresses have no time limit.
    threading.Thread(target=lambda: heard.put(_answers(address)), daemon=True).start()
    try:
        return heard.get(timeout=_SECONDS)
    except queue.Empty:
        return False


def _answers(address: str) -> bool:
    try:
        with urlopen(Request(address, method="HEAD"), timeout=_SECONDS) as answer:
            return bool(answer.status == 200)
    except HTTPError as error:
        error.close()
        return False
    except (HTTPException, OSError, ValueError):
        return False
