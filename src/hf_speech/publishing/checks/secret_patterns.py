"""Patterns of secrets: one entry for each kind of token, key or password.

A token matches only if it looks randomly generated, with several kinds of characters mixed, so that
`hf_speech_and_other_names` and `hf_xxxxxxxx` do not match. A token may follow an underscore, but not a letter or digit,
which would make it part of a longer word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BEFORE = r"(?<![A-Za-z0-9])"
_CLASSES = re.compile(r"[a-z]+|[A-Z]+|\d+")


@dataclass(frozen=True)
class SecretPattern:
    """The pattern of one kind of secret.

    Attributes:
        kind: The kind of secret, such as "a GitHub token".
        anchor: A string in every such secret, which is faster to search for than the pattern; may be empty.
        pattern: The pattern.
        generated: Whether a match must look randomly generated.
    """

    kind: str
    anchor: str
    pattern: re.Pattern[str]
    generated: bool = False

    def find(self, text: str) -> int | None:
        """Returns the position of the first secret of this kind, or None."""
        if self.anchor not in text:
            return None
        for match in self.pattern.finditer(text):
            if not self.generated or looks_generated(match.group().removeprefix(self.anchor)):
                return match.start()
        return None


def looks_generated(body: str) -> bool:
    """Returns whether characters look random: two or more character classes, changing every few characters."""
    runs = _CLASSES.findall(body)
    classes = {"a" if run[0].islower() else "A" if run[0].isupper() else "0" for run in runs}
    return len(classes) > 1 and len(runs) >= max(3, len(body) / 8) and len(set(body)) >= 6


def _token(kind: str, prefix: str, body: str, after: str = "") -> SecretPattern:
    """Returns the pattern of a generated token with a known prefix."""
    return SecretPattern(kind, prefix, re.compile(f"{_BEFORE}{re.escape(prefix)}{body}{after}"), generated=True)


def _pattern(kind: str, anchor: str, pattern: str) -> SecretPattern:
    return SecretPattern(kind, anchor, re.compile(pattern))


_END = r"(?![A-Za-z0-9])"
_HEX = r"[0-9a-f]"
_ALNUM = r"[A-Za-z0-9]"
_URL_SAFE = r"[A-Za-z0-9_-]"

_TOKENS = (
    ("a Hugging Face token", "hf_", f"{_ALNUM}{{30,}}"),
    ("a Hugging Face organization token", "api_org_", f"{_ALNUM}{{30,}}"),
    ("a GitHub token", "github_pat_", r"[A-Za-z0-9_]{50,}"),
    *(("a GitHub token", f"gh{kind}_", f"{_ALNUM}{{36,}}") for kind in "pousr"),
    *(
        ("a GitLab token", f"gl{kind}-", f"{_URL_SAFE}{{20,}}")
        for kind in ("pat", "dt", "ft", "soat", "cbt", "rt", "ptt", "imt", "agent", "oas")
    ),
    ("an Anthropic key", "sk-ant-", f"{_URL_SAFE}{{20,}}"),
    *(("an OpenAI key", f"sk-{kind}-", f"{_URL_SAFE}{{20,}}") for kind in ("proj", "svcacct", "admin")),
    ("an OpenRouter key", "sk-or-", f"{_URL_SAFE}{{32,}}"),
    ("a Langfuse key", "sk-lf-", f"{_URL_SAFE}{{32,}}"),
    ("an OpenAI key", "sk-", f"{_ALNUM}{{32,}}"),
    ("an xAI key", "xai-", f"{_ALNUM}{{40,}}"),
    ("a Perplexity key", "pplx-", f"{_ALNUM}{{40,}}"),
    ("an NVIDIA key", "nvapi-", f"{_URL_SAFE}{{40,}}"),
    ("a Groq key", "gsk_", f"{_ALNUM}{{40,}}"),
    ("a Replicate token", "r8_", f"{_ALNUM}{{37,}}"),
    ("a Fireworks key", "fw_", f"{_ALNUM}{{22,}}"),
    ("a Cerebras key", "csk-", f"{_ALNUM}{{40,}}"),
    ("a Pinecone key", "pcsk_", r"[A-Za-z0-9_]{40,}"),
    ("a Voyage key", "pa-", f"{_URL_SAFE}{{43}}"),
    ("a RunPod key", "rpa_", f"{_ALNUM}{{40,}}"),
    ("a LangSmith key", "lsv2_", r"(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    ("an ElevenLabs key", "sk_", f"{_HEX}{{48}}", _END),
    ("a Weights & Biases key", "wandb_v1_", r"[A-Za-z0-9_]{40,}"),
    ("a Kaggle token", "KGAT_", f"{_HEX}{{32}}"),
    ("a Modal token", "as-", f"{_ALNUM}{{22}}", _END),
    ("a Google API key", "AIza", f"{_URL_SAFE}{{35}}"),
    ("a Google access token", "ya29.", f"{_URL_SAFE}{{20,}}"),
    ("a Google refresh token", "1//0", f"{_URL_SAFE}{{30,}}"),
    ("a Google client secret", "GOCSPX-", f"{_URL_SAFE}{{20,}}"),
    *(("a Slack token", f"xox{kind}-", r"[A-Za-z0-9-]{10,}") for kind in "abceoprs"),
    ("a Slack app token", "xapp-", r"\d-[A-Z0-9]+-\d+-[A-Za-z0-9]{20,}"),
    ("a Slack token", "xoxe.", r"xox[bp]-\d-[A-Za-z0-9]{30,}"),
    *(("a Stripe key", f"{kind}_{mode}_", f"{_ALNUM}{{16,}}") for kind in ("sk", "rk") for mode in ("live", "test")),
    ("a Stripe webhook secret", "whsec_", f"{_ALNUM}{{32,}}"),
    ("a Square token", "sq0", r"(?:atp|csp|idp)-[A-Za-z0-9_-]{22,}"),
    ("a SendGrid key", "SG.", f"{_URL_SAFE}{{16,}}\\.{_URL_SAFE}{{16,}}"),
    *(("a Twilio key", prefix, f"{_HEX}{{32}}", _END) for prefix in ("SK", "AC")),
    ("a Mailgun key", "key-", f"{_HEX}{{32}}", _END),
    ("an npm token", "npm_", f"{_ALNUM}{{36}}"),
    ("a PyPI token", "pypi-AgE", f"{_URL_SAFE}{{50,}}"),
    ("a RubyGems key", "rubygems_", f"{_HEX}{{48}}"),
    ("a crates.io token", "cio", f"{_ALNUM}{{32}}", _END),
    ("a Docker token", "dckr_pat_", f"{_URL_SAFE}{{27,}}"),
    ("a Databricks token", "dapi", f"{_HEX}{{32}}"),
    *(("a DigitalOcean token", f"do{kind}_v1_", f"{_HEX}{{64}}") for kind in "opr"),
    ("a HashiCorp Vault token", "hvs.", f"{_URL_SAFE}{{24,}}"),
    ("a Pulumi token", "pul-", f"{_HEX}{{40}}"),
    ("a Heroku key", "HRKU-", f"{_URL_SAFE}{{30,}}"),
    ("a Fly.io token", "fo1_", f"{_URL_SAFE}{{40,}}"),
    ("a Netlify token", "nfp_", f"{_ALNUM}{{36,}}"),
    ("a Supabase token", "sbp_", f"{_HEX}{{40}}"),
    ("a Supabase key", "sb_secret_", f"{_URL_SAFE}{{22,}}"),
    ("a PlanetScale token", "pscale_tkn_", r"[A-Za-z0-9_.-]{32,}"),
    ("a Tailscale key", "tskey-", r"[a-z]+-[A-Za-z0-9-]{20,}"),
    ("a Doppler token", "dp.pt.", f"{_ALNUM}{{40,}}"),
    ("a Grafana token", "glsa_", r"[A-Za-z0-9]{32}_[0-9a-f]{8}"),
    ("a Grafana token", "glc_", r"[A-Za-z0-9+/]{32,}"),
    ("a New Relic key", "NRAK-", r"[A-Z0-9]{27}"),
    ("a Sentry token", "sntrys_", r"[A-Za-z0-9+/=_-]{40,}"),
    ("a Sentry token", "sntryu_", f"{_HEX}{{64}}"),
    ("a Postman key", "PMAK-", r"[0-9a-f]{24}-[0-9a-f]{34}"),
    ("an Atlassian token", "ATATT3", r"[A-Za-z0-9_=-]{60,}"),
    ("a Bitbucket token", "ATBB", f"{_ALNUM}{{28,}}"),
    ("a Linear key", "lin_api_", f"{_ALNUM}{{32,}}"),
    ("a Notion token", "ntn_", f"{_ALNUM}{{40,}}"),
    ("a Notion token", "secret_", f"{_ALNUM}{{43}}", _END),
    ("a Figma token", "figd_", f"{_URL_SAFE}{{36,}}"),
    ("an Airtable token", "pat", r"[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    *(("a Shopify token", f"shp{kind}_", r"[0-9a-fA-F]{32}") for kind in ("at", "ca", "pa", "ss")),
    ("an Alibaba Cloud key", "LTAI", f"{_ALNUM}{{16,20}}", _END),
    ("a Yandex key", "AQVN", f"{_URL_SAFE}{{35,}}"),
    ("a JFrog token", "AKC", f"{_ALNUM}{{60,}}"),
    ("a 1Password token", "ops_", r"eyJ[A-Za-z0-9+/=_-]{60,}"),
)

PATTERNS: tuple[SecretPattern, ...] = (
    *(_token(*entry) for entry in _TOKENS),
    _pattern("an AWS access key", "A", _BEFORE + r"(?:AKIA|ASIA|ABIA|ACCA)(?=[A-Z]*\d|[A-Z]{16})[A-Z0-9]{16}" + _END),
    _pattern("an AWS secret key", "", r"(?i)aws_?(?:secret|session)\w{0,20}[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9/+=]{40,}"),
    _pattern("a Google service account", "private_key_id", r"\"private_key_id\"\s*:\s*\"[0-9a-f]{20,}\""),
    _pattern(
        "a Slack webhook",
        "hooks.slack.com",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9]+/[A-Za-z0-9]+/[A-Za-z0-9]+",
    ),
    _pattern("a Discord webhook", "api/webhooks/", r"discord(?:app)?\.com/api/webhooks/\d{15,}/[\w-]{30,}"),
    _pattern("a Telegram bot token", ":AA", _BEFORE + r"\d{8,10}:AA[A-Za-z0-9_-]{32,}"),
    _pattern("an Azure storage key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{40,}={0,2}"),
    _pattern("an Azure access key", "SharedAccessKey=", r"SharedAccessKey=[A-Za-z0-9+/]{40,}={0,2}"),
    _pattern("an Azure signature", "sig=", r"[?&\s\"']sig=[A-Za-z0-9+/%_-]{40,}(?:%3[dD]|=)?"),
    _pattern("a JSON web token", "eyJ", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    _pattern("a private key", "PRIVATE KEY", r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"),
    _pattern("a private key", "PuTTY-User-Key-File", r"PuTTY-User-Key-File-\d"),
    _pattern("an age key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{30,}"),
    _pattern("a .netrc login", "machine", r"machine\s+\S+\s+login\s+\S+\s+password\s+\S+"),
    _pattern("a Kaggle key", "username", r"\"username\"\s*:\s*\"[^\"]+\"\s*,\s*\"key\"\s*:\s*\"[0-9a-f]{32}\""),
    # https://anna:secret@host, https://:secret@host, https://TOKEN@host
    _pattern(
        "a URL with a password",
        "://",
        r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@\"'<>]*:(?!//)[^\s/@\"'<>${}*]{3,}@[A-Za-z0-9.-]+",
    ),
    _pattern("a URL with a token", "://", r"\bhttps?://(?=[^\s/@]*\d)(?=[^\s/@]*[A-Za-z])[\w-]{20,}@[A-Za-z0-9.-]+"),
    _pattern(
        "an authorization header",
        "",
        r"(?i)authorization[\"']?\s*[:=].{0,3}(?:bearer|basic|token) (?=[\w.~+/=-]*[A-Za-z])[\w.~+/=-]{16,}",
    ),
    # WANDB_API_KEY=..., HF_TOKEN=..., "password": "...", client_secret: '...'
    _pattern(
        "a password or key",
        "",
        r"(?im)(?:api[_-]?key|access[_-]?key|secret[_-]?key|account[_-]?key|client[_-]?secret|(?<![a-z])secret|"
        r"(?:auth|access|refresh|bearer|hf|hub|github|gitlab|bot|api|wandb|personal|private|deploy)[_-]?token|"
        r"credentials?|passw(?:or)?d|passphrase|(?<![a-z])pwd)[\"']?\s*[:=]\s*"
        r"(?:([\"'])(?=[^\"'\s]*\d)(?=[^\"'\s]*[A-Za-z])[^\"'\s]{12,}\1|"
        r"(?=[\w+/.-]*\d)(?=[\w+/.-]*[A-Za-z])(?![\w.]+[(\[])[\w+/=.-]{12,}(?:\s|$|[\"',;&}]))",
    ),
    # Passwords shorter than a key: password=hunter2secret
    _pattern(
        "a password",
        "",
        r"(?im)(?<![a-z])(?:passw(?:or)?d|passphrase|pwd)[\"']?\s*[:=]\s*[\"']?(?=[^\s\"']*\d)(?=[^\s\"']*[A-Za-z])"
        r"(?![\w.]+[(\[])[^\s\"'<>${}(),;]{8,}",
    ),
)
