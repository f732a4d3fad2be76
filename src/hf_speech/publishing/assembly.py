"""Assembles a Space for publication: its folder, the files that all Spaces share, and modules of this package.

The Spaces of this project share `spaces/common` and import modules of `hf_speech`. A published Space runs without this
package, so both are copied into its folder: the common files at the top, the imported modules under their package
paths. Other Spaces are copied unchanged.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

from hf_speech.common.files import bundled_folder

PACKAGE = Path(__file__).resolve().parents[1]
COMMON = "common"
# Modules imported inside functions, if a language model has a lexicon.
IMPORTED_LATE = {
    "hf_speech.inference.decoders": ("hf_speech.tasks.lexicon",),
    "hf_speech.decoding.beam": ("hf_speech.decoding.search",),
    "hf_speech.decoding.alignment": ("hf_speech.decoding.search",),
    "hf_speech.decoding.ngram": ("hf_speech.decoding.search",),
}


def assemble_space(folder: Path, target: Path) -> Path:
    """Copies a Space with all files that it needs to run without this package.

    Returns:
        `target`.
    """
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("__pycache__", ".git"), symlinks=True)
    if not shares_common_files(folder):
        return target
    for path in (folder.resolve().parent / COMMON).iterdir():
        if path.is_file():
            shutil.copyfile(path, target / path.name)
    modules = [name for path in sorted(target.glob("*.py")) for name in _imported_modules(path)]
    for name, source in needed_modules(modules).items():
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source is None:
            copy.write_text('"""The modules of hf_speech that this Space needs."""\n', encoding="utf-8")
        else:
            shutil.copyfile(source, copy)
    return target


def spaces_dir() -> Path:
    """Returns the folder of the Spaces that come with the package."""
    return bundled_folder("spaces")


def shares_common_files(folder: Path) -> bool:
    """Returns whether a Space is one of this project, which needs the files in `spaces/common`."""
    return (folder.resolve().parent / COMMON / "serving.py").is_file()


def needed_modules(modules: list[str]) -> dict[str, Path | None]:
    """Returns the files of this package that some modules consist of or import, directly or indirectly.

    Args:
        modules: Names of modules, such as `hf_speech.decoding`; those of other packages are ignored.

    Returns:
        The source files by their path in a Space, such as `hf_speech/decoding/greedy.py`. None stands for an empty
        `__init__.py`, in a package of which only single modules are needed.
    """
    files: dict[str, Path | None] = {}
    pending = list(modules)
    while pending:
        module = pending.pop()
        parts = module.split(".")[1:]
        if module.split(".")[0] != PACKAGE.name:
            continue
        path = PACKAGE.joinpath(*parts)
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        name = source.relative_to(PACKAGE.parent).as_posix()
        if files.get(name) is not None or not source.is_file():
            continue
        files[name] = source
        for folder in source.relative_to(PACKAGE.parent).parents[:-1]:
            files.setdefault((folder / "__init__.py").as_posix(), None)
        pending += [*_imported_modules(source), *IMPORTED_LATE.get(module, ())]
    return files


def _imported_modules(path: Path) -> Iterator[str]:
    """Yields the modules that a file imports at its top level."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            package = PACKAGE.parent.joinpath(*node.module.split("."))
            modules = [alias.name for alias in node.names if (package / f"{alias.name}.py").is_file()]
            yield from (f"{node.module}.{name}" for name in modules)
            if len(modules) < len(node.names):
                yield node.module
