"""Fonts for names in any script."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from hf_speech.common import fonts
from hf_speech.common.fonts import any_script, fonts_for
from hf_speech.common.plots import new_figure, plot_confusion_matrix, save_figure

NAMES = ["yes", "二十", "हाँ", "نعم", "ไทย", "தமிழ்", "日本語かな", "한국어", "ኣማርኛ", "Ελληνικά"]


@pytest.mark.parametrize("name", NAMES)
def test_finds_a_font_for_every_letter(name: str) -> None:
    pytest.importorskip("manimgx_fonts")
    chosen, missing = fonts_for(name)
    assert missing == ""
    base = fonts._base().letters
    assert all(ord(letter) in base or any(ord(letter) in font.letters for font in chosen) for letter in name)


def test_latin_needs_no_other_font() -> None:
    assert fonts_for("yes & no, Zoë $5") == ([], "")


def test_han_characters_use_the_font_face_of_their_language() -> None:
    pytest.importorskip("manimgx_fonts_cjk")
    families = [fonts_for(text)[0][0].family for text in ("二十", "二十かな", "二十한")]
    assert [family[-2:] for family in families] == ["SC", "JP", "KR"]


def test_no_warnings_for_pictures_in_any_script(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("manimgx_fonts")
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        counts = np.eye(len(NAMES), dtype=np.int64) * 3
        plot_confusion_matrix(NAMES, counts, tmp_path / "matrix.png", title="कक्षाएँ 二")
    assert (tmp_path / "matrix.png").stat().st_size > 10_000
    assert not caplog.records


def drawn(text: str, path: Path) -> bytes:
    figure = new_figure(2, 1)
    figure.text(0.1, 0.5, text)
    save_figure(figure, path)
    return path.read_bytes()


def test_different_letters_give_different_pictures(tmp_path: Path) -> None:
    pytest.importorskip("manimgx_fonts_cjk")
    assert (
        len({drawn(text, tmp_path / "text.png") for text in ("二十", "日本", "हाँ", "नहीं")}) == 4
    )  # Boxes would be alike.


def test_warns_once_about_letters_without_a_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_candidates", lambda preferred: ())
    fonts._warn_missing.cache_clear()
    with pytest.warns(UserWarning, match=r"has '二十', so pictures show boxes: pip install 'hf_speech\[fonts\]'"):
        drawn("二十", tmp_path / "text.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn("二十", tmp_path / "text.png")


def test_only_thin_faces_get_a_stroke() -> None:
    pytest.importorskip("manimgx_fonts_cjk")
    figure = new_figure(2, 1)
    thin, regular = figure.text(0, 0, "二十"), figure.text(0, 1, "हाँ")
    with any_script(figure):
        assert thin.get_path_effects()
        assert not regular.get_path_effects()
    assert all(isinstance(text, Text) for text in (thin, regular))
