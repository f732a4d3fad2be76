"""The files of published Spaces, and their consistency with the project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import soundfile
import yaml
from packaging.requirements import Requirement

from hf_speech.publishing.assembly import assemble_space, needed_modules

REPOSITORY = Path(__file__).resolve().parents[2]
SPACES = REPOSITORY / "spaces"


@pytest.fixture(params=["transcribe", "classify"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A Space in its published form."""
    return assemble_space(SPACES / str(request.param), tmp_path / "space")


def test_no_duplicate_modules_in_a_space() -> None:
    names = [path.name for path in SPACES.glob("*/*.py") if path.name != "app.py"]
    assert len(names) == len(set(names))


def test_a_space_contains_only_the_imported_files_of_the_package(folder: Path) -> None:
    carried = {path.relative_to(folder).as_posix() for path in (folder / "hf_speech").rglob("*.py")}
    assert "hf_speech/common/text.py" in carried
    assert ("hf_speech/decoding/greedy.py" in carried) == (folder / "recognizer.py").is_file()
    assert not any("training" in name or "corpora" in name or "publishing" in name for name in carried)
    for name in carried:
        source = REPOSITORY / "src" / name
        same = (folder / name).read_bytes() == source.read_bytes()
        assert same or name.endswith("__init__.py"), name


def test_follows_imports_of_the_package() -> None:
    assert set(needed_modules(["hf_speech.errors", "numpy", "os.path"])) == {
        "hf_speech/__init__.py",
        "hf_speech/errors.py",
    }
    files = needed_modules(["hf_speech.decoding.greedy"])
    assert files["hf_speech/decoding/__init__.py"] is None
    assert files["hf_speech/decoding/hypothesis.py"] == REPOSITORY / "src/hf_speech/decoding/hypothesis.py"
    assert needed_modules(["hf_speech.decoding"])["hf_speech/decoding/__init__.py"] is not None
    assert needed_modules(["hf_speech.no_such_module"]) == {}


def test_copies_other_spaces_unchanged(tmp_path: Path) -> None:
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    (tmp_path / "mine" / "app.py").write_text("import hf_speech.decoding")
    (tmp_path / "mine" / "sub" / "x.txt").write_text("x")
    copy = assemble_space(tmp_path / "mine", tmp_path / "copy")
    assert sorted(path.name for path in copy.rglob("*")) == ["app.py", "sub", "x.txt"]


def requirements(folder: Path) -> dict[str, Requirement]:
    lines = (folder / "requirements.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {requirement.name: requirement for requirement in found}


def test_requirements_are_pinned_to_the_tested_versions(folder: Path) -> None:
    pins = dict(
        line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if "==" in line[:60]
    )
    for name, requirement in requirements(folder).items():
        assert str(requirement.specifier) == f"=={pins[name]}", name
    assert "hf_speech" not in requirements(folder)


def test_every_import_is_in_the_requirements_or_the_folder(folder: Path) -> None:
    modules = {path.stem for path in folder.glob("*.py")} | {"hf_speech"}
    known = {"pillow": "PIL", "PyYAML": "yaml"}
    required = {known.get(name, name) for name in requirements(folder)}
    for path in folder.glob("*.py"):
        for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE):
            standard = name in __import__("sys").stdlib_module_names
            if (path.name, name) == ("zero_gpu.py", "spaces"):
                continue  # The Hub installs it where there is a ZeroGPU; nothing else imports it.
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
    examples += folder.glob("sentences/*")
    for example in examples:
        assert example.suffix == ".flac"
        assert example.stat().st_size < 100_000
        assert soundfile.info(example).duration < 5


def test_the_folder_is_small(folder: Path) -> None:
    files = [path for path in folder.rglob("[!.]*") if path.is_file() and "cache" not in path.parent.name]
    assert sum(path.stat().st_size for path in files) < 1_000_000
