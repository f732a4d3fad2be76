"""Fonts for text in any script, so that plots show letters instead of boxes.

matplotlib's default font covers Latin, Greek, Cyrillic, Arabic and a few more scripts. Other letters use the first
font that has them: one of the packages of the extra `fonts`, which are the same on every machine, or a system font.
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
# Some variable fonts default to their thinnest weight, which is pale in small print: a stroke makes it look regular.
_THIN, _STROKE = 300, 0.5


@dataclass(frozen=True)
class Font:
    """A font that matplotlib can draw with.

    Attributes:
        family: The name of the font family.
        path: The font file.
        weight: 400 for regular, 100 for thin.
    """

    family: str
    path: str
    weight: int

    @functools.cached_property
    def letters(self) -> frozenset[int]:
        """The code points that the font covers."""
        try:
            return frozenset(FT2Font(self.path).get_charmap())
        except (OSError, RuntimeError):  # A damaged system font.
            return frozenset()


def fonts_for(text: str) -> tuple[list[Font], str]:
    """Returns the fonts that a text needs besides the base font, and the letters that no font has."""
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
    """Sets the fonts that each text of a figure needs, and silences font warnings while the figure is drawn."""
    missing = ""
    for text in figure.findobj(Text) + [label for axes in figure.axes for label in _tick_labels(axes)]:
        assert isinstance(text, Text)
        if not (content := text.get_text()) or content.isascii():
            continue
        fonts, missing_here = fonts_for(content)
        missing += missing_here
        if fonts:
            text.set_fontfamily([BASE, *(font.family for font in fonts)])
            if any(font.weight < _THIN for font in fonts):
                text.set_path_effects([withStroke(linewidth=_STROKE, foreground=text.get_color())])
    if missing:
        _warn_missing("".join(sorted(set(missing))))
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)  # Otherwise it warns about fallback fonts without a bold face.
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
    """Returns all fonts but the base font, packaged ones first and the preferred East Asian font first among them."""
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
    """Returns the suffix of the font family for a text, since Han characters look different in Japanese and Chinese."""
    if any("\u3040" <= letter <= "\u30ff" for letter in text):
        return "JP"
    return "KR" if any("\uac00" <= letter <= "\ud7af" for letter in text) else "SC"


@functools.cache
def _warn_missing(letters: str) -> None:
    warnings.warn(
        f"No font on this machine has {letters[:20]!r}, so pictures show boxes: pip install 'hf_speech[fonts]'.",
        stacklevel=4,
    )
