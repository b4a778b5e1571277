"""Which runs may start side by side on a card: by its memory, its load, and what happened before.

Without GPUs, all runs share the machine as if it were one card.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from backbones.common.cards import Look
from transfer.records.cells import Cell

USABLE = 0.95
"""Share of a card's memory that runs may take; the rest is for fragments."""

_LOOK_EVERY = 1.0  # seconds between two looks at a card
_LOOKS = 10  # looks that tell whether a card is busy
_BUSY = 0.95  # mean load of a card that gains nothing from a further run


@dataclass
class _Card:
    """What is known of a card.

    Attributes:
        looks: The last looks at it.
        looked_at: Time of the last look, in monotonic seconds.
        foreign: Bytes used by other programs before the first run; None before the first look.
    """

    looks: deque[Look] = field(default_factory=lambda: deque(maxlen=_LOOKS))
    looked_at: float = -math.inf
    foreign: int | None = None


class Packing:
    """Admits a run to a card if its memory suffices and the card is not busy.

    Args:
        need: Bytes that a run takes on its card; None if unknown.
        look: Looks at a card; None if the driver does not know it.
        takes_turns: Whether runs take turns on a card, so that a busy one gains nothing from a
            further run. With MPS they compute together, and the load says nothing about room.
    """

    def __init__(
        self,
        need: Callable[[Cell], float | None],
        look: Callable[[int], Look | None],
        takes_turns: bool,
    ) -> None:
        self.need = need
        self.look = look
        self.takes_turns = takes_turns
        self.cards: defaultdict[int, _Card] = defaultdict(_Card)

    def admits(self, cell: Cell, card: int, beside: Sequence[Cell]) -> bool:
        """Whether a run may start on a card beside others; alone it always may."""
        now = self._look(card)
        if not beside:
            return True
        needs = [self.need(one) for one in (cell, *beside)]
        known = [need for need in needs if need is not None]
        if now is None or len(known) < len(needs):
            return False
        room = USABLE * now.total
        # Runs that have just started have not taken their memory yet; other programs may come.
        foreign = self.cards[card].foreign or 0
        if foreign + sum(known) > room or now.used + known[0] > room:
            return False
        return not (self.takes_turns and self._is_busy(card))

    def _look(self, card: int) -> Look | None:
        """The newest look at a card."""
        known, now = self.cards[card], time.monotonic()
        if now - known.looked_at >= _LOOK_EVERY:
            known.looked_at = now
            if (found := self.look(card)) is None:
                known.looks.clear()
            else:
                known.looks.append(found)
                if known.foreign is None:
                    known.foreign = found.used
        return known.looks[-1] if known.looks else None

    def _is_busy(self, card: int) -> bool:
        loads = [one.busy for one in self.cards[card].looks]
        return len(loads) == _LOOKS and sum(loads) >= _BUSY * _LOOKS


class Room:
    """The cards of this machine, shared by its workers.

    Args:
        cards: Number of GPUs; workers take them in turn, by their numbers.
        packing: Decides which runs go together; None if the number of workers is the only limit.

    Attributes:
        limits: Most runs side by side on each card where memory ran out; under None, on this
            machine, once its own memory ran out.
    """

    def __init__(self, cards: int, packing: Packing | None = None) -> None:
        self.cards = cards
        self.packing = packing
        self.limits: dict[int | None, int] = {}

    def card(self, number: int) -> int:
        """The card of a worker."""
        return number % self.cards if self.cards else 0

    def beside(self, number: int, running: Mapping[int, Cell]) -> list[Cell]:
        """The cells that run on the card of a worker, without its own.

        Args:
            number: Of the worker.
            running: The cells that run, by the numbers of their workers.
        """
        card = self.card(number)
        return [cell for n, cell in running.items() if n != number and self.card(n) == card]

    def admits(self, cell: Cell, number: int, running: Mapping[int, Cell]) -> bool:
        """Whether a worker may start a cell now; see :meth:`beside`."""
        card, beside = self.card(number), self.beside(number, running)
        for place, runs in ((None, len(running)), (card, len(beside))):
            if runs >= self.limits.get(place, math.inf):
                return False
        return self.packing is None or self.packing.admits(cell, card, beside)

    def ran_out(self, number: int, place: str, running: Mapping[int, Cell]) -> int | None:
        """Memory ran out in a worker: from now on, one run fewer is side by side.

        Args:
            number: Of the worker.
            place: ``"gpu"`` or ``"host"``.
            running: See :meth:`beside`; with the worker's own cell.

        Returns:
            The most runs side by side from now on; None if the run was alone.
        """
        on_card = place == "gpu"
        others = len(self.beside(number, running)) if on_card else len(running) - 1
        if not others:
            return None
        key = self.card(number) if on_card else None
        self.limits[key] = min(others, self.limits.get(key, others))
        return self.limits[key]
