from __future__ import annotations

import pytest

from gradshield.errors import UserError
from gradshield.evaluation.tasks import TASKS, task_by_name


def test_tasks_go_by_their_own_names() -> None:
    assert list(TASKS)[:4] == ["sst2", "agnews", "arc_easy", "arc_challenge"]
    assert {"sst2_generated", "gsm8k", "samsum", "sql", "perplexity"} <= set(TASKS)
    for name, task in TASKS.items():
        assert task_by_name(name) is task
        assert task.name == name
        assert task.metric
        assert task.higher_is_better == (name != "perplexity")


def test_a_task_of_the_harness_goes_by_its_prefix() -> None:
    assert task_by_name("harness:arc_easy").name == "harness:arc_easy"


def test_an_unknown_task_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"Unknown task sts2: choose of sst2, .*harness:TASK"):
        task_by_name("sts2")
