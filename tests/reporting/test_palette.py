"""Contrast of the page's colours, computed from its style sheet (WCAG 2.1, 1.4.3 and 1.4.11)."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

STYLE = files("gradshield.reporting").joinpath("templates", "report.css").read_text("utf-8")

TEXT, PART = 4.5, 3.0
"""Least contrast of text, and of parts such as borders of fields, bars and curves."""

Colour = tuple[float, ...]


def _palettes() -> dict[str, dict[str, Colour]]:
    blocks = {
        "light": re.search(r":root \{(.*?)\}", STYLE, re.DOTALL),
        "dark": re.search(r':root\[data-theme="dark"\] \{(.*?)\}', STYLE, re.DOTALL),
        "system dark": re.search(r':not\(\[data-theme="light"\]\) \{(.*?)\}', STYLE, re.DOTALL),
        "print": re.search(r"@media print \{\s*:root, [^{]*\{(.*?)\}", STYLE, re.DOTALL),
    }
    return {
        theme: {
            name: tuple(int(value[at : at + 2], 16) / 255 for at in (0, 2, 4))
            for name, value in re.findall(r"--([a-z-]+): #([0-9a-f]{6})", block[1])
        }
        for theme, block in blocks.items()
        if block is not None
    }


PALETTES = _palettes()


def luminance(colour: Colour) -> float:
    parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(first: Colour, second: Colour) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def mixed(colour: Colour, ground: Colour, share: float) -> Colour:
    return tuple(share * c + (1 - share) * g for c, g in zip(colour, ground, strict=True))


def test_contrast_of_known_pairs() -> None:
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    grey = (0x76 / 255,) * 3
    assert contrast(grey, (1, 1, 1)) == pytest.approx(4.54, abs=0.01)


def test_both_ways_to_dark_are_the_same() -> None:
    assert set(PALETTES) == {"light", "dark", "system dark", "print"}
    assert PALETTES["dark"] == PALETTES["system dark"]
    assert set(PALETTES["dark"]) == set(PALETTES["light"])


@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize(
    "name", ["ink", "ink-soft", "accent", "kept", "removed", "rejected", "line-b"]
)
def test_text_can_be_read(theme: str, name: str) -> None:
    palette = PALETTES[theme]
    for ground in ("bg", "card", "sunk", "selected"):
        if ground in palette and not (ground == "selected" and name in ("line-b", "accent")):
            assert contrast(palette[name], palette[ground]) >= TEXT, ground


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_on_buttons_can_be_read(theme: str) -> None:
    palette = PALETTES[theme]
    assert contrast(palette["on-accent"], palette["accent"]) >= TEXT


@pytest.mark.parametrize("theme", PALETTES)
def test_parts_can_be_told_from_the_ground(theme: str) -> None:
    palette = PALETTES[theme]
    for name in ("line-strong", "line-a", "line-b", "kept", "removed"):
        assert contrast(palette[name], palette["card"]) >= PART, name


@pytest.mark.parametrize("theme", PALETTES)
def test_text_on_shades_can_be_read(theme: str) -> None:
    palette = PALETTES[theme]
    shades = re.findall(r"\.([hs])\d \{.*?var\(--(harm|safe)\) (\d+)%", STYLE)
    assert len(shades) == 12
    for _, name, share in shades:
        ground = mixed(palette[name], palette["card"], int(share) / 100)
        assert contrast(palette["ink"], ground) >= TEXT, (name, share)
