"""Checks that a model's remote code is this package's, and needs only the requirements listed on the card.

transformers copies the files that `auto_map` names, and those that they import as `from .x import y`, into a flat
folder of the user's cache. An import from outside that folder, or of a package that the card does not list, fails only
there, so all imports are checked here in the syntax tree. transformers finds relative imports by a regular expression,
which also matches examples in docstrings; such examples are rejected.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from transformers.dynamic_module_utils import get_relative_imports
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from hf_speech.errors import PublishError
from hf_speech.publishing.checks.structure import read_mapping
from hf_speech.publishing.checks.upload import Upload

CONFIG_FILES = ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json")
PACKAGE = __name__.partition(".")[0]
_OWN_CODE = Path(__file__).parents[2] / "models"
_FLAT = "`from .x import y`"
_PIP_INSTALL = re.compile(r"pip3? install\s+([^`\n]*)")


class Import(NamedTuple):
    """An import, at any level of a file.

    Attributes:
        module: The module; empty for `from . import x`.
        level: The number of leading dots.
        line: Its line, counted from 1.
        optional: Whether it is inside a `try`, where transformers does not require the package.
        for_types: Whether it is inside `if TYPE_CHECKING:` and never executed.
    """

    module: str
    level: int
    line: int
    optional: bool
    for_types: bool


def check(upload: Upload) -> None:
    """Rejects remote code that users cannot run, or that differs from this package's without `custom_code`."""
    if upload.kind != "model":
        return
    check_code(upload.folder, upload.code, upload.card())
    if not upload.custom_code and (foreign := foreign_code(upload.folder)):
        differ = "differs" if len(foreign) == 1 else "differ"
        raise PublishError(
            f"{', '.join(foreign)} {differ} from the code of this version of {PACKAGE}, and users of the model run "
            "it: save the model again with this version, or pass --custom_code if you changed it on purpose."
        )


def foreign_code(folder: Path) -> list[str]:
    """Returns the Python files of a model that differ from those of this package."""
    return [
        path.name
        for path in sorted(folder.rglob("*.py"))
        if not (_OWN_CODE / path.name).is_file() or (_OWN_CODE / path.name).read_bytes() != path.read_bytes()
    ]


def remote_files(folder: Path) -> list[str]:
    """Returns the Python files that a model needs: those that its `auto_map`s name, and their relative imports.

    Raises:
        PublishError: If a file is missing or in another repository, or no `auto_map` names the model's class.
    """
    contents = {config: read_mapping(folder / config, required=config == "config.json") for config in CONFIG_FILES}
    pending: list[tuple[str, str]] = []
    for config, content in contents.items():
        auto_map = content.get("auto_map") or {}
        if not isinstance(auto_map, dict):
            raise PublishError(f"The auto_map of {config} is not a mapping: save the model again.")
        pending += [(_module(reference, config), config) for reference in _references(auto_map)]
    model_type = contents["config.json"].get("model_type")
    if str(model_type) not in CONFIG_MAPPING_NAMES and not any(config == "config.json" for _, config in pending):
        raise PublishError(
            f"The config.json of {folder} has no auto_map, and transformers has no model {model_type!r}: save the "
            "model with save_pretrained of its own class."
        )
    found: set[str] = set()
    while pending:
        module, origin = pending.pop()
        name = f"{module}.py"
        if name in found:
            continue
        path = folder / name
        if not path.is_file():
            raise PublishError(
                f"{origin} needs {name}, which {folder} does not contain: save the model again together with its code."
            )
        found.add(name)
        pending += [(sibling, name) for sibling in _siblings(imports_of(path))]
    return sorted(found)


def check_code(folder: Path, files: Iterable[str], card: str) -> None:
    """Rejects code that cannot run with only the card's requirements installed."""
    names = sorted(files)
    listed = requirements_of(card)
    for name in names:
        imports = imports_of(folder / name)
        for found in imports:
            if found.level:
                _check_flat(name, found, folder)
                continue
            top = found.module.partition(".")[0]
            if top in sys.stdlib_module_names:
                continue
            if top == PACKAGE:
                raise PublishError(
                    f"{name} imports {PACKAGE} (line {found.line}), which users of the model may not have: write "
                    f"`from .{found.module.rpartition('.')[2]} import ...`."
                )
            if f"{top}.py" in names:
                raise PublishError(
                    f"{name} imports its sibling {top} as an installed package (line {found.line}): write "
                    f"`from .{top} import ...`."
                )
            if not found.optional and not _provided(top, listed):
                raise PublishError(
                    f"{name} imports {top} (line {found.line}), which the card's requirements do not list: add it to "
                    "a `pip install` line of the card, or remove the import."
                )
        siblings = _siblings(imports)
        for module in get_relative_imports(folder / name):
            if module not in siblings:
                raise PublishError(
                    f"{name} has an import of .{module} in a docstring, which transformers reads as code: remove it "
                    "from the example."
                )


