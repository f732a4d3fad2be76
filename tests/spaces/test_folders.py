"""A Space is its folder: what must lie in it, and what must agree with the rest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import soundfile
import yaml
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
SPACES = REPOSITORY / "spaces"
SHARED = ("sound.py", "serving.py", "page.py", "page.js", "page.css")


@pytest.fixture(params=["transcribe", "classify"])
def folder(request: pytest.FixtureRequest) -> Path:
    return SPACES / str(request.param)


@pytest.mark.parametrize("name", SHARED)
def test_shared_files_are_the_same(name: str) -> None:
    first, second = (SPACES / space / name for space in ("transcribe", "classify"))
    assert first.read_text() == second.read_text(), f"copy one {name} over the other"


def requirements(folder: Path) -> dict[str, Requirement]:
    lines = (folder / "requirements.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {requirement.name: requirement for requirement in found}


def test_requirements_are_pinned_to_what_the_tests_run_with(folder: Path) -> None:
    pins = dict(
        line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if "==" in line[:60]
    )
    for name, requirement in requirements(folder).items():
        assert str(requirement.specifier) == f"=={pins[name]}", name
    assert "hf_speech" not in requirements(folder)


def test_every_import_is_required_or_lies_in_the_folder(folder: Path) -> None:
    modules = {path.stem for path in folder.glob("*.py")}
    known = {"pillow": "PIL", "flashlight-text": "flashlight"}
    required = {known.get(name, name) for name in requirements(folder)}
    for path in folder.glob("*.py"):
        for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE):
            standard = name in __import__("sys").stdlib_module_names
            assert standard or name in modules | required, f"{path.name} imports {name}"


def test_front_matter_is_complete(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert {"title", "emoji", "colorFrom", "colorTo", "models", "license", "tags"} <= front.keys()
    assert front["sdk"] == "gradio"
    assert f"=={front['sdk_version']}" == str(requirements(folder)["gradio"].specifier)
    assert isinstance(front["python_version"], str)
    assert front["python_version"] in ("3.11", "3.12", "3.13")
    assert (folder / front["app_file"]).is_file()
    assert 0 < len(front["short_description"]) <= 60
    assert front["license"] == "apache-2.0"
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", model) for model in front["models"])
    for variable in ("MODEL_ID", "MODEL_REVISION", "MAX_SECONDS", "MAX_MEGABYTES", "KEEP_SECONDS", "CONCURRENCY"):
        assert variable in text


def test_examples_are_small_sounds(folder: Path) -> None:
    examples = sorted((folder / "examples").iterdir())
    assert len(examples) >= 3
    for example in examples:
        assert example.suffix == ".flac"
        assert example.stat().st_size < 100_000
        assert soundfile.info(example).duration < 5


def test_the_folder_is_small(folder: Path) -> None:
    files = [path for path in folder.rglob("[!.]*") if path.is_file() and "cache" not in path.parent.name]
    assert sum(path.stat().st_size for path in files) < 1_000_000
