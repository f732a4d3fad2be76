"""Grammars in JSGF: expansion, sampling, and errors with line numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from string import ascii_uppercase

import pytest
import yaml

from hf_speech.data.grammar import MAX_REPEATS, Grammar
from hf_speech.errors import CorpusError

HOUSE = """#JSGF V1.0 UTF-8 en;
grammar house;
/* What the house
   understands */
public <command> = [please] turn (on | off) {switch} the <thing>;  // "please" may be missing
<thing> = lights {l} | "coffee machine" | <NULL> radio;
public <other> = stop;
"""


def grammar(tmp_path: Path, text: str) -> Grammar:
    (tmp_path / "g.jsgf").write_text(text, encoding="utf-8")
    return Grammar(tmp_path / "g.jsgf")


def rule(text: str) -> str:
    return f"#JSGF V1.0;\npublic <s> = {text};"


def test_generates_all_sentences_of_a_small_grammar(tmp_path: Path) -> None:
    found = grammar(tmp_path, HOUSE).sentences(1000)
    things = ("lights", "coffee machine", "radio")
    turned = {f"{p}turn {s} the {t}" for p in ("", "please ") for s in ("on", "off") for t in things}
    assert set(found) == turned | {"stop"}
    assert len(found) == 13


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("a [b] c", {"a c", "a b c"}),
        ("a (b | c d) e", {"a b e", "a c d e"}),
        ("[a [b]]", {"a", "a b"}),  # The empty text is not a sentence.
        ("x*", {" ".join("x" * count) for count in range(1, MAX_REPEATS + 1)}),
        ("(a | a) | a", {"a"}),
        (r'"say \"hi\"" <NULL>', {'say "hi"'}),
        ("/0.5/ on | /0/ off", {"on", "off"}),
        ("привет мир | 你好", {"привет мир", "你好"}),
        ("<t> <t>;\n<t> = a | b", {"a a", "a b", "b a", "b b"}),
    ],
)
def test_expands_each_kind_of_rule(tmp_path: Path, text: str, sentences: set[str]) -> None:
    assert set(grammar(tmp_path, rule(text)).sentences(1000)) == sentences


def test_samples_by_seed_and_weights_without_duplicates(tmp_path: Path) -> None:
    one = grammar(tmp_path, rule("/9/ often <d>+ | seldom <d>+;\n<d> = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9"))
    found = one.sentences(500)
    assert len(set(found)) == 500
    assert found == one.sentences(500)
    assert found != one.sentences(500, seed=1)
    counts = Counter(sentence.split()[0] for sentence in found)
    assert 0.8 < counts["often"] / 500 < 0.97
    assert {len(sentence.split()) for sentence in found} == set(range(2, MAX_REPEATS + 2))


def test_lists_rarely_sampled_words(tmp_path: Path) -> None:
    text = rule("/1000000/ usual | <d> <d>;\n<d> = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9")
    assert len(grammar(tmp_path, text).sentences(90)) == 90


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("turn on\n", "line 1, is no header of JSGF"),
        ("", "line 1, is no header"),
        ("#JSGF V1.0;\n<s> = a;", "has no public rule"),
        ("#JSGF V1.0;\n\npublic <s> = a <t>;", "line 3: there is no rule <t>"),
        ("#JSGF V1.0;\npublic <s> = a <ss>;", r"line 2: there is no rule <ss>: did you mean '<s>'"),
        ("#JSGF V1.0;\npublic <s> = a |\n b [<s>];", "line 3: the rule <s> uses itself"),
        ("#JSGF V1.0;\npublic <s> = <t>;\n<t> = a <u>;\n<u> = b | <t>;", "line 4: the rule <t> uses itself"),
        ("#JSGF V1.0;\npublic <s> = a\n(b | c;", r"line 3: '\)' is expected and not ';'"),
        ("#JSGF V1.0;\npublic <s> = a", "line 2: ';' is expected and not the end"),
        ("#JSGF V1.0;\npublic <s> = ;", "line 2: an alternative is empty"),
        ("#JSGF V1.0;\npublic <s> = a;\npublic <s> = b;", "line 3: the rule <s> is defined twice"),
        ("#JSGF V1.0;\npublic <s> = /0/ a | /0/ b;", "line 2: all weights are 0"),
        ('#JSGF V1.0;\npublic <s> = a\n"b;', r"line 3: '\"' is not closed"),
        ("#JSGF V1.0;\nimport <other.rule>;", "line 2: imports are not read"),
        ("#JSGF V1.0;\npublic <s> = a + + b;", r"line 2: '\+' does not belong here"),
        ("#JSGF V1.0;\nhello;", "line 2: a rule is expected and not 'hello'"),
    ],
)
def test_one_sentence_error_with_line_number(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message) as raised:
        grammar(tmp_path, text)
    assert str(raised.value).count(". ") == 0
    assert str(raised.value).endswith(".")


def test_the_example_covers_letters_digits_and_the_kinds_of_an4() -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "an4.jsgf"
    found = Grammar(example).sentences(500)
    assert len(set(found)) == 500
    words = {word for sentence in found for word in sentence.split()}
    assert words >= set(ascii_uppercase)
    assert words >= {"ZERO", "OH", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"}
    assert words >= {"RUBOUT", "REPEAT", "NINETEEN", "HUNDRED", "TWENTY"}
    recipe = yaml.safe_load(example.with_suffix(".yaml").read_text(encoding="utf-8"))
    assert words >= set(recipe["corpus"][0]["spoken_as"]), "what is written otherwise for the voices is in the grammar"
    assert all("<" not in sentence and "|" not in sentence for sentence in found)
