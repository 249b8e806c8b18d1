"""Options that say where and how rows are scored, and the executor that they make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from gradshield.errors import UserError
from gradshield.scoring.executors import (
    EXECUTORS,
    Executor,
    LocalExecutor,
    RayExecutor,
    ServedExecutor,
)

_PANEL = "Executor"

ExecutorOption = Annotated[
    str,
    typer.Option(
        rich_help_panel=_PANEL,
        help=(
            "Who scores: local (this process), ray (actors of a Ray cluster; needs "
            "gradshield[ray]) or served (an endpoint that serves the direction as adapters)."
        ),
    ),
]
ShardOption = Annotated[
    str,
    typer.Option(
        rich_help_panel=_PANEL,
        metavar="I/N",
        help=(
            "Score the I-th of N shares of the rows, counted from 0 as ranks are: 0/8 to 7/8. Then "
            "`gradshield merge`."
        ),
    ),
]
ActorsOption = Annotated[
    str | None,
    typer.Option(
        "--ray-actors",
        rich_help_panel=_PANEL,
        metavar="N|MIN-MAX",
        help="Actors of Ray, each with the model. Default: as many as fit, which Ray decides.",
    ),
]
GpusOption = Annotated[
    float | None,
    typer.Option(
        "--ray-gpus",
        rich_help_panel=_PANEL,
        min=0,
        help="GPUs of each actor, 0.5 for two on one. Default: 1 where the cluster has any.",
    ),
]
OrderedOption = Annotated[
    bool,
    typer.Option(
        "--ray-ordered",
        rich_help_panel=_PANEL,
        help="Finish rows in their order; a little slower. The scores are the same.",
    ),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=_PANEL, help="URL of a served model, such as http://localhost:8000/v1."
    ),
]
AdaptersOption = Annotated[
    Path | None,
    typer.Option(
        rich_help_panel=_PANEL,
        help="Folder of `gradshield direction export` whose two adapters the endpoint serves.",
    ),
]
NamesOption = Annotated[
    str,
    typer.Option(
        "--adapter-names",
        rich_help_panel=_PANEL,
        metavar="ABOVE,BELOW",
        help="What the endpoint calls the two adapters.",
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint-key",
        rich_help_panel=_PANEL,
        metavar="VARIABLE",
        help="Environment variable with the endpoint's API key, if it needs one.",
    ),
]
RequestsOption = Annotated[
    int,
    typer.Option(
        "--endpoint-requests", rich_help_panel=_PANEL, min=1, help="Requests under way at once."
    ),
]


def make_executor(
    name: str,
    *,
    ray_actors: str | None,
    ray_gpus: float | None,
    ray_ordered: bool,
    endpoint: str | None,
    adapters: Path | None,
    adapter_names: str,
    endpoint_key: str | None,
    endpoint_requests: int,
) -> Executor:
    """The executor that the options ask for.

    Raises:
        UserError: There is none of that name, or an option is of another one or cannot be.
    """
    given: dict[str, dict[str, object]] = {
        "ray": {"--ray-actors": ray_actors, "--ray-gpus": ray_gpus, "--ray-ordered": ray_ordered},
        "served": {
            "--endpoint": endpoint,
            "--adapters": adapters,
            "--endpoint-key": endpoint_key,
        },
    }
    if name not in EXECUTORS:
        raise UserError(f"--executor {name}: unknown, choose one of {', '.join(EXECUTORS)}.")
    for owner, options in given.items():
        used = [option for option, value in options.items() if value not in (None, False)]
        if used and owner != name:
            raise UserError(f"{used[0]} is for --executor {owner}, not for {name}.")
    if name == "ray":
        return RayExecutor(_actors(ray_actors), ray_gpus, ray_ordered)
    if name == "served":
        return ServedExecutor(
            endpoint, adapters, _names(adapter_names), endpoint_key, endpoint_requests
        )
    return LocalExecutor()


def _actors(text: str | None) -> tuple[int, int | None]:
    if text is None:
        return 1, None
    found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text, re.ASCII)
    if found is not None:
        smallest, largest = int(found[1]), int(found[2] or found[1])
        if 1 <= smallest <= largest:
            return smallest, largest
    raise UserError(f"--ray-actors {text}: a number such as 8, or a range such as 1-64.")


def _names(text: str) -> tuple[str, str]:
    above, comma, below = (part.strip() for part in text.partition(","))
    if not (above and comma and below) or above == below:
        raise UserError(f"--adapter-names {text}: two names joined by a comma, above,below.")
    return above, below
