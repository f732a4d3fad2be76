"""Safe reading of untrusted files: only complete regular files of bounded size and valid format.

Opening a pipe blocks, a symlink loop never ends, and JSON nested 100,000 levels deep overflows the parser's stack: each
is reported as a one-sentence error.
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
# The same as yaml.safe_load, and faster where libyaml is there.
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_regular(path: Path, name: str) -> None:
    """Refuses anything but regular files and links to them."""
    try:
        mode = path.stat().st_mode
    except (OSError, RuntimeError) as error:  # A link to nothing, or in a loop.
        if path.is_symlink():
            raise PublishError(f"{name} is a link to nothing, or to itself: remove it.") from error
        raise PublishError(f"{name} cannot be read ({error}): repair or remove it.") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        link = "a link to " if path.is_symlink() else ""
        raise PublishError(f"{name} is {link}{what}, not a file: remove it.")


def read_mapping(path: Path, *, needed: bool = False) -> dict[str, Any]:
    """Reads a JSON or YAML file that holds a mapping.

    Args:
        path: The file.
        needed: Whether it must be there.

    Returns:
        What it holds; empty if it is not there.

    Raises:
        PublishError: If it is missing, no regular file, damaged, nested too deep, or no mapping.
    """
    if not path.is_symlink() and not path.exists():
        if needed:
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
        raise PublishError(f"{path} is not plain YAML: write it again, without tags that make objects.") from error
    except RecursionError as error:
        raise PublishError(f"{path} is nested too deep: write it again.") from error
    if not isinstance(content, dict):
        raise PublishError(
            f"{path} is not a JSON object: write it again."
            if is_json
            else f"{path} does not consist of sections: give a run folder that `hf-speech train` wrote."
        )
    if not _is_shallow(content):
        raise PublishError(f"{path} is nested more than {MAX_DEPTH} deep: write it again.")
    return content


def read_metadata(card: str) -> dict[str, Any]:
    """The YAML metadata at the top of a card as plain data; empty where it has none."""
    if not REGEX_YAML_BLOCK.match(card):
        return {}
    try:
        return dict(RepoCard(card, ignore_metadata_errors=False).data.to_dict())
    except Exception as error:  # yaml's errors, the client's own, and those of a stack that overflows.
        reason = " ".join(str(error).split())[:200]
        raise PublishError(f"The metadata at the top of the card is not valid ({reason}): correct it.") from error


def check_form(content: Any, form: Any, where: str) -> None:
    """Refuses content that is not of a form.

    Args:
        content: What a file holds.
        form: A type, or a tuple of types; a dictionary of forms by key, where `...` stands for any other key and a
            key that ends in `?` may be missing; or a list of one form for each item.
        where: What the message calls it.

    Raises:
        PublishError: Naming the first part that is of another form.
    """
    if isinstance(form, dict):
        _check_type(content, dict, where)
        for key, inner in form.items():
            if key is ...:
                for other in content.keys() - {str(name).rstrip("?") for name in form}:
                    check_form(content[other], inner, f"{where}, {other}")
                continue
            name = key.rstrip("?")
            if name in content:
                if content[name] is not None or not key.endswith("?"):
                    check_form(content[name], inner, f"{where}, {name}")
            elif not key.endswith("?"):
                raise PublishError(f"{where} does not say {name}: write it again with the command that made it.")
    elif isinstance(form, list):
        _check_type(content, list, where)
        for index, item in enumerate(content, 1):
            check_form(item, form[0], f"{where}, item {index}")
    else:
        _check_type(content, form, where)


def _check_type(content: Any, form: type | tuple[type, ...], where: str) -> None:
    if not isinstance(content, form) or (isinstance(content, bool) and form is not bool):
        kinds = form if isinstance(form, tuple) else (form,)
        names = {dict: "a mapping", list: "a list", str: "text", int: "a whole number", float: "a number", bool: "true"}
        wanted = " or ".join(dict.fromkeys(names[kind] for kind in kinds))
        raise PublishError(f"{where} is not {wanted}: write it again with the command that made it.")


def _is_shallow(content: Any, depth: int = MAX_DEPTH) -> bool:
    if not isinstance(content, dict | list):
        return True
    values = content.values() if isinstance(content, dict) else content
    return depth > 0 and all(_is_shallow(value, depth - 1) for value in values)
