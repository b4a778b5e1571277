"""Which runs go side by side on a card; cards and runs are stand-ins."""

import pytest

from backbones.common.cards import Look
from tests.support import synthetic
from transfer.scheduling import room as rooms
from transfer.scheduling.room import Packing, Room

GIB = 1 << 30
SMALL, LARGE, UNKNOWN = (synthetic.cell("resnet50_baseline", seed=seed) for seed in (1, 2, 3))
NEEDS = {SMALL: 10 * GIB, LARGE: 40 * GIB}


class Card:
    """A card of 100 GiB whose use and load a test sets."""

    def __init__(self):
        self.used, self.busy = 0, 0.0

    def __call__(self, device):
        return Look(100 * GIB, self.used, self.busy)


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(rooms, "_LOOK_EVERY", 0.0)
    return Card()


def packing(card, takes_turns=True):
    return Packing(NEEDS.get, card, takes_turns)


def most(packed, cell):
    """Runs of a cell that are admitted one after another."""
    beside = []
    while packed.admits(cell, 0, beside) and len(beside) < 50:
        beside.append(cell)
    return len(beside)


def test_as_many_runs_are_admitted_as_fit_beside_what_others_use(card):
    assert most(packing(card), SMALL) == 9, "95 of 100 GiB"
    assert most(packing(card), LARGE) == 2
    card.used = 50 * GIB  # another program, from the start
    assert most(packing(card), SMALL) == 4
    packed = packing(card)
    assert packed.admits(LARGE, 0, [])
    assert packed.admits(SMALL, 0, []), "alone a run always may"
    assert not packed.admits(SMALL, 0, [LARGE])


def test_another_program_that_comes_later_counts_too(card):
    packed = packing(card)
    assert packed.admits(SMALL, 0, [SMALL])
    card.used = 90 * GIB
    assert not packed.admits(SMALL, 0, [SMALL])


@pytest.mark.parametrize("pair", [(UNKNOWN, SMALL), (SMALL, UNKNOWN)])
def test_a_run_of_unknown_need_has_a_card_for_itself(card, pair):
    new, running = pair
    assert packing(card).admits(UNKNOWN, 0, [])
    assert not packing(card).admits(new, 0, [running])


def test_a_card_that_is_not_known_takes_one_run():
    packed = Packing(NEEDS.get, lambda device: None, takes_turns=True)
    assert packed.admits(SMALL, 0, [])
    assert not packed.admits(SMALL, 0, [SMALL])


def test_a_card_that_was_busy_for_a_while_takes_no_further_run_unless_runs_compute_together(card):
    card.busy = 0.97
    turns, together = packing(card), packing(card, takes_turns=False)
    looks = [turns.admits(SMALL, 0, [SMALL]) for _ in range(rooms._LOOKS)]
    assert looks == [True] * (rooms._LOOKS - 1) + [False]
    assert turns.admits(SMALL, 0, []), "alone a run always may"
    assert all(together.admits(SMALL, 0, [SMALL]) for _ in range(2 * rooms._LOOKS))
    card.busy = 0.5
    assert turns.admits(SMALL, 0, [SMALL])


def test_workers_share_cards_in_turn_and_without_gpus_the_machine():
    running = {0: SMALL, 1: LARGE, 2: SMALL}
    assert Room(2).beside(0, running) == [SMALL]
    assert Room(2).beside(3, running) == [LARGE]
    assert Room(0).beside(0, running) == [LARGE, SMALL]


def test_after_memory_ran_out_there_is_one_run_fewer_on_that_card_alone():
    room, running = Room(2), {n: SMALL for n in range(6)}
    assert room.ran_out(0, "gpu", running) == 2
    del running[0]
    assert not room.admits(SMALL, 0, running)
    assert room.admits(SMALL, 7, {n: SMALL for n in (1, 3)}), "the other card"
    assert room.admits(SMALL, 0, {2: SMALL})
    assert room.ran_out(2, "gpu", {2: SMALL, 4: SMALL}) == 1
    assert room.ran_out(2, "gpu", {1: SMALL, 2: SMALL}) is None, "nothing else is on its card"


def test_memory_of_the_machine_is_shared_by_all_cards():
    room = Room(2)
    assert room.ran_out(0, "host", {0: SMALL, 1: SMALL}) == 1
    assert not room.admits(SMALL, 0, {1: SMALL})
    assert room.admits(SMALL, 0, {})
    assert room.ran_out(1, "host", {1: SMALL}) is None
