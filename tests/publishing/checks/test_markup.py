"""Raw HTML: formatting is allowed, active content is not."""

from __future__ import annotations

import pytest

from hf_speech.publishing.checks.markup import problems


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '<a href="javascript:alert(1)">x</a>',
        '<a href="java\tscript:alert(1)">x</a>',
        "[x](javascript:alert(1))",
        "[x](data:text/html;base64,xxxx)",
        "![x](vbscript:x)",
        "<iframe src=https://example.org></iframe>",
        "<svg onload=alert(1)></svg>",
        "<style>body { display: none }</style>",
        "a line with <b onclick=alert(1)>bold</b> words",
        "<div onmouseover=alert(1) \n\nx",
        "<object data=x></object>",
        "<form action=x><input></form>",
        "<base href=https://example.org>",
        "<meta http-equiv=refresh content=0>",
        '<p style="background: url(x)">x</p>',
        "<?php x ?>",
    ],
)
def test_finds_active_html(text: str) -> None:
    assert list(problems(f"---\nlicense: mit\n---\n# Title\n\n{text}\n"))
    assert next(line for line, _ in problems(f"---\nlicense: mit\n---\n# Title\n\n{text}\n")) == 6


@pytest.mark.parametrize(
    "text",
    [
        '<p align="center"><img src="curves.png" width="300" alt="x"></p>',
        "<details><summary>More</summary>\n\ntext\n\n</details>",
        "H<sub>2</sub>O, <kbd>Ctrl</kbd>, a<br>b",
        "<!-- a comment -->",
        "`<script>` and\n\n```html\n<script>alert(1)</script>\n```",
        "&lt;script&gt; is a word, 1 < 2 and 3 > 2",
        "[page](https://example.org) and [file](evaluation/test.json) and <https://example.org>",
        "mail <ann@example.org>",
    ],
)
def test_allows_formatting(text: str) -> None:
    assert list(problems(f"# Title\n\n{text}\n")) == []
