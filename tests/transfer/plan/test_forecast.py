"""The time left of a run on the sample, against runs whose true length is known."""

from hypothesis import given, settings
from hypothesis import strategies as st

from transfer.plan.forecast import Forecast

PARTS = (
    {"train the classifier": 80.0, "train": 45.0, "evaluate": 6.0},
    {"train the classifier": 85.0, "train": 48.0, "evaluate": 6.0},
    {"train": 45.0, "evaluate": 6.0},
    {"train": 48.0, "evaluate": 6.0},
)


def steps(parts, number_of_steps=50):
    """Every step of a run with the reference seconds that it takes."""
    for number, phases in enumerate(parts):
        for phase, seconds in phases.items():
            for done in range(1, number_of_steps + 1):
                yield number, phase, done, number_of_steps, seconds / number_of_steps


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.4, 6.0),
    st.floats(0.5, 2.0),
    st.lists(st.floats(0.9, 1.1), min_size=10, max_size=10),
)
def test_after_a_minute_the_time_left_is_right_within_a_factor_of_1_5(pace, wrong, odd):
    """Parts take up to 10 % more or less than their share, the first guess is up to 2 times off."""
    now = 0.0
    outlook = Forecast(parts=PARTS, guess=pace * wrong, clock=lambda: now)
    outlook.step(0, "train the classifier", 0, 50)
    lengths = []
    for number, phase, done, total, seconds in steps(PARTS):
        place = 3 * number + list(PARTS[number]).index(phase)
        now += seconds * pace * odd[place % len(odd)]
        outlook.step(number, phase, done, total)
        lengths.append((now, outlook.left()))
    for stated_at, left in lengths:
        true = now - stated_at
        if stated_at > 60 and true > 20:
            assert true / 1.5 <= left <= true * 1.5


def test_before_the_first_step_it_is_the_guess():
    assert Forecast(parts=PARTS, guess=2.0).left() == 2 * sum(sum(part.values()) for part in PARTS)


def test_what_an_interrupted_run_had_done_is_not_taken_for_speed():
    now = 0.0
    outlook = Forecast(parts=({"train": 100.0},), guess=1.0, clock=lambda: now)
    outlook.step(0, "train", 50, 100)
    assert 49 < outlook.left() <= 50
    now += 40.0
    outlook.step(0, "train", 90, 100)
    assert 9 < outlook.left() < 11


def test_at_the_end_nothing_is_left_and_sentences_change_nothing():
    outlook = Forecast(parts=PARTS, guess=1.0, clock=lambda: 0.0)
    before = outlook.left()
    outlook.step(0, "top-1 55 % at step 3", 0, 0)
    assert outlook.left() == before
    for number in range(len(PARTS)):
        outlook.step(number, "evaluate", 50, 50)
    assert outlook.left() == 0


def test_of_runs_side_by_side_the_longest_counts():
    """Two runs share the machine: a run that is alone at the end uses half of it."""
    outlook = Forecast(
        parts=({"train": 30.0}, {"train": 10.0}), guess=1.0, jobs=2, clock=lambda: 0.0
    )
    assert outlook.left() == 60
    even = Forecast(parts=({"train": 30.0}, {"train": 30.0}), guess=1.0, jobs=2)
    assert even.left() == 60


def test_the_steps_of_runs_side_by_side_add_up():
    now = 0.0
    parts = ({"train": 30.0, "evaluate": 10.0}, {"train": 40.0})
    outlook = Forecast(parts=parts, guess=5.0, jobs=2, clock=lambda: now)
    for done in range(1, 21):
        now += 3.0  # 1.5 seconds per reference second
        outlook.step(1, "train", done, 40)
        outlook.step(0, "train", done, 30)
    assert 40 * 1.5 < outlook.left() < 40 * 1.5 * 1.3
