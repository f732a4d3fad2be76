"""What must not leave the machine: tokens and keys in any text, and where things lie on the disk.

The patterns are those of tokens that name themselves (`hf_...`, `ghp_...`, `AKIA...`), of key files, and of passwords
written the way configuration files and URLs write them; besides, the very values of this machine's own token and of
environment variables called TOKEN, SECRET or the like. A library of patterns (detect-secrets) was weighed: it brings
`requests`, has no pattern for the Hub's own tokens, and guesses by entropy, which a vocabulary or a checksum sets off.

No message shows a secret: it says what kind it is, and in which line.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub

CREDENTIAL_FILES = re.compile(
    r"\.env(\..+)?|.+\.env|\.netrc|_netrc|\.git-credentials|\.pypirc|\.npmrc|\.htpasswd|\.pgpass|\.dockercfg|"
    r"id_(rsa|dsa|ecdsa|ed25519)(\.bak)?|.+\.(pem|key|p12|pfx|ppk|jks|keystore|kdbx|asc|gpg)|"
    r"(client_)?secrets?(\..+)?|credentials(\..+)?|token|stored_tokens|kubeconfig|service[-_]account.*\.json",
    re.IGNORECASE,
)

_BEFORE, _AFTER = r"(?<![A-Za-z0-9_])", r"(?![A-Za-z0-9_])"


@dataclass(frozen=True)
class _Kind:
    """One kind of secret: what it is called, a string every one of them contains, and its form."""

    what: str
    anchor: str
    pattern: re.Pattern[str]


def _token(what: str, anchor: str, form: str) -> _Kind:
    """A token that stands alone, not in the middle of a word."""
    return _Kind(what, anchor, re.compile(_BEFORE + form + _AFTER))


_KINDS = (
    _token("a Hugging Face token", "hf_", r"hf_[A-Za-z0-9]{30,}"),
    _token("a Hugging Face organization token", "api_org_", r"api_org_[A-Za-z0-9]{30,}"),
    _token("a GitHub token", "gh", r"gh[pousr]_[A-Za-z0-9]{36,}"),
    _token("a GitHub token", "github_pat_", r"github_pat_[A-Za-z0-9_]{50,}"),
    _token("a GitLab token", "glpat-", r"glpat-[A-Za-z0-9_-]{20,}"),
    _token("an Anthropic key", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{20,}"),
    _token("an OpenAI key", "sk-", r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}"),
    _token("an OpenAI key", "sk-", r"sk-[A-Za-z0-9]{32,}"),
    _token("an AWS access key", "A", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
    _Kind(
        "an AWS secret key",
        "aws",
        re.compile(r"(?i)aws_?(?:secret|session)\w{0,20}[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9/+=]{40,}"),
    ),
    _token("a Google API key", "AIza", r"AIza[A-Za-z0-9_-]{35}"),
    _token("a Google access token", "ya29.", r"ya29\.[A-Za-z0-9_-]{20,}"),
    _token("a Google client secret", "GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{20,}"),
    _Kind("a Google service account", "private_key_id", re.compile(r"\"private_key_id\"\s*:\s*\"[0-9a-f]{20,}\"")),
    _token("a Slack token", "xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
    _Kind(
        "a Slack webhook",
        "hooks.slack.com",
        re.compile(r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9]+/[A-Za-z0-9]+/[A-Za-z0-9]+"),
    ),
    _Kind("a Discord webhook", "api/webhooks/", re.compile(r"discord(?:app)?\.com/api/webhooks/\d{15,}/[\w-]{30,}")),
    _token("a Telegram bot token", ":AA", r"\d{8,10}:AA[A-Za-z0-9_-]{32,}"),
    _token("a Stripe key", "_live_", r"(?:sk|rk)_live_[A-Za-z0-9]{16,}"),
    _token("a SendGrid key", "SG.", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    _token("a Twilio key", "SK", r"SK[0-9a-f]{32}"),
    _token("an npm token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _token("a PyPI token", "pypi-", r"pypi-AgE[A-Za-z0-9_-]{50,}"),
    _token("a Databricks token", "dapi", r"dapi[0-9a-f]{32}"),
    _token("a Replicate token", "r8_", r"r8_[A-Za-z0-9]{37,}"),
    _token("a Groq key", "gsk_", r"gsk_[A-Za-z0-9]{40,}"),
    _Kind("an Azure storage key", "AccountKey=", re.compile(r"AccountKey=[A-Za-z0-9+/]{40,}={0,2}")),
    _token("a JSON web token", "eyJ", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    _Kind("a private key", "PRIVATE KEY", re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----")),
    _Kind("a private key", "PuTTY-User-Key-File", re.compile(r"PuTTY-User-Key-File-\d")),
    _Kind("a .netrc login", "machine", re.compile(r"machine\s+\S+\s+login\s+\S+\s+password\s+\S+")),
    _Kind(
        "a URL with a password",
        "://",
        re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@\"'<>]+:(?!//)[^\s/@\"'<>${}*]{3,}@[A-Za-z0-9.-]+"),
    ),
    _Kind("an authorisation header", "earer ", re.compile(r"[Aa]uthorization[\"']?\s*[:=].{0,3}Bearer [\w.~+/-]{16,}")),
    # WANDB_API_KEY=..., "password": "...", client_secret: '...'
    _Kind(
        "a password or key",
        "",
        re.compile(
            r"(?i)(?:api[_-]?key|access[_-]?key|secret[_-]?key|client[_-]?secret|auth[_-]?token|"
            r"access[_-]?token|passw(?:or)?d)[\"']?\s*[:=]\s*"
            r"(?:([\"'])(?=[^\"'\s]*\d)(?=[^\"'\s]*[A-Za-z])[^\"'\s]{12,}\1|"
            r"(?=[\w+/.-]*\d)(?=[\w+/.-]*[A-Za-z])[\w+/=.-]{12,}(?:\s*$|[\"']))",
            re.MULTILINE,
        ),
    ),
)
_SECRET_VARIABLE = re.compile(r"TOKEN|SECRET|PASSW(OR)?D|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST_VALUE = 12

# Folders in which people's files lie, on one system or another.
_ROOTS = (
    *("home", "Users", "root", "tmp", "mnt", "media", "data", "scratch", "work", "workspace", "workspaces", "content"),
    *("kaggle", "private", "var/folders", "var/tmp", "Volumes", "gpfs", "lustre", "nfs", "storage", "projects", "net"),
)
# Those that are the same on every machine.
_PUBLIC = frozenset(
    {
        *("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "lost+found", "opt", "proc", "run", "sbin"),
        *("srv", "sys", "usr", "var"),
    }
)
_NAME = r"[\w.@+~=-]+"
_WINDOWS = r"\b[A-Zcd]:(?:\\{1,2}|/)" + rf"(?:{_NAME}(?:\\{{1,2}}|/))+{_NAME}"


def find_secret(text: str) -> tuple[str, int] | None:
    """Looks for tokens, keys and passwords.

    Args:
        text: Any text.

    Returns:
        What kind of secret it is and its line, counted from 1; None if there is none.
    """
    for what, value in _own_secrets(os.environ).items():
        if (start := text.find(value)) >= 0:
            return what, _line(text, start)
    for kind in _KINDS:
        if kind.anchor in text and (match := kind.pattern.search(text)):
            return kind.what, _line(text, match.start())
    return None


def find_path(text: str) -> tuple[str, int] | None:
    """Looks for absolute paths of somebody's machine; those that every machine has, as /usr/bin, are none.

    Args:
        text: Any text.

    Returns:
        The path and its line, counted from 1; None if there is none.
    """
    match = _paths().search(text) if _may_name_a_path(text) else None
    return None if match is None else (match.group(), _line(text, match.start()))


def shorten_paths(text: str) -> str:
    """Writes `path/to/NAME` for each absolute path of somebody's machine."""

    def shorten(match: re.Match[str]) -> str:
        return "path/to/" + re.split(r"[\\/]+", match.group().rstrip("\\/"))[-1]

    return _paths().sub(shorten, text) if _may_name_a_path(text) else text


