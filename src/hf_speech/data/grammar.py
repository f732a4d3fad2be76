"""Sentences of a grammar in the JSpeech Grammar Format (JSGF), expanded by seeded sampling.

Source: https://www.w3.org/TR/jsgf/. Read are alternatives, weights (`/2/ yes | no`), groups, optional parts in
brackets, repetition, references to rules of the same file, `<NULL>`, quoted words, tags (which are ignored) and
comments. `*` and `+` repeat up to `MAX_REPEATS` times. Imports, `<VOID>` and rules that use themselves are refused.
The Python packages that read JSGF are not kept up, give no lines in their errors, or sample without a seed.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hf_speech.common.reading import read_lines
from hf_speech.errors import CorpusError, nearest

SUFFIXES = frozenset({".jsgf", ".gram"})
MAX_REPEATS = 8
MAX_LISTED = 100_000
"""Largest number of expansions up to which all sentences are listed if sampling finds too few."""
DRAWS = 20
"""Draws per requested sentence."""

_TOKEN = re.compile(
    r"(?P<space>\s+|//[^\n]*|/\*.*?\*/|\{(?:[^{}\\]|\\.)*\})|(?P<weight>/\s*(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*/)"
    r"|(?P<rule><[^<>\s]+>)|(?P<quoted>\"(?:[^\"\\]|\\.)*\")|(?P<mark>[=;|()\[\]*+])|(?P<word>[^\s=;|()\[\]*+<>{}\"/]+)",
    re.DOTALL,
)


@dataclass(frozen=True)
class _Reference:
    name: str
    line: int


@dataclass(frozen=True)
class _Choice:
    options: tuple[_Node, ...]
    weights: tuple[float, ...]


# A tuple is a sequence, and a string one or more words.
_Node = str | _Reference | _Choice | tuple["_Node", ...]


class Grammar:
    """A grammar and its sentences.

    Args:
        path: A file in JSGF.

    Raises:
        CorpusError: If it is not a grammar that can be expanded; the error names the line.
    """

    def __init__(self, path: Path) -> None:
        parser = _Parser(path)
        self._rules, self._error = parser.rules, parser.error
        if not parser.public:
            raise CorpusError(f"{path} has no public rule: write `public` before the rule of whole sentences.")
        self._open: list[str] = []
        self._count = cache(self._count_ways)
        for name in self._rules:
            self._count(_Reference(name, 1))
        self._root = _Choice(tuple(_Reference(name, 1) for name in parser.public), (1.0,) * len(parser.public))

    def sentences(self, count: int, seed: int = 0) -> list[str]:
        """Draws different sentences by the weights of alternatives; returns all if there are fewer than requested.

        Args:
            count: Sentences that are wanted.
            seed: Seed of the draws.
        """
        rng = random.Random(seed)
        ways = self._count(self._root)
        draws = DRAWS * count if ways > count else 0
        found: dict[str, None] = {}
        while len(found) < count and draws > 0:
            found[_join(self._draw(self._root, rng))] = None
            found.pop("", None)
            draws -= 1
        if len(found) < count and ways <= max(MAX_LISTED, count):
            listed = filter(None, map(_join, self._list(self._root)))
            rest = (sentence for sentence in dict.fromkeys(listed) if sentence not in found)
            found.update(dict.fromkeys(itertools.islice(rest, count - len(found))))
        return list(found)

    def _count_ways(self, node: _Node) -> int:
        """Counts the expansions of a part of the grammar; rejects references to missing or recursive rules."""
        match node:
            case _Reference(name, line):
                if name not in self._rules:
                    raise self._error(f"there is no rule {name}: {nearest(name, self._rules).rstrip('.')}", line)
                if name in self._open:
                    raise self._error(f"the rule {name} uses itself: repeat with * or +", line)
                self._open.append(name)
                ways = self._count(self._rules[name])
                self._open.pop()
                return ways
            case _Choice():
                return sum(map(self._count, node.options))
            case tuple():
                return math.prod(map(self._count, node))
        return 1

    def _draw(self, node: _Node, rng: random.Random) -> Iterator[str]:
        match node:
            case _Reference():
                yield from self._draw(self._rules[node.name], rng)
            case _Choice():
                yield from self._draw(rng.choices(node.options, node.weights)[0], rng)
            case tuple():
                for part in node:
                    yield from self._draw(part, rng)
            case str():
                yield node

    def _list(self, node: _Node) -> Iterator[tuple[str, ...]]:
        match node:
            case _Reference():
                yield from self._list(self._rules[node.name])
            case _Choice():
                yield from itertools.chain.from_iterable(map(self._list, node.options))
            case tuple():
                for ways in itertools.product(*map(self._list, node)):
                    yield tuple(itertools.chain.from_iterable(ways))
            case str():
                yield (node,)


class _Parser:
    """Parses rules; `public` contains the names of those that are whole sentences."""

    def __init__(self, path: Path) -> None:
        self.path, self.rules, self.public = path, dict[str, _Node](), list[str]()
        text = "\n".join(read_lines(path, CorpusError))
        if (header := re.match(r"#JSGF[^;\n]*;", text)) is None:
            raise CorpusError(f"{path}, line 1, is no header of JSGF: begin with `#JSGF V1.0;`.")
        self._tokens = list(self._split(text[header.end() :]))
        self._next = 0
        if self._peek() == "grammar":
            self._take(), self._take(), self._take(";")
        while self._peek() != "":
            if is_public := self._peek() == "public":
                self._take()
            name, line = self._take(), self._line()
            if not name.startswith("<"):
                why = "imports are not read" if name == "import" else f"a rule is expected and not {name!r}"
                raise self.error(f"{why}: write `<name> = ...;`", line)
            if name in self.rules:
                raise self.error(f"the rule {name} is defined twice: rename one", line)
            self._take("=")
            self.rules[name] = self._alternatives()
            self._take(";")
            self.public += [name] if is_public else []

    def _split(self, text: str) -> Iterator[tuple[str, int]]:
        place, line = 0, 1
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise self.error(f"{text[place]!r} is not closed or does not belong here: correct it", line)
            if found.lastgroup != "space":
                yield found.group(), line
            line += found.group().count("\n")
            place = found.end()

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _line(self) -> int:
        return self._tokens[max(0, min(self._next, len(self._tokens)) - 1)][1] if self._tokens else 1

    def _take(self, wanted: str | None = None) -> str:
        token = self._peek()
        self._next += 1
        if token == "" or wanted not in (None, token):
            found = repr(token) if token else "the end"
            raise self.error(f"{repr(wanted) if wanted else 'more'} is expected and not {found}: correct it")
        return token

    def error(self, what: str, line: int | None = None) -> CorpusError:
        """Returns an error about a line, by default the current one."""
        return CorpusError(f"{self.path}, line {self._line() if line is None else line}: {what}.")

    def _alternatives(self) -> _Node:
        options: list[_Node] = []
        weights: list[float] = []
        while not options or self._peek() == "|":
            if options:
                self._take("|")
            is_weight = self._peek().startswith("/")
            weights.append(float(self._take().strip("/ ")) if is_weight else 1.0)
            options.append(self._sequence())
        if not sum(weights):
            raise self.error("all weights are 0: give one that is not")
        return _Choice(tuple(options), tuple(weights)) if len(options) > 1 else options[0]

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in ("", "|", ")", "]", ";"):
            part = self._part(self._take())
            if self._peek() in ("*", "+"):
                least = int(self._take() == "+")
                counts = range(least, MAX_REPEATS + 1)
                part = _Choice(tuple((part,) * count for count in counts), (1.0,) * len(counts))
            parts.append(part)
        if not parts:
            raise self.error("an alternative is empty: write <NULL> for nothing")
        return tuple(parts)

    def _part(self, token: str) -> _Node:
        if token in "([":
            inner = self._alternatives()
            self._take(")" if token == "(" else "]")
            return inner if token == "(" else _Choice((inner, ()), (1.0, 1.0))
        if token == "<NULL>":
            return ()
        if token.startswith("<"):
            return _Reference(token, self._line())
        if token[0] in "=*+/":
            raise self.error(f"{token!r} does not belong here: correct it, or quote it")
        return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token


def _join(words: Iterator[str] | tuple[str, ...]) -> str:
    return " ".join(" ".join(words).split())
