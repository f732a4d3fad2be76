"""Rejects raw HTML in Markdown that could run code or load content; plain formatting is allowed.

Markdown passes HTML through, so a card is a web page. The Hub filters the HTML that it shows; editors, mirrors and
other readers of the same file may not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from hf_speech.errors import PublishError
from hf_speech.publishing.checks.upload import CARD, Upload

ELEMENTS = frozenset(
    {"a", "b", "blockquote", "br", "center", "code", "dd", "del", "details", "div", "dl", "dt", "em", "figcaption"}
    | {"figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "mark", "ol", "p", "picture"}
    | {"pre", "q", "s", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th"}
    | {"thead", "tr", "tt", "u", "ul", "var", "audio", "video"}
)
ATTRIBUTES = frozenset(
    {"align", "alt", "class", "colspan", "controls", "dir", "height", "href", "id", "lang", "open", "rowspan", "src"}
    | {"start", "title", "valign", "width"}
)
SCHEMES = frozenset({"", "http", "https", "mailto", "doi"})


def check(upload: Upload) -> None:
    """Rejects Markdown files with HTML that could run code or load content."""
    for path in upload.files():
        if path.suffix.lower() == ".md":
            name = upload.name(path)
            for line, problem in problems(path.read_text(encoding="utf-8")):
                file = "The card" if name == CARD else name
                raise PublishError(f"{file} has {problem} in line {line}, which could run code: remove it.")


def problems(markdown: str) -> Iterator[tuple[int, str]]:
    """Yields the line, counted from 1, and a description of each element, attribute or link that is not allowed."""
    body = re.sub(r"\A---\s*\n.*?\n---[ \t]*\n", lambda match: "\n" * match.group().count("\n"), markdown, flags=re.S)
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    # Do not drop unsafe links while parsing: `_is_harmless` reports them.
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    line = 1
    for token in parser.parse(body):
        line = token.map[0] + 1 if token.map else line
        for inner in [token, *(token.children or [])]:
            yield from ((line, problem) for problem in _problems_of(inner))


def _problems_of(token: Token) -> Iterator[str]:
    if token.type in ("html_block", "html_inline"):
        checker = _HTMLChecker()
        checker.feed(f"{token.content}>")  # Closes a tag that the token leaves open.
        checker.close()
        yield from checker.problems
    for address in (token.attrGet("href"), token.attrGet("src")):
        if address is not None and not _is_harmless(str(address)):
            yield "a link that is not a web or mail address"


def _is_harmless(address: str) -> bool:
    try:
        return urlsplit(re.sub(r"[\x00-\x20]", "", address)).scheme.lower() in SCHEMES
    except ValueError:
        return False


class _HTMLChecker(HTMLParser):
    """Collects elements, attributes and links that are not allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ELEMENTS:
            self.problems.append(f"the HTML element {tag[:20]}")
        for name, value in attrs:
            if name not in ATTRIBUTES:
                self.problems.append(f"the HTML attribute {name[:20]} of {tag[:20]}")
            elif name in ("href", "src") and not _is_harmless(value or ""):
                self.problems.append("a link that is not a web or mail address")

    def handle_decl(self, decl: str) -> None:
        self.problems.append("an HTML declaration")

    def handle_pi(self, data: str) -> None:
        self.problems.append("a processing instruction")
