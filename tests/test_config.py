"""The configuration: defaults, refusals, and its file form."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from gradshield.config import RunConfig, SearchSettings
from gradshield.probes.proxies import PROXIES
from gradshield.scoring.engines.base import Reduction
from gradshield.threshold import RULES


def test_defaults_name_things_that_exist() -> None:
    config = RunConfig(data_path="data.jsonl")
    assert config.scoring.proxy == "contrast"
    assert config.scoring.proxy in PROXIES
    assert config.scoring.reduction == "sum_and_worst"
    assert config.scoring.reduction in get_args(Reduction)
    assert config.threshold.rule in RULES
    assert config.on_reject == "hold"
    assert config.model.trust_remote_code is False
    assert config.data.response == "all"


def test_defaults_of_the_command_line_are_those_of_the_configuration() -> None:
    """Both ways in must score alike when nothing is said."""
    import inspect

    from gradshield.cli.filter import filter_command
    from gradshield.cli.run_config import build_config, search_settings

    signature = inspect.signature(filter_command).parameters
    options = {
        name: parameter.default
        for name, parameter in signature.items()
        if name not in ("data", "out", "force", "show_text", "quiet", "json", "threshold")
    }
    assert options.pop("search") is False
    names = "target_asr utility_floor tolerance max_finetunes training utility utility_data"
    searched = {name: options.pop(name) for name in names.split()}
    searched["validation_file"] = options.pop("validation_prompts")
    config = build_config("data.jsonl", rule=signature["threshold"].default, **options)
    assert config == RunConfig(data_path="data.jsonl")
    assert search_settings(True, **searched) == SearchSettings()


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": {"response": "first"}},
        {"data": {"max_length": 1}},
        {"scoring": {"batch_tokens": 0}},
        {"threshold": {"level": 0}},
        {"threshold": {"rule": "no-such-rule"}},
        {"scoring": {"proxy": "no-such-proxy"}},
        {"scoring": {"proxy": "contrast+no-such-proxy"}},
        {"scoring": {"proxy": "contrast+"}},
        {"scoring": {"engine": "no-such-engine"}},
        {"scoring": {"take_out": "everything"}},
        {"scoring": {"reduction": "median"}},
        {"data": {"format": "no-such-format"}},
        {"threshold": {"level": 1}},
        {"model": {"dtype": "int8"}},
        {"on_reject": "drop"},
        {"scoring": {"proxi": "contrast"}},
        {"extra": 1},
    ],
)
def test_impossible_values_and_unknown_names_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RunConfig.model_validate({"data_path": "data.jsonl", **wrong})


def test_an_unknown_proxy_among_several_is_named_with_the_known_ones() -> None:
    known = "first_token, token_sets, contrast, past_refusal"
    message = f"unknown proxy past, choose one of {known}, or several joined by a plus"
    with pytest.raises(ValidationError, match=message):
        RunConfig.model_validate({"data_path": "a", "scoring": {"proxy": "contrast+past"}})


def test_several_proxies_are_joined_by_a_plus() -> None:
    settings = {"proxy": "contrast+past_refusal"}
    config = RunConfig.model_validate({"data_path": "a", "scoring": settings})
    assert config.scoring.proxy == "contrast+past_refusal"


def test_it_cannot_be_changed_in_place() -> None:
    config = RunConfig(data_path="data.jsonl")
    with pytest.raises(ValidationError):
        config.threshold.level = 0.5


def test_it_survives_a_yaml_file() -> None:
    config = RunConfig.model_validate(
        {"data_path": "a: b.jsonl", "model": {"adapter": "x"}, "threshold": {"level": 1e-3}}
    )
    assert RunConfig.model_validate(yaml.safe_load(yaml.safe_dump(config.model_dump()))) == config
