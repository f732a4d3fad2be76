"""The license of a run folder: its text, the given name, and contradictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_speech.errors import PublishError
from hf_speech.publishing.checks.licenses import find_license

MIT = "Permission is hereby granted, free of charge, to any person ..."
OURS = "The license of our institute\n\nDo as you please."


@pytest.mark.parametrize(
    ("text", "given", "name"),
    [
        (MIT, None, "mit"),
        (MIT, "mit", "mit"),
        # A license that is not known here may have any name, and a known text may be part of another license.
        (OURS, None, "other"),
        (OURS, "cc-by-4.0", "cc-by-4.0"),
        (MIT, "other", "other"),
        (None, None, "apache-2.0"),
        (None, "apache-2.0", "apache-2.0"),
    ],
)
def test_accepts_names_that_match_the_text(tmp_path: Path, text: str | None, given: str | None, name: str) -> None:
    if text is not None:
        (tmp_path / "LICENSE").write_text(text)
    found = find_license(tmp_path, given)
    assert found.name == name
    assert (found.title is not None) == (name == "other")
    assert found.text == (text or found.text)


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        (MIT, "apache-2.0", "is the text of mit, not of apache-2.0"),
        (None, "mit", "text of the license mit is missing"),
        (" \n", None, "is empty"),
        (OURS, "no-such-license", "There is no license 'no-such-license'"),
    ],
)
def test_rejects_contradictions(tmp_path: Path, text: str | None, given: str, message: str) -> None:
    if text is not None:
        (tmp_path / "LICENSE").write_text(text)
    with pytest.raises(PublishError, match=message):
        find_license(tmp_path, given)


def test_keeps_the_license_name_of_the_card(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="text of the license cc-by-4"):
        find_license(tmp_path, previous="cc-by-4.0")
    (tmp_path / "LICENSE").write_text(OURS)
    assert find_license(tmp_path, previous="cc-by-4.0").name == "other"