def check_listed(folder: Path, listed: str, preinstalled: frozenset[str] = frozenset()) -> None:
    """Rejects Python files in a folder or its subfolders that import packages missing from the requirements.

    Args:
        folder: The folder of a program, such as a Space.
        listed: The content of its requirements.txt.
        preinstalled: Packages that need not be listed.
    """
    names = {
        canonicalize_name(requirement.name) for line in listed.splitlines() if (requirement := _requirement(line))
    } | preinstalled
    files = sorted(folder.rglob("*.py"))
    own = {path.stem for path in files} | {path.parent.name for path in files if path.parent != folder}
    for path in files:
        for found in imports_of(path):
            top = found.module.partition(".")[0]
            if found.level or top in sys.stdlib_module_names or top in own:
                continue
            if not found.optional and not found.for_types and not _provided(top, names):
                raise PublishError(
                    f"{path.relative_to(folder)} imports {top} (line {found.line}), which requirements.txt does not "
                    "list: add it."
                )


def requirements_of(text: str) -> set[str]:
    """Returns the packages in the `pip install` lines of a text, as canonical names."""
    found: set[str] = set()
    for line in _PIP_INSTALL.findall(text):
        for word in re.findall(r"'[^']*'|\"[^\"]*\"|\S+", line):
            if requirement := _requirement(word.strip("'\"")):
                found.add(canonicalize_name(requirement.name))
    return found


def imports_of(path: Path) -> tuple[Import, ...]:
    """Returns the imports of a file in order.

    Raises:
        PublishError: If the file is not valid Python.
    """
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise PublishError(f"{path.name} is not Python ({error}): correct it.") from error


@functools.lru_cache(maxsize=64)
def _parse(code: str) -> tuple[Import, ...]:
    found: list[Import] = []
    pending: list[tuple[ast.AST, bool, bool]] = [(ast.parse(code), False, False)]
    while pending:
        node, optional, for_types = pending.pop()
        if isinstance(node, ast.Import):
            found += [Import(alias.name, 0, node.lineno, optional, for_types) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(Import(node.module or "", node.level, node.lineno, optional, for_types))
        optional |= isinstance(node, ast.Try)
        guarded: list[ast.stmt] = []
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            guarded = node.body
        inside = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]
        pending += [(child, optional, for_types or child in guarded) for child in reversed(inside)]
    return tuple(found)


def _siblings(imports: Iterable[Import]) -> list[str]:
    """Returns the modules of the same folder that a file imports."""
    return [found.module for found in imports if found.level == 1 and found.module and "." not in found.module]


def _check_flat(name: str, found: Import, folder: Path) -> None:
    statement = f"{name} has `from {'.' * found.level}{found.module} import ...` (line {found.line})"
    if found.level > 1:
        raise PublishError(
            f"{statement}, which reaches outside the folder: remote code is one flat folder, so write {_FLAT}."
        )
    if not found.module:
        raise PublishError(f"{statement}, which transformers does not detect: write {_FLAT}.")
    if "." in found.module:
        raise PublishError(f"{statement}, which reaches into a subfolder: remote code is flat, so write {_FLAT}.")
    if not (folder / f"{found.module}.py").is_file():
        raise PublishError(f"{statement}, but {found.module}.py is missing: save the model with all its code.")


def _requirement(text: str) -> Requirement | None:
    """Parses a requirement; returns None for an option, a comment or a path."""
    try:
        return Requirement(text.partition(" #")[0].strip())
    except InvalidRequirement:
        return None


def _references(auto_map: dict[str, object]) -> Iterator[str]:
    """Yields the classes that an `auto_map` names; a tokenizer has a list of two, of which one may be null."""
    for value in auto_map.values():
        for reference in value if isinstance(value, list) else [value]:
            if isinstance(reference, str):
                yield reference


def _module(reference: str, config: str) -> str:
    if "--" in reference:
        raise PublishError(
            f"{config} takes its code from another repository ({reference.partition('--')[0]}), which is not pinned: "
            "save the model together with its code."
        )
    module = reference.rpartition(".")[0]
    if not module.isidentifier():
        raise PublishError(f"{config} has an auto_map entry {reference!r}: write it as FILE.CLASS.")
    return module


@functools.cache
def _packages_of_modules() -> Mapping[str, list[str]]:
    """Maps modules to the installed packages that provide them; cached, because the search is slow."""
    return importlib.metadata.packages_distributions()


def _provided(module: str, listed: set[str]) -> bool:
    """Returns whether one of the listed packages provides a module."""
    if canonicalize_name(module) in listed:
        return True
    return any(canonicalize_name(package) in listed for package in _packages_of_modules().get(module, []))
