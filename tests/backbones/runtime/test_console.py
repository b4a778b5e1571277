from datetime import timedelta

from backbones.runtime.console import StepBar


def shown(bar):
    return bar.progress.tasks[0].fields["left"]


def test_no_time_left_is_shown_before_it_is_known():
    bar = StepBar("row")
    assert shown(bar) == ""
    bar.step("train", 1, 100)
    assert shown(bar) == ""
    bar.step("train", 2, 100)
    assert shown(bar).endswith(" left")


def test_the_time_left_of_the_whole_command_is_shown_from_the_first_step():
    bar = StepBar("row", lambda: 90.0)
    assert shown(bar) == ""
    bar.step("train", 1, 100)
    assert shown(bar) == f"{timedelta(seconds=90)} left in all"
