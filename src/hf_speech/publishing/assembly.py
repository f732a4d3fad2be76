"""A Space as it is published: its own folder, the files that all Spaces share, and what it needs of this package.

The Spaces of this project share `spaces/common`, and one of them decodes with modules of `hf_speech`. A published Space
runs without this package, so both are copied next to its program: the common files flat, the modules under their own
names. Which modules these are follows from the imports. A Space of another origin is copied as it is.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

from hf_speech.common.files import bundled_folder

PACKAGE = Path(__file__).resolve().parents[1]
COMMON = "common"
# Imported inside functions, when a language model comes with a lexicon.
IMPORTED_LATE = {
    "hf_speech.inference.decoders": ("hf_speech.tasks.lexicon",),
    "hf_speech.decoding.beam": ("hf_speech.decoding.search",),
    "hf_speech.decoding.alignment": ("hf_speech.decoding.search",),
    "hf_speech.decoding.ngram": ("hf_speech.decoding.search",),
}


def assemble_space(folder: Path, target: Path) -> Path:
    """Copy a Space with everything that it needs to run alone.

    Returns:
        `target`.
    """
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("__pycache__", ".git"), symlinks=True)
    if not shares_common_files(folder):
        return target
    for path in (folder.resolve().parent / COMMON).iterdir():
        if path.is_file():
            shutil.copyfile(path, target / path.name)
    wanted = [name for path in sorted(target.glob("*.py")) for name in _imported(path)]
    for name, source in needed_modules(wanted).items():
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source is None:
            copy.write_text('"""A part of the package hf_speech, as far as this Space needs it."""\n', encoding="utf-8")
        else:
            shutil.copyfile(source, copy)
    return target


def spaces_dir() -> Path:
    """The folder of the Spaces that come with the package."""
    return bundled_folder("spaces")


def shares_common_files(folder: Path) -> bool:
    """Whether a Space is one of this project, which need the files in `spaces/common`."""
    return (folder.resolve().parent / COMMON / "serving.py").is_file()


def needed_modules(wanted: list[str]) -> dict[str, Path | None]:
    """The files of this package that some modules need, with all modules that these import.

    Args:
        wanted: Names of modules, `hf_speech.decoding`; names of other packages are ignored.

    Returns:
        The file of each by its name in a Space, `hf_speech/decoding/greedy.py`. The `__init__.py` of a package of which
        only single modules are needed is None: it is to be empty.
    """
    files: dict[str, Path | None] = {}
    wanted = list(wanted)
    while wanted:
        module = wanted.pop()
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
        wanted += [*_imported(source), *IMPORTED_LATE.get(module, ())]
    return files


def _imported(path: Path) -> Iterator[str]:
    """The modules that a file imports when it is imported itself."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            package = PACKAGE.parent.joinpath(*node.module.split("."))
            modules = [alias.name for alias in node.names if (package / f"{alias.name}.py").is_file()]
            yield from (f"{node.module}.{name}" for name in modules)
            if len(modules) < len(node.names):
                yield node.module
