"""Fonts for names in any script, so that plots show letters and not boxes.

matplotlib's own font has Latin, Greek, Cyrillic, Arabic and a few more. For other letters the first font that has
them is used: from the packages of the extra `fonts`, which are the same on every machine, then from the system.
matplotlib 3.11 shapes the text (Arabic, Devanagari). Missing letters are reported once, with the package to install.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

BASE = "DejaVu Sans"
PACKAGES = ("manimgx_fonts", "manimgx_fonts_cjk")
# Some fonts of variable weight begin at the thinnest, which is pale in small print: a stroke makes it regular.
_THIN, _STROKE = 300, 0.5


@dataclass(frozen=True)
class Font:
    """A font that matplotlib can draw with.

    Attributes:
        family: Its name.
        path: Its file.
        weight: 400 for regular, 100 for the thinnest.
    """

    family: str
    path: str
    weight: int

    @functools.cached_property
    def letters(self) -> frozenset[int]:
        """The code points that it has."""
        try:
            return frozenset(FT2Font(self.path).get_charmap())
        except (OSError, RuntimeError):  # A damaged font of the system.
            return frozenset()


def fonts_for(text: str) -> tuple[list[Font], str]:
    """The fonts that draw a text, apart from the base font, and the letters that no font has."""
    chosen: list[Font] = []
    missing = ""
    for letter in dict.fromkeys(text):
        if letter.isspace() or not letter.isprintable() or ord(letter) in _base().letters:
            continue
        if any(ord(letter) in font.letters for font in chosen):
            continue
        preferred = _east_asian(text)
        found = next((font for font in _candidates(preferred) if ord(letter) in font.letters), None)
        if found is None:
            missing += letter
        else:
            chosen.append(found)
    return chosen, missing


@contextlib.contextmanager
def any_script(figure: Figure) -> Iterator[None]:
    """Gives every text of a figure the fonts it needs while the figure is drawn."""
    missing = ""
    for text in figure.findobj(Text) + [label for axes in figure.axes for label in _tick_labels(axes)]:
        assert isinstance(text, Text)
        if not (content := text.get_text()) or content.isascii():
            continue
        fonts, lacking = fonts_for(content)
        missing += lacking
        if fonts:
            text.set_fontfamily([BASE, *(font.family for font in fonts)])
            if any(font.weight < _THIN for font in fonts):
                text.set_path_effects([withStroke(linewidth=_STROKE, foreground=text.get_color())])
    if missing:
        _tell_missing("".join(sorted(set(missing))))
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)  # It would say that a fallback has no bold face.
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
            yield
    finally:
        logger.setLevel(level)


def _tick_labels(axes: object) -> list[Text]:
    return [*axes.get_xticklabels(), *axes.get_yticklabels()]  # type: ignore[attr-defined]


@functools.cache
def _base() -> Font:
    return Font(BASE, font_manager.findfont(BASE), 400)


@functools.cache
def _candidates(preferred: str) -> tuple[Font, ...]:
    """All fonts but the base font: those of the packages first, of these the preferred East Asian face."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    packaged = set()
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec is not None else []:
            for path in sorted(Path(folder).glob("*.tt?")):
                packaged.add(str(path))
                if str(path) not in known:
                    font_manager.fontManager.addfont(str(path))
    fonts = {
        entry.name: Font(entry.name, entry.fname, entry.weight if isinstance(entry.weight, int) else 400)
        for entry in sorted(font_manager.fontManager.ttflist, key=lambda entry: (entry.name, str(entry.weight)))
        if entry.style == "normal" and entry.name not in (BASE, "Last Resort High-Efficiency")
    }
    return tuple(
        sorted(
            fonts.values(),
            key=lambda font: (font.path not in packaged, not font.family.endswith(preferred), font.family),
        )
    )


def _east_asian(text: str) -> str:
    """The end of the family's name that suits a text: Han characters look different in Japanese and Chinese."""
    if any("\u3040" <= letter <= "\u30ff" for letter in text):
        return "JP"
    return "KR" if any("\uac00" <= letter <= "\ud7af" for letter in text) else "SC"


@functools.cache
def _tell_missing(letters: str) -> None:
    warnings.warn(
        f"No font on this machine has {letters[:20]!r}, so pictures show boxes: pip install 'hf_speech[fonts]'.",
        stacklevel=4,
    )
