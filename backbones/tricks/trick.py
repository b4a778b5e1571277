"""What a trick is: a few places of a training where it may act, and a name in recipes.

A module of this folder defines a subclass of :class:`Trick` and marks it with :func:`register`; the
training finds it by its name. ``Recipe.extra`` switches on tricks that the paper does not have.
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
    """A trick that is switched on; a subclass overrides the places where it acts.

    Args:
        value: The recipe's setting: ε, α, a number of epochs, a network.
        authors_code: Where paper and authors' code differ, do as the code.

    Attributes:
        order: Tricks act in this order; the paper's have the numbers of their sections.
    """

    order: ClassVar[float] = 9.0

    def __init__(self, value: Any, *, authors_code: bool = False) -> None:
        self.value = value
        self.authors_code = authors_code

    def initialise(self, network: nn.Module) -> None:
        """Change a network that was just initialised, in place."""

    def parameter_groups(self, groups: Groups) -> Groups:
        """Groups for the optimiser, from those of the tricks before."""
        return groups

    def schedulers(self, schedulers: Schedulers, epochs: int, total: int) -> Schedulers:
        """MMEngine's learning-rate schedulers, from those of the tricks before.

        Args:
            schedulers: In the order in which they act; the last one ends the training.
            epochs: Of the recipe; the training may be longer or shorter.
            total: Iterations of the training.
        """
        return schedulers

    def targets(self, targets: Tensor) -> Tensor:
        """Target distributions, (B, K), from one-hot ones or those of the tricks before."""
        return targets

    def batch(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images, (B, 3, H, W), and targets, (B, K), as the network and the loss see them."""
        return images, targets

    def loss(self, loss: Tensor, logits: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """The loss, a scalar, from the cross entropy or that of the tricks before.

        Args:
            loss: So far.
            logits: (B, K), float32.
            images: (B, 3, H, W), as the network saw them.
            targets: (B, K) distributions.
        """
        return loss

    def to(self, *args: Any, **kwargs: Any) -> None:
        """Follow the network to another device or memory format."""


_TRICKS: dict[str, type[Trick]] = {}
Registered = TypeVar("Registered", bound=type[Trick])


def register(name: str) -> Any:
    """Make a subclass of :class:`Trick` known under a name of recipes.

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
        settings: Value of each trick that is on, by name, as ``Recipe.settings`` gives them.
        authors_code: Where paper and authors' code differ, do as the code.

    Raises:
        UserError: No module of this folder registers a trick of that name.
    """
    package = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{__package__}.{module.name}")
    if unknown := sorted(settings.keys() - _TRICKS.keys()):
        raise UserError(
            f"The recipe asks for the trick '{unknown[0]}', which is not registered; known are "
            f"{', '.join(sorted(_TRICKS))}. A trick is a file of backbones/tricks."
        )
    tricks = [_TRICKS[name](value, authors_code=authors_code) for name, value in settings.items()]
    return sorted(tricks, key=lambda trick: trick.order)
