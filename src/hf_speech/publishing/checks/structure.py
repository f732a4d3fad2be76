"""Reads untrusted JSON, YAML and card files safely: only regular files of bounded size and depth.

Pipes, which block, symlink loops, and JSON that overflows the parser's stack all raise `PublishError`.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import RepoCard
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from hf_speech.errors import PublishError

MAX_BYTES = 64 << 20
MAX_DEPTH = 100
# Equivalent to the loader of yaml.safe_load; faster if libyaml is installed.
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_regular(path: Path, name: str) -> None:
    """Rejects anything but regular files and links to them."""
    try:
        mode = path.stat().st_mode
    except (OSError, RuntimeError) as error:
        if path.is_symlink():
            raise PublishError(f"{name} is a broken or circular link: remove it.") from error
        raise PublishError(f"{name} cannot be read ({error}): repair or remove it.") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        link = "a link to " if path.is_symlink() else ""
        raise PublishError(f"{name} is {link}{kind}, not a file: remove it.")


def read_mapping(path: Path, *, required: bool = False) -> dict[str, Any]:
    """Reads a JSON or YAML file that contains a mapping.

    Args:
        path: The file.
        required: Whether the file must exist.

    Returns:
        The mapping; empty if the file does not exist.

    Raises:
        PublishError: If the file is missing, not regular, damaged, nested too deeply, or not a mapping.
    """
    if not path.is_symlink() and not path.exists():
        if required:
            raise PublishError(f"{path.parent} has no {path.name}: give a run folder that `hf-speech train` wrote.")
        return {}
    check_regular(path, str(path))
    if path.stat().st_size > MAX_BYTES:
        raise PublishError(f"{path} has more than {MAX_BYTES >> 20} MiB: write it again.")
    is_json = path.suffix == ".json"
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if is_json else yaml.load(text, Loader=_SAFE)
    except (OSError, ValueError) as error:
        raise PublishError(f"{path} is not {'JSON' if is_json else 'YAML'} ({error}): write it again.") from error
    except yaml.YAMLError as error:
        raise PublishError(f"{path} is not plain YAML: write it again, without tags that create objects.") from error
    except RecursionError as error:
        raise PublishError(f"{path} is nested too deeply: write it again.") from error
    if not isinstance(content, dict):
        raise PublishError(
            f"{path} is not a JSON object: write it again."
            if is_json
            else f"{path} does not contain a mapping: give a run folder that `hf-speech train` wrote."
        )
    if not _is_shallow(content):
        raise PublishError(f"{path} is nested more than {MAX_DEPTH} levels deep: write it again.")
    return content


def read_metadata(card: str) -> dict[str, Any]:
    """Returns the YAML metadata at the top of a card as plain data; empty if there is none."""
    if not REGEX_YAML_BLOCK.match(card):
        return {}
    try:
        return dict(RepoCard(card, ignore_metadata_errors=False).data.to_dict())
    except Exception as error:  # Errors of yaml and huggingface_hub, or RecursionError.
        reason = " ".join(str(error).split())[:200]
        raise PublishError(f"The metadata at the top of the card is not valid ({reason}): correct it.") from error


def check_schema(content: Any, schema: Any, where: str) -> None:
    """Rejects content that does not match a schema.

    Args:
        content: The content of a file.
        schema: A type or tuple of types; a list with the schema of every item; or a dictionary of schemas by key,
            where a key that ends in `?` may be missing and `...` stands for all other keys.
        where: The name of the content in messages.

    Raises:
        PublishError: Naming the first part that does not match.
    """
    if isinstance(schema, dict):
        _check_type(content, dict, where)
        for key, inner in schema.items():
            if key is ...:
                for other in content.keys() - {str(name).rstrip("?") for name in schema}:
                    check_schema(content[other], inner, f"{where}, {other}")
                continue
            name = key.rstrip("?")
            if name in content:
                if content[name] is not None or not key.endswith("?"):
                    check_schema(content[name], inner, f"{where}, {name}")
            elif not key.endswith("?"):
                raise PublishError(f"{where} lacks {name}: write it again with the command that created it.")
    elif isinstance(schema, list):
        _check_type(content, list, where)
        for index, item in enumerate(content, 1):
            check_schema(item, schema[0], f"{where}, item {index}")
    else:
        _check_type(content, schema, where)


def _check_type(content: Any, expected: type | tuple[type, ...], where: str) -> None:
    if not isinstance(content, expected) or (isinstance(content, bool) and expected is not bool):
        types = expected if isinstance(expected, tuple) else (expected,)
        names = {dict: "a mapping", list: "a list", str: "text", int: "a whole number", float: "a number", bool: "true"}
        description = " or ".join(dict.fromkeys(names[kind] for kind in types))
        raise PublishError(f"{where} is not {description}: write it again with the command that created it.")


def _is_shallow(content: Any, depth: int = MAX_DEPTH) -> bool:
    if not isinstance(content, dict | list):
        return True
    values = content.values() if isinstance(content, dict) else content
    return depth > 0 and all(_is_shallow(value, depth - 1) for value in values)
