"""`gradshield review`: the report of a run in the browser, with marks that are saved at once."""

from __future__ import annotations

import getpass
import webbrowser
from typing import Annotated

import typer
from rich.text import Text

from gradshield.cli import options as o
from gradshield.cli.terminal import SafeConsole
from gradshield.run.folder import RunFolder
from gradshield.run.overrides import read_overrides
from gradshield.run.review import open_site
from gradshield.run.review_server import ReviewServer


def review_command(
    run: o.RunArgument,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    reviewer: Annotated[
        str | None,
        typer.Option(help="Name for the marks. Default: the user's.", show_default=False),
    ] = None,
) -> None:
    """Show the report of RUN in the browser and save what is marked there.

    Marks are appended to RUN/overrides.jsonl as they are made; `gradshield apply RUN` then writes
    the data files again. The page is served to this machine alone, at an address that nobody can
    guess. End it with Ctrl-C.

    Example: gradshield review runs/train --reviewer "Ada Lovelace"
    """
    folder = RunFolder(run)
    server = ReviewServer(open_site(folder, reviewer or _user_name()), port)
    before = len(read_overrides(folder))
    console = SafeConsole()
    console.print(Text(f"Review at {server.address}"), soft_wrap=True)
    console.print("Ctrl-C ends it.")
    if browser:
        webbrowser.open(server.address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
    saved = len(read_overrides(folder)) - before
    text = f"Marks saved: {saved}. Next: gradshield apply {run}" if saved else "No mark was made."
    console.print(Text(f"\n{text}"), soft_wrap=True)


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user in the system's table
        return "unknown"
