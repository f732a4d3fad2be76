from __future__ import annotations

import pytest

from hf_speech.common.text import (
    column_width,
    counted,
    escape_html,
    escape_markdown,
    nfc,
    plural,
    printable,
    spreadsheet_cell,
)


def test_counts_agree_with_their_nouns_and_verbs() -> None:
    assert [counted(count, "recording") for count in (0, 1, 2000)] == [
        "0 recordings",
        "1 recording",
        "2,000 recordings",
    ]
    assert counted(1, "class has", "classes have") == "1 class has"
    assert counted(3, "class has", "classes have") == "3 classes have"
    assert [plural(count, "epoch") for count in (0.5, 1.0, 1.5)] == ["epochs", "epoch", "epochs"]


def test_names_are_compared_after_unicode_normalization() -> None:
    assert nfc("Cafe\u0301") == nfc("Caf\u00e9")
    assert nfc("straße") != nfc("strasse")


@pytest.mark.parametrize("unsafe", ["\x1b[2J", "a\x07", "\x9b1m", "x\u202etxt", "z\u200bw", "\ud800", "\r"])
def test_escapes_terminal_control_sequences(unsafe: str) -> None:
    shown = printable(f"ok\n\t{unsafe}")
    assert shown.startswith("ok\n\t")
    assert not any(ord(c) < 9 or 13 <= ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in shown)
    assert "\\u" in shown
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("name", "markdown"),
    [
        ("<unk>", "&lt;unk&gt;"),
        ("rock|pop", "rock\\|pop"),
        ("a_b*c", "a_b\\*c"),
        ("_a_ b_", "\\_a\\_ b\\_"),
        ("[x](http://y)", "\\[x\\]\\(http://y)"),
        ("![x](javascript:y)", "!\\[x\\]\\(javascript:y)"),
        ("R&B", "R&B"),
        ("&lt;b&gt;", "\\&lt;b\\&gt;"),
        ("# title", "\\# title"),
        ("- item", "\\- item"),
        ("-5", "-5"),
        ("---", "\\---"),
        ("1. item", "1\\. item"),
        ("2.5", "2.5"),
        ("`code` ~~x~~ $y$ \\", "\\`code\\` \\~\\~x\\~\\~ \\$y\\$ \\\\"),
        ("\u200c\u0645\u06cc\u200c", "\u200c\u0645\u06cc\u200c"),
        ("two\nlines", "two lines"),
        ("日本語 ä", "日本語 ä"),
    ],
)
def test_escapes_names_in_markdown(name: str, markdown: str) -> None:
    assert escape_markdown(name) == markdown


def test_escapes_names_in_html() -> None:
    assert escape_html('<b a="x">\'') == "&lt;b a=&quot;x&quot;&gt;&#x27;"


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\tx"])
def test_escapes_spreadsheet_formulas(text: str) -> None:
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1.5", "+3", "a=b", "", "x"])
def test_keeps_numbers_and_plain_text(text: str) -> None:
    assert spreadsheet_cell(text) == text


def test_counts_display_columns() -> None:
    assert [column_width(text) for text in ("abc", "日本", "e\u0301", "ﾊﾝ", "")] == [3, 4, 1, 2, 0]


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "**b**",
        "`x`",
        "[a](b)",
        "![a](b)",
        "a|b",
        "# h",
        "- l",
        "1) n",
        "> q",
        "~~s~~",
        "===",
        "__init__",
        "_x_",
        "&amp;",
        "<!-- c -->",
        "a\\",
        "***",
        "+ x",
        "--- x",
        "<a@b.c>",
        "\\*x\\*",
        "$x$",
        "a\n\nb",
    ],
)
def test_rendered_markdown_shows_the_original_name(name: str) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    reader = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = reader.parse(escape_markdown(name))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    text = "".join(child.content for child in tokens[1].children)
    assert {child.type for child in tokens[1].children} <= {"text", "text_special"}
    assert text == " ".join(name.split())


@pytest.mark.parametrize("text", ["می\u200cخواهم", "क्\u200dष", "\u200fשלום!\u200e"])  # noqa: RUF001
def test_keeps_joiners_and_direction_marks_of_scripts(text: str) -> None:
    assert printable(text) == text
