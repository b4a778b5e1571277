"""``python -m transfer.cli``: the command ``transfer``."""

import sys

from transfer.cli.main import main

sys.exit(main())
