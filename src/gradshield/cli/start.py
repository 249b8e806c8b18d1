"""Where the command `gradshield` starts: it can be stopped while it is still being imported."""

from __future__ import annotations

import sys

from gradshield.cli.stopping import STOPPED, exit_code, stoppable


def start() -> None:
    """Run the command line."""
    try:
        with stoppable():
            from gradshield.cli.main import app

            app()
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"{STOPPED}\n")
        sys.exit(exit_code(stop))
