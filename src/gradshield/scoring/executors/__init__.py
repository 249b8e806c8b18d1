"""Executors by name: where and how the rows of a run are scored."""

from gradshield.scoring.executors.base import Executor, Recipe, Work, score_here
from gradshield.scoring.executors.local import LocalExecutor
from gradshield.scoring.executors.ray import RayExecutor
from gradshield.scoring.executors.served import ServedExecutor

EXECUTORS: dict[str, type[Executor]] = {
    "local": LocalExecutor,
    "ray": RayExecutor,
    "served": ServedExecutor,
}

__all__ = [
    "EXECUTORS",
    "Executor",
    "LocalExecutor",
    "RayExecutor",
    "Recipe",
    "ServedExecutor",
    "Work",
    "score_here",
]
