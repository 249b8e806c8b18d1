"""Call the real command line in this process and keep what it prints and how it ends."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest import mock

from gradshield.cli.main import app


@dataclass(frozen=True)
class Outcome:
    """Exit code, standard output and standard error of one call."""

    code: int
    out: str
    err: str


def gradshield(*arguments: object) -> Outcome:
    """Run `gradshield ARGUMENTS` with two pipes that take UTF-8, as a shell script would."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    command = ["gradshield", *map(str, arguments)]
    with redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "argv", command):
        try:
            app()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Outcome(code, _written(out), _written(err))


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode("utf-8")
