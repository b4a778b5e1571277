"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can mend: what was wrong, where, and what to do next, in one sentence.

    Commands print the sentence and end with exit code 2; nothing is recorded and no traceback is
    shown. Everything else that is raised is a defect of this project.
    """
