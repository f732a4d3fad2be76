"""Mistakes on this machine are reported before anything is asked of the Hub, which may take half a minute to fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_speech.common.hub import Repository
from hf_speech.data.corpora import make_corpus
from hf_speech.errors import HFSpeechError
from hf_speech.publishing.corpus import publish_corpus
from hf_speech.publishing.model import publish
from hf_speech.publishing.space import publish_space
from hf_speech.publishing.static_space import publish_static_space

SPACE = Path(__file__).resolve().parents[2] / "spaces" / "classify"
Publish = Callable[[Path], Any]


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The repositories whose state was requested."""
    names: list[str] = []
    monkeypatch.setattr(Repository, "fetch_state", lambda repository, revision=None: names.append(repository.name))
    return names


@pytest.mark.parametrize(
    ("publication", "message"),
    [
        (lambda path: publish(path / "none", "ann/it"), r"There is no folder .*none"),
        (lambda path: publish(path, "ann/it", card=path / "none.md"), r"The card .*none\.md cannot be read"),
        (lambda path: publish(path, "ann/it", dry_run=True), r"config\.json"),
        (lambda path: publish(path, "ann/it", replaces="older"), r"'older' is not .* repository: write OWNER/NAME"),
        (lambda path: publish(path, "ann/it", tag="v 1"), r"'v 1' cannot be a tag"),
        (lambda path: publish(path, "ann/it", tag="v1", create_pr=True), r"A pull request cannot be tagged"),
        (lambda path: publish_space(path / "none", "ann/it", model="ann/m"), r"none has no README\.md"),
        (lambda path: publish_space(SPACE, "ann/it", model="ann/m", examples=path), r"has 0 recordings"),
        (lambda path: publish_space(SPACE, "ann/it", model="ann/m", tag=".."), r"cannot be a tag"),
        (lambda path: publish_static_space("ann/it", model="ann/m", examples=path), r"has 0 recordings"),
        (lambda path: publish_static_space("ann/it", model="ann/m", tag=".."), r"cannot be a tag"),
        (
            lambda path: publish_corpus(
                make_corpus("folder", data_dir=str(path / "none")), "ann/it", license="mit", dry_run=True
            ),
            r"none.* does not exist",
        ),
    ],
)
def test_checks_local_things_before_the_hub(
    publication: Publish, message: str, tmp_path: Path, asked: list[str]
) -> None:
    with pytest.raises(HFSpeechError, match=message):
        publication(tmp_path)
    assert asked == []


def test_asks_for_a_login_before_the_corpus_is_read(
    digit_folder: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    monkeypatch.setattr("hf_speech.common.hub.constants.is_offline_mode", lambda: False)
    monkeypatch.setattr("hf_speech.common.hub.get_token", lambda: None)
    corpus = make_corpus("folder", data_dir=str(digit_folder))
    monkeypatch.setattr(corpus, "load", lambda: pytest.fail("read the corpus"))
    with pytest.raises(HFSpeechError, match="You are not logged in to the Hub"):
        publish_corpus(corpus, "ann/it", license="mit")
    assert asked == []
