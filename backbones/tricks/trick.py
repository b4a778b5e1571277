"""The base class of tricks, and their registry.

A module of this folder defines a subclass of :class:`Trick` and registers it with :func:`register`;
trainings find it by its name. ``Recipe.extra`` switches on tricks that the paper does not have.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from backbones.common.errors import UserError

Schedulers = list[dict[str, Any]]
Groups = list[dict[str, Any]]


class Trick:
    """An active trick; a subclass overrides the methods of the places where it acts.

    Args:
        value: The recipe's setting: ε, α, a number of epochs, a network.
        authors_code: Follow the authors' code where it differs from the paper.

    Attributes:
        order: Tricks act in this order; those of the paper have the numbers of their sections.
    """

    order: ClassVar[float] = 9.0

    def __init__(self, value: Any, *, authors_code: bool = False) -> None:
        self.value = value
        self.authors_code = authors_code

    def initialise(self, network: nn.Module) -> None:
        """Change an initialised network in place."""

    def parameter_groups(self, groups: Groups) -> Groups:
        """Parameter groups for the optimiser, from those of the preceding tricks."""
        return groups

    def schedulers(self, schedulers: Schedulers, epochs: int, total: int) -> Schedulers:
        """MMEngine's learning-rate schedulers, from those of the preceding tricks.

        Args:
            schedulers: In the order in which they act; the last one ends the training.
            epochs: Epochs of the recipe; the training may be longer or shorter.
            total: Number of iterations of the training.
        """
        return schedulers

    def targets(self, targets: Tensor) -> Tensor:
        """Target distributions, (B, K), from one-hot targets or those of the preceding tricks."""
        return targets

    def batch(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images, (B, 3, H, W), and targets, (B, K), as the network and the loss see them."""
        return images, targets

    def loss(self, loss: Tensor, logits: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """The loss, a scalar, from the cross entropy or the loss of the preceding tricks.

        Args:
            loss: The loss so far.
            logits: (B, K), float32.
            images: (B, 3, H, W), the input of the network.
            targets: (B, K) distributions.
        """
        return loss

    def to(self, *args: Any, **kwargs: Any) -> None:
        """Follow the network to another device or memory format."""


_TRICKS: dict[str, type[Trick]] = {}
Registered = TypeVar("Registered", bound=type[Trick])


def register(name: str) -> Any:
    """Register a subclass of :class:`Trick` under its name in recipes.

    Args:
        name: A field of ``Recipe``, or a key of ``Recipe.extra``.
    """

    def mark(trick: Registered) -> Registered:
        _TRICKS[name] = trick
        return trick

    return mark


def switched_on(settings: dict[str, Any], *, authors_code: bool = False) -> list[Trick]:
    """The tricks of a recipe, in the order in which they act.

    Args:
        settings: Values of the active tricks by name, as ``Recipe.settings`` returns them.
        authors_code: Follow the authors' code where it differs from the paper.

    Raises:
        UserError: A trick is not registered.
    """
    package = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{__package__}.{module.name}")
    if unknown := sorted(settings.keys() - _TRICKS.keys()):
        raise UserError(
            f"The recipe asks for the trick '{unknown[0]}', which is not registered; known are "
            f"{', '.join(sorted(_TRICKS))}. Each file of backbones/tricks registers one."
        )
    tricks = [_TRICKS[name](value, authors_code=authors_code) for name, value in settings.items()]
    return sorted(tricks, key=lambda trick: trick.order)
