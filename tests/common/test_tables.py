"""Text tables, aligned by display width."""

from __future__ import annotations

from hf_speech.common.tables import format_csv, format_markdown, format_text
from hf_speech.common.text import column_width


def test_aligns_columns_in_any_script() -> None:
    lines = format_text(
        ["class", "f1"], [["low", "9.00"], ["二十", "100.00"], ["हाँ", "7.5"], ["e\u0301", "0"]]
    ).splitlines()
    assert lines[1] == "-----  ------"
    assert {column_width(line) for line in lines} == {13}
    assert lines[0].startswith("class  ")
    assert lines[3] == "二十   100.00"


def test_first_columns_are_left_aligned() -> None:
    assert format_text(["a", "b", "n"], [["x", "yy", "1"]], names=2) == "a  b   n\n-  --  -\nx  yy  1"


def test_escapes_line_breaks_and_control_characters_in_cells() -> None:
    text = format_text(["name"], [["two\nlines"], ["\x1b[31mred"]])
    assert text.count("\n") == 3
    assert "\x1b" not in text


def test_an_empty_table_has_a_header() -> None:
    assert format_text(["metric", "value"], []) == "metric  value\n------  -----"
    assert format_markdown(["a", "b"], []) == "| a | b |\n| --- | --: |"
    assert format_csv(["a", "b"], [["x,y", 1]]) == 'a,b\n"x,y",1\n'
