"""Staging: included files, excluded files, and errors."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file
from tests.publishing.staging_calls import TOKEN, refused, staged

from hf_speech.errors import HFSpeechError, PublishError
from hf_speech.publishing import Staged, stage
from hf_speech.publishing.card.context import percent
from hf_speech.publishing.checks.pictures import without_metadata
from hf_speech.publishing.checks.remote_code import check_listed

PRETRAINED = Path(__file__).resolve().parents[2] / "pretrained"
MIT = "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy"


def own_notes(result: Staged) -> list[str]:
    """Returns the notes except the one about code changes since the evaluation."""
    return [note for note in result.notes if not note.startswith("Measured with the code")]


def headline(run: Path) -> str:
    """Returns the first metric as formatted on the card."""
    accuracy = json.loads((run / "evaluation" / "test.json").read_text())["metrics"]["accuracy"]
    return f"**{percent(accuracy)}%**"


@pytest.mark.parametrize("name", ["fsdd-digits", "an4"])
def test_stages_the_models_of_the_project(name: str, tmp_path: Path) -> None:
    result = staged(PRETRAINED / name, tmp_path, revision="v1")
    kept = {path.relative_to(PRETRAINED / name).as_posix() for path in (PRETRAINED / name).rglob("*.*")}
    assert set(result.files) == kept | {"README.md", "LICENSE"}
    assert result.left_out == ()
    assert own_notes(result) == ["No license was given: the model is published under apache-2.0, like its code."]
    for file, size in result.files.items():
        path = result.folder / file
        assert path.stat().st_size == size
        assert not path.is_symlink()
        if file in kept:
            assert path.read_bytes() == without_metadata((PRETRAINED / name / file).read_bytes())
    assert "Apache License" in (result.folder / "LICENSE").read_text()
    assert issubclass(PublishError, HFSpeechError)


def test_tree_shows_every_file_with_its_size(digits: Path, tmp_path: Path) -> None:
    lines = staged(digits, tmp_path).tree().splitlines()
    assert lines[0] == "anna/x/"
    for name, depth in (("config.json", 1), ("evaluation/test.json", 2)):
        size = (digits / name).stat().st_size / 1000
        line = f"{'    ' * depth}{name.rpartition('/')[2]}"
        assert any(re.fullmatch(rf"{re.escape(line)} +{size:.1f} kB", other) for other in lines), line
    assert lines.count("    evaluation/") == 1
    kept = sum(path.is_file() for path in digits.rglob("*"))
    assert re.fullmatch(rf"{kept + 2} files +\d\.\d MB", lines[-1])


@pytest.mark.parametrize("run", ["tones_run", "beeps_run"])
def test_stages_a_run_without_local_paths(run: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder: Path = request.getfixturevalue(run)
    assert (folder / "checkpoints").is_dir()
    assert str(folder.parent) in (folder / "recipe.yaml").read_text()
    result = staged(folder, tmp_path)
    assert not any(name.startswith(("checkpoints", "logs")) for name in result.files)
    assert "Paths of this machine were shortened in evaluation/test.json" in result.notes[0]
    for name in result.files:
        content = (result.folder / name).read_bytes().decode("latin-1")
        assert str(folder.parent) not in content, name
    assert json.loads((result.folder / "evaluation" / "test.json").read_text())["model"] == "path/to/run"
    assert "data_dir: path/to/" in (result.folder / "recipe.yaml").read_text()


def test_does_not_stage_unlisted_files(digits: Path, tmp_path: Path) -> None:
    for name in ("notes.txt", "unused.py", ".hidden", "evaluation/notes.md", "old/config.json"):
        (digits / name).parent.mkdir(exist_ok=True)
        (digits / name).write_text(f"x = 1  # {TOKEN}")
    for name in ("checkpoints/checkpoint-1/optimizer.pt", "logs/events", "__pycache__/x.pyc", ".git/config"):
        (digits / name).parent.mkdir(parents=True)
        (digits / name).write_bytes(pickle.dumps({"lr": 1}))
    result = staged(digits, tmp_path)
    assert set(result.left_out) == {"notes.txt", "unused.py", ".hidden", "evaluation/notes.md", "old/config.json"}
    assert not set(result.left_out) & set(result.files)
    assert not any("checkpoint" in name or "pycache" in name or ".git" in name for name in result.files)
    assert result.notes[-1].startswith("Not published, because they are not on the allow-list: .hidden, ")


def test_stages_and_checks_additional_files(digits: Path, tmp_path: Path) -> None:
    result = staged(digits, tmp_path, extra={"probe/logits.json": b"[1, 2]"})
    assert (result.folder / "probe" / "logits.json").read_bytes() == b"[1, 2]"
    shutil.rmtree(result.folder)
    refused(digits, tmp_path, r"probe/x\.json is a pickle", extra={"probe/x.json": pickle.dumps({"a": 1})})
    refused(
        digits, tmp_path, r"probe/x\.json, line 1, has a Hugging Face", extra={"probe/x.json": f'"{TOKEN}"'.encode()}
    )
    refused(digits, tmp_path, "choose a name inside the folder", extra={"../x.json": b"1"})
    refused(digits, tmp_path, "config.json cannot be added: choose a name", extra={"config.json": b"{}"})


def test_stages_sharded_weights(digits: Path, tmp_path: Path) -> None:
    weights = load_file(digits / "model.safetensors")
    names = sorted(weights)
    (digits / "model.safetensors").unlink()
    for part, chosen in enumerate((names[:5], names[5:]), 1):
        file = digits / f"model-{part:05}-of-00002.safetensors"
        save_file({name: weights[name] for name in chosen}, file)
    for path in (digits / "evaluation").glob("*.json"):
        from hf_speech.common.digests import digest_file

        shards = sorted(digits.glob("*.safetensors"))
        report = json.loads(path.read_text())
        report["model_revision"] = "sha256:" + ",".join(digest_file(shard) for shard in shards)
        path.write_text(json.dumps(report))
    (digits / "model.safetensors.index.json").write_text("{}")
    result = staged(digits, tmp_path)
    assert {name for name in result.files if "safetensors" in name} == {
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    }


def test_stages_a_custom_license(digits: Path, tmp_path: Path) -> None:
    (digits / "LICENSE").write_text(MIT)
    result = staged(digits, tmp_path)
    assert own_notes(result) == []
    assert (result.folder / "LICENSE").read_text() == MIT
    assert "Apache License" in (result.folder / "LICENSE-CODE").read_text()
    assert "\nlicense: mit\n" in (result.folder / "README.md").read_text()


def test_uses_and_checks_the_card_of_the_folder(digits: Path, tmp_path: Path) -> None:
    card = (staged(digits, tmp_path).folder / "README.md").read_text()
    shutil.rmtree(tmp_path / "staged")
    mine = card.replace("<!-- hand-written: use -->\n", "<!-- hand-written: use -->\nMine.\n")
    (digits / "README.md").write_text(mine)
    result = staged(digits, tmp_path)
    assert (result.folder / "README.md").read_text() == mine
    shutil.rmtree(result.folder)
    (digits / "README.md").write_text(mine.replace(headline(digits), "**12.3%**"))
    refused(digits, tmp_path, r"claims 12\.3%, which no evaluation file supports")


def test_rejects_a_changed_number_in_the_card(digits: Path, tmp_path: Path) -> None:
    card = (staged(digits, tmp_path).folder / "README.md").read_text()
    shutil.rmtree(tmp_path / "staged")
    refused(digits, tmp_path, r"claims 12\.3%", card=card.replace(headline(digits), "**12.3%**"))
    (digits / "LICENSE").write_text(MIT)
    refused(digits, tmp_path, r"card names the license apache-2\.0, but the license is mit", card=card)
    (digits / "LICENSE").unlink()
    refused(digits, tmp_path, "requirements do not list", card=re.sub(r"pip install .*", "pip install torch", card))


def test_checks_destinations(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged" / "precious").write_text("x")
    with pytest.raises(PublishError, match="is not empty"):
        staged(digits, tmp_path)
    assert (tmp_path / "staged" / "precious").read_text() == "x"
    with pytest.raises(PublishError, match="choose a staging folder outside it"):
        stage(digits, digits / "staged", repo_id="anna/x")
    with pytest.raises(PublishError, match="There is no folder"):
        stage(tmp_path / "nowhere", tmp_path / "other", repo_id="anna/x")


# Spaces and datasets


@pytest.fixture
def space(tmp_path: Path) -> Path:
    folder = tmp_path / "space"
    (folder / "examples").mkdir(parents=True)
    (folder / "README.md").write_text("---\ntitle: Digits\nsdk: gradio\nlicense: apache-2.0\n---\n# Digits\n")
    (folder / "app.py").write_text("import gradio, spaces\nimport transformers\nfrom helper import x\n")
    (folder / "helper.py").write_text("x = 1\n")
    (folder / "requirements.txt").write_text("transformers==5.23.0  # the pipeline\n")
    (folder / "examples" / "a b.csv").write_text("1\n")
    return folder


def test_stages_spaces(space: Path, tmp_path: Path) -> None:
    (space / "x.bin2").write_text("?")
    (space / ".gitignore").write_text("?")
    result = staged(space, tmp_path, kind="space")
    assert set(result.files) == {
        *("README.md", "LICENSE", "app.py", "helper.py", "requirements.txt", "examples/a b.csv")
    }
    assert result.left_out == (".gitignore", "x.bin2")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (".env", "A=1", r"\.env has a name typical of files with passwords"),
        ("app.py", f"TOKEN = '{TOKEN}'", r"app\.py, line 1, has a Hugging Face token"),
        ("app.py", "import scipy", r"app\.py imports scipy \(line 1\), which requirements\.txt does not list"),
        ("app.py", "FOLDER = '/home/anna/run'", r"app\.py, line 1, names /home/anna/run"),
        ("README.md", "---\ntitle: Digits\n---\n", "names no license"),
        ("README.md", "---\nlicense: mit\n---\n", "text of the license mit is missing"),
        ("examples/model.pt", "?", "is a pickle by its name"),
    ],
)
def test_rejects_forbidden_files_in_spaces(space: Path, tmp_path: Path, name: str, content: str, message: str) -> None:
    (space / name).write_text(content)
    refused(space, tmp_path, message, kind="space")


def test_checks_requirements_of_spaces(space: Path) -> None:
    check_listed(space, "transformers", frozenset({"gradio", "spaces"}))
    with pytest.raises(PublishError, match="imports gradio"):
        check_listed(space, "transformers")


def test_stages_datasets(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "corpus"
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.table({"text": ["hello"]}), folder / "data" / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Words\n")
    (folder / "notes.py").write_text("x = 1")
    result = staged(folder, tmp_path, kind="dataset")
    assert set(result.files) == {"README.md", "data/train-00000-of-00001.parquet"}
    assert result.left_out == ("notes.py",)
    shutil.rmtree(result.folder)
    pq.write_table(pa.table({"path": [f"{os.sep}home/anna/1.wav"]}), folder / "data" / "train-00000-of-00001.parquet")
    refused(folder, tmp_path, r"\(a column\), names /home/anna/1\.wav", kind="dataset")
    (folder / "README.md").unlink()
    refused(folder, tmp_path, "has no README.md, which every dataset on the Hub needs", kind="dataset")
