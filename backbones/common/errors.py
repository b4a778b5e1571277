"""Errors that are meant for the user."""

from backbones.common.escape import terminal


class UserError(Exception):
    """An error that the user can correct: what is wrong, where, and what to do next.

    Commands print the message and end with exit code 2. They record nothing and show no traceback.
    Any other exception is a defect of this project.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if text.startswith("Caught "):
            # torch re-raises a loader worker's error with the worker's traceback as text.
            text = text.rsplit("UserError: ", 1)[-1].strip()
        return terminal(text)  # a message may quote an untrusted name


class BrokenProcess(UserError):
    """This process must not compute any more; another process may."""


class Untrusted(BrokenProcess):
    """The results so far may be wrong; no training may resume from them."""


class OutOfMemory(UserError):
    """Memory ran out; the same run may succeed with fewer runs beside it.

    Args:
        message: What to print.
        place: Whose memory: ``"gpu"`` or ``"host"``.
    """

    def __init__(self, message: str, place: str = "host") -> None:
        super().__init__(message)
        self.place = place
