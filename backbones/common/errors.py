"""What is meant for the person at the keyboard."""

from backbones.common.escape import terminal


class UserError(Exception):
    """Something the user can mend: what was wrong, where, and what to do next, in one sentence.

    Commands print the sentence and end with exit code 2; nothing is recorded and no traceback is
    shown. Everything else that is raised is a defect of this project.
    """

    def __str__(self) -> str:
        text = super().__str__()
        if text.startswith("Caught "):
            # torch raises a loader worker's error again with the worker's whole traceback as text.
            text = text.rsplit("UserError: ", 1)[-1].strip()
        return terminal(text)  # a sentence may quote a stranger's name


class BrokenProcess(UserError):
    """Nothing more may be computed in this process; another may go on."""


class Untrusted(BrokenProcess):
    """What was computed so far may be wrong; no state of it may be gone on from."""
