"""Settings are plain data of a bounded size, or an error in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.yaml_files import MOST_CHARACTERS, parse_yaml


def test_settings_are_read_with_their_aliases() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: {d: yes}") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"d": True},
    }
    assert parse_yaml("") is None


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:pathlib.Path.touch", "!!python/name:os.system", "!x"]
)
def test_a_tag_makes_no_object(tmp_path: Path, tag: str) -> None:
    file = tmp_path / "touched"
    with pytest.raises(ValueError, match="could not determine a constructor"):
        parse_yaml(f"a: {tag} ['{file}']")
    assert not file.exists()


def test_aliases_of_aliases_are_counted_as_what_they_stand_for() -> None:
    levels = [f"l{n}: &l{n} [{', '.join(f'*l{n - 1}' for _ in range(9))}]" for n in range(1, 40)]
    with pytest.raises(ValueError, match="stand for more than 100,000 values"):
        parse_yaml("\n".join(["l0: &l0 [x]", *levels]))


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "a: &a [*a]", "&a {b: *a}"])
def test_no_end_of_nesting(text: str) -> None:
    with pytest.raises(ValueError, match="nested too deeply, or in itself"):
        parse_yaml(text)


def test_no_end_of_text() -> None:
    with pytest.raises(ValueError, match="are no settings"):
        parse_yaml("#" * (MOST_CHARACTERS + 1))


@pytest.mark.parametrize("text", ["a: b: c", "\t", "{", "a: \x00"])
def test_no_yaml(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as fault:
        parse_yaml(text)
    assert "\n" not in str(fault.value)


def test_a_key_that_is_named_twice_is_no_setting() -> None:
    with pytest.raises(ValueError, match="line 3 names rows a second time"):
        parse_yaml("rows: 10\nother: 1\nrows: 20\n")
    with pytest.raises(ValueError, match="line 3 names b a second time"):
        parse_yaml("a:\n  b: 1\n  b: 2\n")


def test_a_merged_mapping_may_be_overruled_and_merged_again() -> None:
    text = "a: &a {b: 1, c: 2}\nd: &d\n  <<: *a\n  b: 3\ne:\n  <<: *d\n  b: 4\nb: 5\n"
    content = parse_yaml(text)
    assert content["d"] == {"b": 3, "c": 2}
    assert content["e"] == {"b": 4, "c": 2}
    assert content["b"] == 5
