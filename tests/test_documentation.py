"""The documentation is correct: lists of packages, command lines, and programs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from hf_speech.cli.app import app

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted([REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *REPOSITORY.glob("docs/*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def layers() -> list[str]:
    """Returns the packages of the import contract from the top, sorted by name within a layer."""
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = (one for one in contracts["contracts"] if one["type"] == "layers")
    return [name for layer in contract["layers"] for name in sorted(layer.split(" | "))]


def blocks(language: str) -> list[tuple[str, str]]:
    """Returns page and content of each code block."""
    return [
        (page.name, content)
        for page in PAGES
        for found, content in BLOCK.findall(page.read_text(encoding="utf-8"))
        if found == language
    ]


def commands() -> list[tuple[str, list[str]]]:
    """Returns page and words of each `hf-speech` command line in code blocks and tables."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for _, block in BLOCK.findall(text) for line in re.sub(r"\\\n", " ", block).splitlines()]
        lines += re.findall(r"`(hf-speech [^`\n|]+)`", BLOCK.sub("", text))
        for line in lines:
            words = shlex.split(line, comments=True) if line.startswith("hf-speech ") else []
            if len(words) > 2 and not {"|", "...", "--help"} & set(words):
                found.append((page.name, words[1:]))
    return found


def test_readme_shows_the_packages_in_the_order_of_the_contract() -> None:
    tree = BLOCK.findall((REPOSITORY / "README.md").read_text(encoding="utf-8"))[-1][1]
    shown = re.findall(r"^    (\w+)(?:/|\.py)\s", tree, re.MULTILINE)
    assert shown == layers()


def test_contributing_shows_the_packages_in_the_order_of_the_contract() -> None:
    table = (
        (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| package |")[2].partition("\n\n")[0]
    )
    shown = [name for line in table.splitlines()[2:] for name in sorted(re.findall(r"`(\w+)`", line.split("|")[1]))]
    assert shown == layers()


def test_every_package_is_on_the_map() -> None:
    folder = REPOSITORY / "src" / "hf_speech"
    found = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert found - {"__init__"} == set(layers())


@pytest.mark.parametrize(("page", "words"), commands(), ids=lambda value: " ".join(value)[:60])
def test_a_command_line_parses(page: str, words: list[str]) -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert words[0] in verbs, page
    # Raises where an option is unknown, a value is wrong, or an argument is missing.
    with verbs[words[0]].make_context(words[0], list(words[1:])) as context:
        assert all(_is_key(word) for word in context.args if word.startswith("--")), context.args


def _is_key(word: str) -> bool:
    """Returns whether an option unknown to a command is a recipe key."""
    return re.fullmatch(r"--[a-z][a-z0-9_]*(\.(\d+\.)?[a-z][a-z0-9_]*)?", word) is not None


def test_options_are_written_with_underscores() -> None:
    wrong = {
        (page.name, option)
        for page in PAGES
        for option in re.findall(r"(?<![\w-])--[a-z0-9_.]+-[a-z0-9_.-]+", page.read_text(encoding="utf-8"))
    }
    assert wrong <= {("RELEASING.md", "--keep-going")}


def runnable() -> list[Any]:
    """Returns the self-contained Python programs of the pages."""
    return [
        pytest.param(content, id=f"{page}-{number}")
        for number, (page, content) in enumerate(blocks("python"))
        if "import torch\n" in content and "Trainer" in content
    ]


@pytest.mark.parametrize("program", runnable())
def test_a_program_runs_unchanged(program: str, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=300
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert "eval_loss" in finished.stdout


@pytest.mark.parametrize(("page", "program"), blocks("python"), ids=lambda value: value[:30].replace("\n", " "))
def test_a_program_compiles_and_its_names_exist(page: str, program: str) -> None:
    compile(program, page, "exec")
    for module, names in re.findall(r"^from (hf_speech[\w.]*) import ([\w, ]+)$", program, re.MULTILINE):
        for name in names.split(", "):
            exec(f"from {module} import {name}")


def test_finds_code_blocks() -> None:
    assert len(commands()) > 50
    assert len(blocks("python")) > 7
    assert len(runnable()) == 1


def test_a_planted_upward_import_fails_the_contract(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for path in (REPOSITORY / "src" / "hf_speech").rglob("*.py"):
        target = source / path.relative_to(REPOSITORY / "src")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((REPOSITORY / "pyproject.toml").read_bytes())

    def lint() -> subprocess.CompletedProcess[str]:
        program = (
            "import sys; from importlinter.cli import lint_imports_command as lint; sys.path.insert(0, 'src'); lint()"
        )
        words = [sys.executable, "-c", program, "--no-cache"]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=120)

    kept = lint()
    assert kept.returncode == 0, kept.stdout
    planted = source / "hf_speech" / "data" / "audio.py"
    planted.write_text(planted.read_text(encoding="utf-8") + "\nimport hf_speech.training.recipe\n", encoding="utf-8")
    broken = lint()
    assert broken.returncode == 1
    assert "hf_speech.data is not allowed to import hf_speech.training" in broken.stdout
