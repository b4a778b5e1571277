"""What MMDetection's and MMSegmentation's ResNets call the weights of timm's."""

import re


def toolbox_names(state):
    """timm's state dict under the toolboxes' names, without the classifier ``fc``.

    They put the last batch norm of a deep stem inside of the stem.
    """
    kept = {name: value for name, value in state.items() if not name.startswith("fc.")}
    if "conv1.0.weight" not in kept:
        return kept
    return {
        re.sub(r"^conv1\.", "stem.", re.sub(r"^bn1\.", "stem.7.", name)): value
        for name, value in kept.items()
    }
