"""Secrets that must not leave the machine: tokens, keys and passwords in any text, however they are written.

Recognized are tokens that name themselves (`hf_...`, `ghp_...`, `AKIA...`), key files, and passwords written the way
configuration files and URLs write them; in addition, the values of this machine's own token and of environment
variables called TOKEN, SECRET or the like. Each pattern is tried on everything that `decoding.readings` makes of a
text.

The plugins of detect-secrets, a maintained scanner, are used as well; its guesses by entropy and by keyword are left
out, because they mistake checksums and vocabularies for secrets. It has no pattern for the tokens of the Hub and of
most services used to train models, hence the list here.

No message shows a secret: it says what kind it is, and in which line. `without_secrets` keeps that promise for
messages that name a file or folder with a secret in its name.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub

from hf_speech.errors import HFSpeechError, PublishError
from hf_speech.publishing.checks.decoding import Reading, readings
from hf_speech.publishing.checks.texts import locate, texts_of
from hf_speech.publishing.checks.token_forms import KINDS, Kind
from hf_speech.publishing.checks.upload import Upload

CREDENTIAL_FILES = re.compile(
    r"\.env(\..+)?|.+\.env|\.netrc|_netrc|\.git-credentials|\.pypirc|\.npmrc|\.htpasswd|\.pgpass|\.dockercfg|"
    r"id_(rsa|dsa|ecdsa|ed25519)(\.bak)?|.+\.(pem|key|p12|pfx|ppk|jks|keystore|kdbx|asc|gpg)|"
    r"(client_)?secrets?(\..+)?|credentials(\..+)?|token|stored_tokens|kubeconfig|kaggle\.json|"
    r"service[-_]account.*\.json",
    re.IGNORECASE,
)
_SECRET_VARIABLE = re.compile(r"TOKEN|SECRET|PASSW(OR)?D|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)
_MIN_VALUE = 12
# Plugins of detect-secrets that are used; the others are covered by our own list, or guess.
_PLUGINS = (
    *("cloudant.CloudantDetector", "discord.DiscordBotTokenDetector", "gitlab_token.GitLabTokenDetector"),
    *("ibm_cloud_iam.IbmCloudIamDetector", "ibm_cos_hmac.IbmCosHmacDetector", "mailchimp.MailchimpDetector"),
    *("softlayer.SoftlayerDetector", "square_oauth.SquareOAuthDetector", "npm.NpmDetector"),
)


@dataclass(frozen=True)
class Secret:
    """A secret that was found, without the secret.

    Attributes:
        what: What kind it is, "a GitHub token".
        line: Its line, counted from 1.
    """

    what: str
    line: int


def check(upload: Upload) -> None:
    """Refuses files that hold a secret, or are called as files of secrets are."""
    for path in upload.files():
        name = upload.name(path)
        check_name(name)
        for text, where in texts_of(path):
            if (secret := find_secret(text, binary=not where)) is not None:
                at = locate(where, secret.line)
                raise PublishError(
                    f"{name}{at}, has {secret.what}: take it out, and have it revoked if others could read it."
                )


def check_name(name: str) -> None:
    """Refuses a file that is called as files of credentials are, and a name that holds a secret."""
    if CREDENTIAL_FILES.fullmatch(name.rpartition("/")[2]):
        raise PublishError(f"{name} has a name that files of passwords or keys have: move it out of the folder.")
    if (secret := find_secret(name)) is not None:
        folder = name.rpartition("/")[0]
        where = f"in {folder}" if folder and find_secret(folder) is None else "in the folder"
        raise PublishError(f"The name of a file {where} has {secret.what} in it: rename it.")


def find_secret(text: str, *, binary: bool = False) -> Secret | None:
    """The first token, key or password; encodings are not looked for in the bytes of a `binary` file."""
    own = _own_secrets(os.environ)
    for reading in (Reading(text), Reading(text.replace("\0", ""))) if binary else readings(text):
        for what, value in own.items():
            if (start := reading.text.find(value)) >= 0:
                return Secret(what, reading.line(start))
        for kind in (*KINDS, *_of_detect_secrets()):
            if (position := kind.find(reading.text)) is not None:
                return Secret(kind.what, reading.line(position))
    return None


def redact(text: str) -> str:
    """A message without the words that hold a secret."""
    words = re.split(r"(\s+)", text)
    shown = "".join("[not shown]" if find_secret(word) is not None else word for word in words)
    return shown if find_secret(shown) is None else "Something has a secret in its name: rename it."


@contextmanager
def without_secrets() -> Iterator[None]:
    """Errors of this package that leave the block name nothing that holds a secret."""
    try:
        yield
    except HFSpeechError as error:
        clean = redact(str(error))
        if clean == str(error):
            raise
        raise type(error)(clean) from None  # The chain of causes would show it.


@functools.cache
def _of_detect_secrets() -> tuple[Kind, ...]:
    """The patterns of detect-secrets' plugins, as kinds of ours."""
    kinds = []
    for plugin in _PLUGINS:
        module, _, name = plugin.partition(".")
        detector = getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)()
        kinds += [Kind(f"a secret ({detector.secret_type})", "", pattern) for pattern in detector.denylist]
    return tuple(kinds)


def _own_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The secrets that this process itself could know: its Hub token, and variables that are called so."""
    own = {
        f"the value of the environment variable {name}": value
        for name, value in environment.items()
        if _SECRET_VARIABLE.search(name) and len(value) >= _MIN_VALUE and not Path(value).exists()
    }
    token = huggingface_hub.get_token()
    return own | ({"this machine's Hugging Face token": token} if token else {})
