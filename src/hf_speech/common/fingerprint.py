"""Digests of everything that affects a model's output: evaluations record them, and publishing compares them.

A checksum of the weights alone would accept exchanged labels, another normalization of features, or an edited
vocabulary. The digests are taken from the files of the folder, so nothing has to be loaded. JSON is compared by
content, without the keys that do not affect the output, and code without comments and docstrings.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hf_speech.common.digests import digest_bytes, digest_data, digest_file

LANGUAGE_MODEL, LEXICON = "language_model.arpa", "lexicon.txt"
LANGUAGE_MODELS = (LANGUAGE_MODEL, "language_model.ngram")
"""The names of a language model in a model folder."""

FILES = {
    "configuration": ("config.json",),
    "feature_extractor": ("preprocessor_config.json", "processor_config.json"),
    "vocabulary": (
        *("vocab.json", "tokenizer_config.json", "tokenizer.json", "added_tokens.json", "special_tokens_map.json"),
    ),
    "language_model": LANGUAGE_MODELS,
    "lexicon": (LEXICON,),
}
"""The files of each key of a fingerprint; `weights` are all safetensors files, `code` is this package's."""

# Written by the libraries that save and load a model: where it came from, in which version, stored in which precision.
BOOKKEEPING = frozenset(
    {"_name_or_path", "name_or_path", "auto_map", "processor_class", "transformers_version", "dtype", "torch_dtype"}
)
_CODE = Path(__file__).resolve().parent.parent / "models"
_SIBLING = re.compile(r"^from \.(\w+) import", re.MULTILINE)


def fingerprint(folder: str | Path) -> dict[str, str]:
    """Digests of everything in a model folder that decides an answer.

    Returns:
        SHA-256 in hexadecimal by key: `weights`, `code`, and those of `FILES` that the folder has. An evaluation that
        used no language model records none, so compare the keys that it has.
    """
    root = Path(folder).expanduser()
    found: dict[str, str] = {}
    if weights := [path for path in sorted(root.glob("*.safetensors")) if path.is_file()]:
        found["weights"] = digest_data([digest_file(path) for path in weights])
    for key, names in FILES.items():
        if files := [root / name for name in names if (root / name).is_file()]:
            if key == "language_model":
                found[key] = _digest_language_model(files[0])
            else:
                found[key] = digest_data({path.name: digest_of_content(path) for path in files})
    return found | {"code": code_fingerprint(*_model_class(root))}


def fingerprint_of_answers(folder: str | Path, language_model: Path | None, phones: bool = False) -> dict[str, str]:
    """The fingerprint that an evaluation records: without what it did not use, with the language model that it did.

    Args:
        folder: The model's folder.
        language_model: The file of the beam search, in any folder; None without one.
        phones: Whether the beam search weighed the model's phones, which takes its lexicon.
    """
    found = fingerprint(folder)
    found.pop("language_model", None)
    if not phones:
        found.pop("lexicon", None)
    if language_model is not None:
        found["language_model"] = _digest_language_model(language_model)
    return found


def _digest_language_model(path: Path) -> str:
    """A digest of the content alone: an evaluation may have used the file under another name."""
    return digest_data({LANGUAGE_MODEL: digest_of_content(path)})


def weights_revision(folder: Path, config: Any) -> str:
    """Identifies what was loaded: the Hub's commit sha, or the checksum of a local folder's weights.

    Args:
        folder: The model folder; anything else means that the model came from the Hub.
        config: The model's configuration, in which transformers keeps the commit.
    """
    if not folder.is_dir():
        return str(getattr(config, "_commit_hash", None) or "unknown")
    return "sha256:" + ",".join(digest_file(file) for file in sorted(folder.glob("*.safetensors")))


def digest_of_content(path: Path) -> str:
    """Digest of a file: of JSON by its content, without the keys of `BOOKKEEPING`; of other files by their bytes."""
    content = path.read_bytes()
    if path.suffix == ".json":
        try:
            return digest_data(_without_bookkeeping(json.loads(content)))
        except (ValueError, RecursionError):  # Damaged: what loads it will say so.
            pass
    return digest_bytes(content)


def code_fingerprint(model_type: str | None, architecture: str | None = None) -> str:
    """Digest of this package's code that computes a model's answers: features, layers, and what both import.

    Args:
        model_type: As in the model's `config.json`; a family of transformers has only its features' code here.
        architecture: Name of the model's class, which may be in another module than its family.
    """
    pending = ["feature_extraction_speech", *([f"modeling_{model_type}"] if model_type else [])]
    if architecture:
        start = f"class {architecture}("
        pending += [path.stem for path in _CODE.glob("modeling_*.py") if start in path.read_text(encoding="utf-8")]
    trees: dict[str, str] = {}
    while pending:
        name = pending.pop()
        path = _CODE / f"{name}.py"
        if name in trees or not path.is_file():
            continue
        source = path.read_text(encoding="utf-8")
        trees[name] = _normalized(source)
        pending += _SIBLING.findall(source)
    return digest_data(trees)


@functools.lru_cache(maxsize=64)
def _normalized(source: str) -> str:
    """Code without comments, docstrings and layout; kept, since every evaluation asks for the same files."""
    return ast.unparse(_without_docstrings(ast.parse(source)))


def differences(recorded: dict[str, str], found: dict[str, str], ignore: Iterable[str] = ()) -> list[str]:
    """The keys of a recorded fingerprint that are different or missing now, such as `configuration`."""
    return [key for key, digest in recorded.items() if key not in set(ignore) and found.get(key) != digest]


def _model_class(root: Path) -> tuple[str | None, str | None]:
    """The family and the class of a model by its `config.json`, None for what it does not say."""
    try:
        content = json.loads((root / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None, None
    content = content if isinstance(content, dict) else {}
    listed = content.get("architectures")
    names = (content.get("model_type"), listed[0] if isinstance(listed, list) and listed else None)
    family, architecture = (name if isinstance(name, str) and name.isidentifier() else None for name in names)
    return family, architecture


def _without_bookkeeping(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_bookkeeping(value) for key, value in content.items() if key not in BOOKKEEPING}
    return [_without_bookkeeping(value) for value in content] if isinstance(content, list) else content


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [
                statement
                for statement in body
                if not (
                    isinstance(statement, ast.Expr)
                    and isinstance(statement.value, ast.Constant)
                    and isinstance(statement.value.value, str)
                )
            ]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return tree
