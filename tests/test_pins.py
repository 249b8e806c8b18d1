"""Every package is pinned to a version and to the hashes of its files, and the two lists agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]*)")


def pins(name: str) -> dict[tuple[str, str], str]:
    """Package and version of each entry of a requirements file, and its text."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    entries = re.sub(r"\\\n\s*", " ", text).splitlines()
    found = [(PIN.match(entry), entry) for entry in entries if entry.strip()]
    assert all(match for match, _ in found)
    return {(match[1], match[2]): entry for match, entry in found if match}


@pytest.mark.skipif(not (ROOT / "constraints.txt").is_file(), reason="not in a source tree")
def test_all_pinned_packages_have_hashes() -> None:
    """After a change of constraints.txt: `make hashes`."""
    hashed = pins("constraints-hashes.txt")
    assert hashed.keys() == pins("constraints.txt").keys()
    for package, entry in hashed.items():
        digests = HASH.findall(entry)
        assert digests, package
        assert {len(digest) for digest in digests} == {64}, package
        assert len(set(digests)) == len(digests), package


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not in a source tree")
def test_all_tools_are_pinned() -> None:
    tools = {"cyclonedx-bom", "mutmut", "pip-audit", "uv"}
    assert {name for name, _ in pins("tools.txt")} == tools
