"""Half precision (section 3.2): 16-bit activations and gradients, float32 master weights.

On CUDA this is MMEngine's ``AmpOptimWrapper``: autocast to float16 with loss scaling and updates in
float32. CPUs use bfloat16, whose range needs no scaling.
"""

from __future__ import annotations

from backbones.common.hardware import cuda_devices


def optim_wrapper_type(half: bool, precision: str = "") -> str:
    """The type of MMEngine's optimiser wrapper.

    Args:
        half: Whether the recipe has the trick.
        precision: ``"float32"`` or ``"bfloat16"`` overrides the recipe; empty does not.
    """
    if precision == "bfloat16":
        return "Bfloat16OptimWrapper"
    if precision == "float32" or not half:
        return "OptimWrapper"
    return "AmpOptimWrapper" if cuda_devices() else "Bfloat16OptimWrapper"
