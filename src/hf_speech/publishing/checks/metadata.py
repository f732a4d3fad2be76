"""The YAML metadata at the top of a README.md."""

from __future__ import annotations

from typing import Any

from huggingface_hub import RepoCard
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from hf_speech.errors import PublishError


def read_metadata(card: str) -> dict[str, Any]:
    """The metadata of a card as plain data; empty where it has none.

    Raises:
        PublishError: If it is not valid.
    """
    if not REGEX_YAML_BLOCK.match(card):
        return {}
    try:
        return dict(RepoCard(card, ignore_metadata_errors=False).data.to_dict())
    except Exception as error:  # yaml's errors, the client's own, and those of a stack that overflows.
        reason = " ".join(str(error).split())[:200]
        raise PublishError(f"The metadata at the top of the card is not valid ({reason}): correct it.") from error


__all__ = ["read_metadata"]
