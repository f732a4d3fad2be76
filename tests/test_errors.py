"""Suggestions in errors about wrong names."""

from __future__ import annotations

import pytest

from hf_speech.errors import MAX_LISTED, nearest


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("learning_rat", "did you mean 'training.learning_rate'?"),
        ("profil", "did you mean 'training.profile'?"),
        ("model.profile", "did you mean 'training.profile'?"),
        ("an5", "did you mean 'an4'?"),
        ("xyz", "use one of an4, training.learning_rate, training.profile."),
    ],
)
def test_suggests_the_nearest_name_in_any_section(name: str, end: str) -> None:
    assert nearest(name, {"training.learning_rate", "training.profile", "an4"}) == end


def test_does_not_list_many_names() -> None:
    many = [f"name{index}" for index in range(MAX_LISTED + 1)]
    assert nearest("xyz", many) == "none of the 31 known names is similar."
    assert nearest("xyz", many[1:]).count("name") == MAX_LISTED
