"""Copies of pretrained models that tests can damage, so that nothing has to be trained."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server.fixtures import client, hub, place, xet_client, xet_hub  # noqa: F401

from hf_speech.publishing.checks import secrets

PRETRAINED = Path(__file__).resolve().parents[2] / "pretrained"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A copy of pretrained/fsdd-digits: a classifier."""
    return Path(shutil.copytree(PRETRAINED / "fsdd-digits", tmp_path / "digits"))


@pytest.fixture
def an4(tmp_path: Path) -> Path:
    """A copy of pretrained/an4: a recognizer with a language model."""
    return Path(shutil.copytree(PRETRAINED / "an4", tmp_path / "an4"))


@pytest.fixture(scope="session", autouse=True)
def known_texts() -> Iterator[None]:
    """Searches each text for secrets once per session, because staged folders share code and vocabularies."""
    search, known = secrets.find_secret, {}

    def find_secret(text: str, *, binary: bool = False) -> secrets.Secret | None:
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
        key = (digest, binary, frozenset(secrets._own_secrets(os.environ).items()))
        if key not in known:
            known[key] = search(text, binary=binary)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "find_secret", find_secret)
        yield
