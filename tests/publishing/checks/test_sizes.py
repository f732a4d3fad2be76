"""Mismatched parts of a model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hf_speech.errors import PublishError
from hf_speech.publishing.checks.sizes import check
from hf_speech.publishing.checks.upload import Upload


@pytest.mark.parametrize(
    ("model", "file", "key", "message"),
    [
        ("digits", "preprocessor_config.json", "num_mel_bins", r"expects (\d+) features per frame and .* gives 1\1"),
        ("digits", "config.json", "input_size", r"expects 1(\d+) features per frame and .* gives \1"),
        ("an4", "config.json", "hop_length", r"expects 1(\d+) samples per frame and .* gives \1"),
        ("an4", "config.json", "vocab_size", r"has 1(\d+) tokens and vocab\.json has \1"),
    ],
)
def test_rejects_mismatched_sizes(
    model: str, file: str, key: str, message: str, request: pytest.FixtureRequest
) -> None:
    run: Path = request.getfixturevalue(model)
    check(Upload(run))
    text, count = re.subn(rf'"{key}": (\d+)', rf'"{key}": 1\1', (run / file).read_text())  # 40 becomes 140.
    assert count == 1
    (run / file).write_text(text)
    with pytest.raises(PublishError, match=message):
        check(Upload(run))


def test_rejects_an_invalid_extractor(digits: Path) -> None:
    text = (digits / "preprocessor_config.json").read_text()
    (digits / "preprocessor_config.json").write_text(text.replace('"hop_length": ', '"hop_length": -'))
    with pytest.raises(PublishError, match="does not load as a feature extractor"):
        check(Upload(digits))
