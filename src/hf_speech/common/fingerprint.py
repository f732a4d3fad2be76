"""Digests of everything that affects a model's output. Evaluations record them, and publishing compares them.

A checksum of the weights alone would miss swapped labels, different feature normalization or an edited vocabulary.
The digests are computed from the files in the model folder, so no model is loaded. JSON is compared by content,
without keys that do not affect the output, and code without comments and docstrings.
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
"""The file names that a language model may have in a model folder."""

FILES = {
    "configuration": ("config.json",),
    "feature_extractor": ("preprocessor_config.json", "processor_config.json"),
    "vocabulary": (
        *("vocab.json", "tokenizer_config.json", "tokenizer.json", "added_tokens.json", "special_tokens_map.json"),
    ),
    "language_model": LANGUAGE_MODELS,
    "lexicon": (LEXICON,),
}
"""The files behind each key of a fingerprint, besides `weights` (all safetensors files) and `code` (this package's)."""

# Keys that libraries write when they save a model: its origin, their version and the stored precision.
BOOKKEEPING = frozenset(
    {"_name_or_path", "name_or_path", "auto_map", "processor_class", "transformers_version", "dtype", "torch_dtype"}
)
_CODE = Path(__file__).resolve().parent.parent / "models"
_SIBLING = re.compile(r"^from \.(\w+) import", re.MULTILINE)


def fingerprint(folder: str | Path) -> dict[str, str]:
    """Returns digests of everything in a model folder that affects the model's output.

    Returns:
        SHA-256 in hexadecimal by key: `weights`, `code`, and the keys of `FILES` whose files exist. An evaluation
        without a language model records no digest of one, so compare only the recorded keys.
    """
    root = Path(folder).expanduser()
    digests: dict[str, str] = {}
    if weights := [path for path in sorted(root.glob("*.safetensors")) if path.is_file()]:
        digests["weights"] = digest_data([digest_file(path) for path in weights])
    for key, names in FILES.items():
        if files := [root / name for name in names if (root / name).is_file()]:
            if key == "language_model":
                digests[key] = _digest_language_model(files[0])
            else:
                digests[key] = digest_data({path.name: digest_of_content(path) for path in files})
    return digests | {"code": code_fingerprint(*_model_class(root))}


def fingerprint_of_answers(folder: str | Path, language_model: Path | None, phones: bool = False) -> dict[str, str]:
    """Returns the fingerprint that an evaluation records, limited to the files that it used.

    Args:
        folder: The model folder.
        language_model: The language model of the beam search, in any folder; None if there was none.
        phones: Whether the beam search used the model's phones, and so its lexicon.
    """
    digests = fingerprint(folder)
    digests.pop("language_model", None)
    if not phones:
        digests.pop("lexicon", None)
    if language_model is not None:
        digests["language_model"] = _digest_language_model(language_model)
    return digests


def _digest_language_model(path: Path) -> str:
    """Returns a digest of the content alone, since an evaluation may have used the file under another name."""
    return digest_data({LANGUAGE_MODEL: digest_of_content(path)})


def weights_revision(folder: Path, config: Any) -> str:
    """Returns the revision of a loaded model: its commit on the Hub, or the checksum of a local folder's weights.

    Args:
        folder: The model folder. If it does not exist, the model came from the Hub.
        config: The model's configuration, where transformers stores the commit.
    """
    if not folder.is_dir():
        return str(getattr(config, "_commit_hash", None) or "unknown")
    return "sha256:" + ",".join(digest_file(file) for file in sorted(folder.glob("*.safetensors")))


def digest_of_content(path: Path) -> str:
    """Returns a file's digest: of the parsed content without `BOOKKEEPING` keys for JSON, of the bytes otherwise."""
    content = path.read_bytes()
    if path.suffix == ".json":
        try:
            return digest_data(_without_bookkeeping(json.loads(content)))
        except (ValueError, RecursionError):  # Loading the damaged file raises an error later.
            pass
    return digest_bytes(content)


def code_fingerprint(model_type: str | None, architecture: str | None = None) -> str:
    """Returns a digest of the package's code that computes a model's output: features, layers and their imports.

    Args:
        model_type: The `model_type` of `config.json`. For transformers models, this package only has feature code.
        architecture: The name of the model's class, which may be in a different module than the rest of its family.
    """
    pending = ["feature_extraction_speech", *([f"modeling_{model_type}"] if model_type else [])]
    if architecture:
        definition = f"class {architecture}("
        pending += [path.stem for path in _CODE.glob("modeling_*.py") if definition in path.read_text(encoding="utf-8")]
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
    """Returns code without comments, docstrings and layout. Cached, since every evaluation needs the same files."""
    return ast.unparse(_without_docstrings(ast.parse(source)))


def differences(recorded: dict[str, str], found: dict[str, str], ignore: Iterable[str] = ()) -> list[str]:
    """Returns the keys of a recorded fingerprint that now differ or are missing, such as `configuration`."""
    return [key for key, digest in recorded.items() if key not in set(ignore) and found.get(key) != digest]


def _model_class(root: Path) -> tuple[str | None, str | None]:
    """Returns the model type and class name of `config.json`, each None if absent or invalid."""
    try:
        content = json.loads((root / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None, None
    content = content if isinstance(content, dict) else {}
    architectures = content.get("architectures")
    names = (content.get("model_type"), architectures[0] if isinstance(architectures, list) and architectures else None)
    model_type, architecture = (name if isinstance(name, str) and name.isidentifier() else None for name in names)
    return model_type, architecture


def _without_bookkeeping(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_bookkeeping(value) for key, value in content.items() if key not in BOOKKEEPING}
    return [_without_bookkeeping(value) for value in content] if isinstance(content, list) else content


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            statements = [
                statement
                for statement in body
                if not (
                    isinstance(statement, ast.Expr)
                    and isinstance(statement.value, ast.Constant)
                    and isinstance(statement.value.value, str)
                )
            ]
            node.body = statements or [ast.Pass()]  # type: ignore[attr-defined]
    return tree
