"""Data sets of the Hugging Face hub, fetched once into a Parquet file of the cache folder."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gradshield.data.containers import CONTAINERS
from gradshield.data.containers.datasets_folder import without_progress_bars
from gradshield.data.errors import DataError
from gradshield.files import cache_folder, sha256_of, written_whole

PREFIX = "hub:"

_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def hub_name(name: str) -> str | None:
    """The name on the hub that `name` stands for, None if it can only be a path.

    With the prefix `hub:` it is always one on the hub. Without, it is if no such path exists and it
    is of the form OWNER/NAME, but for one that ends like a data file.
    """
    if name.startswith(PREFIX):
        return name.removeprefix(PREFIX)
    suffixes = tuple(container.suffix for container in CONTAINERS if container.suffix)
    looks_like_one = _NAME.fullmatch(name) is not None and not name.startswith(".")
    return name if looks_like_one and not name.lower().endswith(suffixes) else None


def fetch(
    name: str, *, split: str | None = None, subset: str | None = None, revision: str | None = None
) -> Path:
    """Fetch one split of a data set; no code that comes with it is ever run.

    Args:
        name: OWNER/NAME on the hub, or whatever else `datasets.load_dataset` takes.
        split: Which split; None if there is only one.
        subset: Which configuration of the data set, where it has several.
        revision: Branch, tag or commit.

    Returns:
        A Parquet file of its values, named by its content: what it holds never changes.

    Raises:
        DataError: It cannot be fetched, or a split has to be named.
    """
    split = _split(name, split, subset, revision)
    dataset = _load(name, split, subset, revision)
    folder = cache_folder() / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".fetched-", dir=folder) as scratch:
        draft = Path(scratch) / "data.parquet"
        with without_progress_bars():
            dataset.to_parquet(str(draft))
        stem = re.sub(r"[^\w.-]+", "--", name, flags=re.ASCII).strip("-")
        target = folder / f"{stem}-{split}-{sha256_of(draft)[:16]}.parquet"
        if not target.is_file():
            with written_whole(target) as place:
                draft.replace(place)
    return target


def _split(name: str, wanted: str | None, subset: str | None, revision: str | None) -> str:
    from datasets import get_dataset_split_names

    if wanted is not None:
        return wanted
    splits = _calling(name, get_dataset_split_names, name, subset, revision=revision)
    if len(splits) != 1:
        raise DataError(
            f"{name}: the data set has the splits {', '.join(splits)}; name one of them, such as "
            f"--split {splits[0] if splits else 'train'}"
        )
    return str(splits[0])


def _load(name: str, split: str, subset: str | None, revision: str | None) -> Any:
    from datasets import load_dataset

    with without_progress_bars():
        return _calling(name, load_dataset, name, subset, split=split, revision=revision)


def _calling(name: str, call: Any, *arguments: Any, **options: Any) -> Any:
    """What `datasets` says, with one line in place of what it raises."""
    try:
        return call(*arguments, **options)
    # Whatever is wrong with a network, a name or somebody's files ends up here.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"hub:{name}: the data set cannot be fetched ({reason[:300]}); check the name, "
            "--split, --subset and the network, log in by `hf auth login` if it is not public, or "
            "download its files and name those"
        ) from error