def _may_name_a_path(text: str) -> bool:
    """A look that costs nothing: language models are long, and have no paths."""
    return "/" in text or ":\\" in text


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _own_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The secrets that this process itself could know: its Hub token, and variables that are called so."""
    own = {
        f"the value of the environment variable {name}": value
        for name, value in environment.items()
        if _SECRET_VARIABLE.search(name) and len(value) >= _SHORTEST_VALUE and not os.path.exists(value)
    }
    token = huggingface_hub.get_token()
    return own | ({"this machine's Hugging Face token": token} if token else {})


def _paths() -> re.Pattern[str]:
    """What absolute paths look like here: in the usual places, and in those of this very machine."""
    here = (str(Path.home()), os.getcwd(), tempfile.gettempdir())
    return _compile_paths(tuple(sorted(folder for folder in here if len(Path(folder).parts) > 1)))


@functools.lru_cache(maxsize=8)
def _compile_paths(here: tuple[str, ...]) -> re.Pattern[str]:
    try:
        own = [entry.name for entry in os.scandir("/") if entry.is_dir() and entry.name not in _PUBLIC]
    except OSError:  # Not a POSIX system.
        own = []
    roots = "|".join(re.escape(root) for root in sorted({*_ROOTS, *own}, key=len, reverse=True))
    exact = "|".join(re.escape(folder) for folder in sorted(here, key=len, reverse=True))
    # Not in the middle of a relative path, a URL or a tag.
    before = r"(?:(?<=file://)|(?<![\w./<~\\-]))"
    posix = rf"{before}/(?:{roots})/{_NAME}(?:/{_NAME})*/?"
    return re.compile("|".join([posix, _WINDOWS, *([rf"{before}(?:{exact})(?![\w-])"] if exact else [])]))


__all__ = ["CREDENTIAL_FILES", "find_path", "find_secret", "shorten_paths"]
