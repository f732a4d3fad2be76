"""Finds tokens, keys and passwords in any text, in plain or encoded form, so that none is published.

It finds tokens with a known prefix (`hf_...`, `ghp_...`, `AKIA...`), key files, passwords in configuration files and
URLs, this machine's Hub token, and the values of environment variables named TOKEN, SECRET or similar. Each pattern is
applied to every decoded form of a text (`decoding.readings`).

It also uses plugins of detect-secrets, a maintained scanner, but not those that guess by entropy or keyword, which
mistake checksums and vocabularies for secrets. detect-secrets has no patterns for the tokens of the Hub and of most
services used to train models, so `secret_patterns` lists them.

No message shows a secret, only its kind and line. `without_secrets` also removes secrets from messages that quote the
name of a file or folder.
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
from hf_speech.publishing.checks.secret_patterns import PATTERNS, SecretPattern
from hf_speech.publishing.checks.texts import locate, texts_of
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
# The other plugins of detect-secrets guess, or are covered by `secret_patterns`.
_PLUGINS = (
    *("cloudant.CloudantDetector", "discord.DiscordBotTokenDetector", "gitlab_token.GitLabTokenDetector"),
    *("ibm_cloud_iam.IbmCloudIamDetector", "ibm_cos_hmac.IbmCosHmacDetector", "mailchimp.MailchimpDetector"),
    *("softlayer.SoftlayerDetector", "square_oauth.SquareOAuthDetector", "npm.NpmDetector"),
)


@dataclass(frozen=True)
class Secret:
    """A secret that was found, without its value.

    Attributes:
        kind: The kind of secret, such as "a GitHub token".
        line: Its line, counted from 1.
    """

    kind: str
    line: int


def check(upload: Upload) -> None:
    """Rejects files that contain a secret or have a name typical of credential files."""
    for path in upload.files():
        name = upload.name(path)
        check_name(name)
        for text, where in texts_of(path):
            if (secret := find_secret(text, binary=not where)) is not None:
                at = locate(where, secret.line)
                raise PublishError(
                    f"{name}{at}, has {secret.kind}: remove it, and revoke it if others could have read it."
                )


def check_name(name: str) -> None:
    """Rejects names typical of credential files, and names that contain a secret."""
    if CREDENTIAL_FILES.fullmatch(name.rpartition("/")[2]):
        raise PublishError(f"{name} has a name typical of files with passwords or keys: move it out of the folder.")
    if (secret := find_secret(name)) is not None:
        folder = name.rpartition("/")[0]
        where = f"in {folder}" if folder and find_secret(folder) is None else "in the folder"
        raise PublishError(f"The name of a file {where} contains {secret.kind}: rename the file.")


def find_secret(text: str, *, binary: bool = False) -> Secret | None:
    """Returns the first token, key or password; the bytes of a `binary` file are not decoded."""
    own = _own_secrets(os.environ)
    for reading in (Reading(text), Reading(text.replace("\0", ""))) if binary else readings(text):
        for kind, value in own.items():
            if (start := reading.text.find(value)) >= 0:
                return Secret(kind, reading.line(start))
        for pattern in (*PATTERNS, *_detect_secrets_patterns()):
            if (position := pattern.find(reading.text)) is not None:
                return Secret(pattern.kind, reading.line(position))
    return None


def redact(text: str) -> str:
    """Replaces the words of a message that contain a secret."""
    words = re.split(r"(\s+)", text)
    redacted = "".join("[not shown]" if find_secret(word) is not None else word for word in words)
    return redacted if find_secret(redacted) is None else "A file or folder has a secret in its name: rename it."


@contextmanager
def without_secrets() -> Iterator[None]:
    """Removes secrets from the messages of this package's errors that are raised in the block."""
    try:
        yield
    except HFSpeechError as error:
        clean = redact(str(error))
        if clean == str(error):
            raise
        raise type(error)(clean) from None  # The chained error would show the secret.


@functools.cache
def _detect_secrets_patterns() -> tuple[SecretPattern, ...]:
    """Returns the patterns of the plugins of detect-secrets."""
    patterns = []
    for plugin in _PLUGINS:
        module, _, name = plugin.partition(".")
        detector = getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)()
        patterns += [SecretPattern(f"a secret ({detector.secret_type})", "", pattern) for pattern in detector.denylist]
    return tuple(patterns)


def _own_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the secrets of this process by description: its Hub token and environment variables with secrets."""
    own = {
        f"the value of the environment variable {name}": value
        for name, value in environment.items()
        if _SECRET_VARIABLE.search(name) and len(value) >= _MIN_VALUE and not Path(value).exists()
    }
    token = huggingface_hub.get_token()
    return own | ({"this machine's Hugging Face token": token} if token else {})
