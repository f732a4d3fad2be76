"""Parsing of `--over`."""

from __future__ import annotations

import pytest

from hf_speech.errors import RecipeError
from hf_speech.experiments.variants import SearchRange, parse_axis, parse_range, variants_of


def settings(*axes: str) -> list[dict[str, str]]:
    return [variant.settings for variant in variants_of([parse_axis(axis) for axis in axes])]


def test_parses_a_list_of_values():
    axis = parse_axis("features.normalization=none,utterance,global,peak")
    assert axis.keys == ("features.normalization",)
    assert axis.choices == (("none",), ("utterance",), ("global",), ("peak",))


def test_multiplies_several_axes():
    assert settings("a.x=1,2", "a.y=3,4") == [
        {"a.x": "1", "a.y": "3"},
        {"a.x": "1", "a.y": "4"},
        {"a.x": "2", "a.y": "3"},
        {"a.x": "2", "a.y": "4"},
    ]


def test_varies_joined_keys_together():
    assert settings("features.feature_type+features.num_deltas=mfcc+0,mfcc+2") == [
        {"features.feature_type": "mfcc", "features.num_deltas": "0"},
        {"features.feature_type": "mfcc", "features.num_deltas": "2"},
    ]


def test_commas_in_brackets_belong_to_the_value():
    values = [s["augmentation.speed"] for s in settings("augmentation.speed=[0.9, 1.1],[0.8,1.25],null")]
    assert values == ["[0.9, 1.1]", "[0.8,1.25]", "null"]
    assert settings('a.b={x: "1,}", y: 2},3')[0] == {"a.b": '{x: "1,}", y: 2}'}


def test_folders_have_safe_and_unique_names():
    axes = [parse_axis("augmentation.speed=[0.9,1.1],null"), parse_axis("corpus.data_dir=/a b/c,d")]
    names = [variant.name for variant in variants_of(axes)]
    assert names[0] == "speed=-0.9-1.1-_data_dir=-a-b-c"
    assert len(set(names)) == 4
    assert not any(set(name) & set(r"/\: ,[]") for name in names)


def test_overrides_are_command_line_arguments():
    variant = variants_of([parse_axis("a.x+a-b.y=1+2")])[0]
    assert variant.overrides == ["--a.x", "1", "--a_b.y", "2"]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (["features.normalization"], "is not KEY=VALUE,VALUE"),
        (["=none"], "is not KEY=VALUE,VALUE"),
        (["a.b=none,"], "is not KEY=VALUE,VALUE"),
        (["a.b=none,peak,none"], "has a value twice"),
        (["a.b+a.c=1+2,3"], r"has 2 keys and 1 value in '3'"),
        (["a.b=1,2", "a.b=3"], "'a.b' is in two --over"),
        (["a.b=1..2"], "is a range: list the values to compare"),
    ],
)
def test_one_sentence_error_for_invalid_input(axes, message):
    with pytest.raises(RecipeError, match=message):
        settings(*axes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10..100", SearchRange(10, 100, integer=True, log=False)),
        ("-3..3", SearchRange(-3, 3, integer=True, log=False)),
        ("0.0..0.5", SearchRange(0, 0.5, integer=False, log=False)),
        ("1e-4..1e-2:log", SearchRange(1e-4, 1e-2, integer=False, log=True)),
        ("16..512:log", SearchRange(16, 512, integer=True, log=True)),
        ("../recordings", None),
        ("none", None),
        ("0.9", None),
    ],
)
def test_parses_ranges(text, expected):
    assert parse_range(text) == expected


@pytest.mark.parametrize("text", ["2..1", "1..1", "0..1:log", "a..b"])
def test_rejects_invalid_ranges(text):
    with pytest.raises(RecipeError, match=r"The (range|ends of the range) '"):
        parse_range(text)
