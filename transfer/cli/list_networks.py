"""``transfer backbones --networks``: which networks serve as the backbone of which task."""

from __future__ import annotations

from fnmatch import fnmatch

from rich.console import Console

from backbones.zoo.limits import Limits, known_limits

_NOTES = """
Any network of timm can be tried by its full name; these are the zoo's, those
often asked for, and some of each family. The detector's pyramid has strides 4
to 32, the segmenter's 4 to 8: dilated, the network's last stages are dilated;
pyramid, ViTDet's pyramid makes the maps; resized, maps of strides 16 and 32
are resized. The detector of the protocol 'paper' takes ResNets only."""


def list_networks(pattern: str, console: Console) -> None:
    """One line for each network, and a sentence for each that is refused.

    Args:
        pattern: A network of timm, or a part or pattern of the names in the table of limits; empty
            for the whole table.
        console: Where to print.

    Raises:
        UserError: timm has no such network.
    """
    known = known_limits()
    listed = {name: known[name] for name in known if fnmatch(name, f"*{pattern}*")}
    if pattern in known:
        listed = {pattern: known[pattern]}
    if not listed:
        from backbones.openmmlab.network_limits import limits

        listed = {pattern: limits(pattern)}
    width = max(len("network"), *map(len, listed))
    console.print(f"{'network':{width}}  detection  segmentation", style="bold", highlight=False)
    for name, found in listed.items():
        detection, segmentation = _words(found)
        console.print(
            f"{name:{width}}  {detection:9}  {segmentation}", highlight=False, soft_wrap=True
        )
        if found.pyramid:
            console.print(f"  {found.pyramid}", highlight=False, markup=False, soft_wrap=True)
    console.print(_NOTES, highlight=False)


def _words(found: Limits) -> tuple[str, str]:
    if found.pyramid:
        return "refused", "refused"
    return "works", f"works, {found.stride_8}"
