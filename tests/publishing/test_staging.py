"""Staging: what goes along, what stays, and what stops everything."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from hf_speech.errors import HFSpeechError, PublishError
from hf_speech.publishing import Staged, stage
from hf_speech.publishing.card.words import percent
from hf_speech.publishing.checks.pictures import without_metadata
from hf_speech.publishing.checks.remote_code import check_listed

PRETRAINED = Path(__file__).resolve().parents[2] / "pretrained"
TOKEN = "hf" + "_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0fGhi"
Plant = Callable[[Path], object]
MIT = "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy"


def staged(run: Path, tmp_path: Path, **options: object) -> Staged:
    return stage(run, tmp_path / "staged", **{"repo_id": "anna/x", **options})  # type: ignore[arg-type]


def refused(run: Path, tmp_path: Path, message: str, **options: object) -> None:
    """Staging must end in one sentence, and leave nothing behind that could be sent."""
    with pytest.raises(PublishError, match=message) as error:
        staged(run, tmp_path, **options)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")
    assert TOKEN not in str(error.value)
    assert not any((tmp_path / "staged").iterdir()) if (tmp_path / "staged").exists() else True


def own_notes(result: Staged) -> list[str]:
    """The notes, but for the one that the code has changed since the models of the project were evaluated."""
    return [note for note in result.notes if not note.startswith("Measured with other code")]


def headline(run: Path) -> str:
    """How the card writes the first figure."""
    accuracy = json.loads((run / "evaluation" / "test.json").read_text())["metrics"]["accuracy"]
    return f"**{percent(accuracy)} %**"


# What goes along


@pytest.mark.parametrize("name", ["fsdd-digits", "an4"])
def test_models_of_the_project_stage_cleanly(name: str, tmp_path: Path) -> None:
    result = staged(PRETRAINED / name, tmp_path, revision="v1")
    kept = {path.relative_to(PRETRAINED / name).as_posix() for path in (PRETRAINED / name).rglob("*.*")}
    assert set(result.files) == kept | {"README.md", "LICENSE"}
    assert result.left_out == ()
    assert own_notes(result) == ["No license was named: the model goes out under apache-2.0, as its code does."]
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
def test_a_fresh_run_stages_without_its_places(run: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
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


def test_what_is_not_listed_stays(digits: Path, tmp_path: Path) -> None:
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
    assert result.notes[-1].startswith("Left out, for it is not on the list of what is published: .hidden, ")


def test_further_files_go_along_and_are_checked(digits: Path, tmp_path: Path) -> None:
    result = staged(digits, tmp_path, extra={"probe/logits.json": b"[1, 2]"})
    assert (result.folder / "probe" / "logits.json").read_bytes() == b"[1, 2]"
    shutil.rmtree(result.folder)
    refused(digits, tmp_path, r"probe/x\.json is a pickle", extra={"probe/x.json": pickle.dumps({"a": 1})})
    refused(
        digits, tmp_path, r"probe/x\.json, line 1, has a Hugging Face", extra={"probe/x.json": f'"{TOKEN}"'.encode()}
    )
    refused(digits, tmp_path, "leads out of the folder", extra={"../x.json": b"1"})
    refused(digits, tmp_path, "is there already", extra={"config.json": b"{}"})


def test_sharded_weights(digits: Path, tmp_path: Path) -> None:
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


def test_license_of_ones_own(digits: Path, tmp_path: Path) -> None:
    (digits / "LICENSE").write_text(MIT)
    result = staged(digits, tmp_path)
    assert own_notes(result) == []
    assert (result.folder / "LICENSE").read_text() == MIT
    assert "Apache License" in (result.folder / "LICENSE-CODE").read_text()
    assert "\nlicense: mit\n" in (result.folder / "README.md").read_text()


def test_card_of_the_folder_is_taken_and_checked(digits: Path, tmp_path: Path) -> None:
    card = (staged(digits, tmp_path).folder / "README.md").read_text()
    shutil.rmtree(tmp_path / "staged")
    mine = card.replace("<!-- hand-written: use -->\n", "<!-- hand-written: use -->\nMine.\n")
    (digits / "README.md").write_text(mine)
    result = staged(digits, tmp_path)
    assert (result.folder / "README.md").read_text() == mine
    shutil.rmtree(result.folder)
    (digits / "README.md").write_text(mine.replace(headline(digits), "**12.3 %**"))
    refused(digits, tmp_path, r"claims 12\.3 %, which no evaluation file has")


# What stops everything: one culprit each


def plant_pickle(name: str) -> Plant:
    return lambda run: (run / name).write_bytes(pickle.dumps({"a": 1}))


def plant_text(name: str, text: str) -> Plant:
    return lambda run: (run / name).write_text(text)


def edit(name: str, before: str, after: str) -> Plant:
    def change(run: Path) -> None:
        text = (run / name).read_text()
        assert before in text, f"{name} has no {before}"
        (run / name).write_text(text.replace(before, after, 1))

    return change


def extractor_of_another_size(run: Path) -> None:
    """Beside evaluations that recorded no fingerprint, which would have found any other extractor."""
    edit("preprocessor_config.json", '"num_mel_bins": ', '"num_mel_bins": 1')(run)  # 40 becomes 140.
    for path in (run / "evaluation").glob("*.json"):
        report = json.loads(path.read_text())
        report.pop("model_fingerprint", None)
        path.write_text(json.dumps(report))


def add(name: str, text: str) -> Plant:
    return lambda run: (run / name).write_text((run / name).read_text() + text)


def zip_of_pickle(run: Path) -> None:
    with zipfile.ZipFile(run / "archive.dat", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))


def link(name: str, target: str) -> Plant:
    def make(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(target)

    return make


CULPRITS: dict[str, tuple[Plant, str]] = {
    # pickles and programs, beside the run and under the names of its own files
    "training_args.bin": (plant_pickle("training_args.bin"), r"training_args\.bin is a pickle"),
    "pytorch_model.bin": (plant_text("pytorch_model.bin", "?"), r"pytorch_model\.bin is a pickle by its name"),
    "pickle without a suffix": (plant_pickle("data"), r"data is a pickle.* delete it, or move it out of"),
    "pickle called weights": (
        plant_pickle("model.safetensors"),
        r"model\.safetensors is a(?: pickle| not)|other weights",
    ),
    "pickle called picture": (plant_pickle("curves.png"), r"curves\.png is a pickle"),
    "pickle called table": (plant_pickle("evaluation/test.csv"), r"evaluation/test\.csv is a pickle"),
    "pickle called vocabulary": (plant_pickle("vocab.json"), r"vocab\.json is (a pickle|not JSON)"),
    "pickle in an archive": (zip_of_pickle, r"archive\.dat is an archive with a pickle inside \(archive/data\.pkl\)"),
    "program": (lambda run: (run / "tool").write_bytes(b"\x7fELF" + bytes(60)), "tool is a program"),
    "YAML that makes objects": (add("recipe.yaml", "x: !!python/object:os.PathLike {}\n"), r"recipe\.yaml"),
    # secrets
    ".env": (plant_text(".env", "A=1"), r"\.env is called as files of passwords"),
    ".netrc": (plant_text(".netrc", "machine x"), r"\.netrc is called as files of passwords"),
    "key file": (plant_text("id_rsa", "x"), "id_rsa is called as files of passwords"),
    "token in the recipe": (add("recipe.yaml", f"# {TOKEN}\n"), r"recipe\.yaml, line \d+, has a Hugging Face token"),
    "token in the code": (add("recurrent.py", f"# {TOKEN}\n"), r"recurrent\.py, line \d+, has a Hugging Face token"),
    "token in a table": (add("evaluation/test.csv", f"{TOKEN}\n"), r"evaluation/test\.csv, line \d+, has a Hugging"),
    "token in a command": (
        edit("training.json", '"command": "', f'"command": "HF_TOKEN={TOKEN} '),
        r"training\.json, line 3, has a Hugging Face token",
    ),
    "token shown on the card": (
        edit("evaluation/test.json", '"command": "', f'"command": "--token {TOKEN} '),
        r"evaluation/test\.json, line \d+, has a Hugging Face token",
    ),
    # places, links, license, sizes
    "place in the code": (add("recurrent.py", "# /home/anna/x\n"), r"recurrent\.py, line \d+, names /home/anna/x"),
    "place in a configuration": (
        edit("config.json", '"dtype"', '"_name_or_path": "/home/anna/run", "dtype"'),
        r"config\.json, line \d+, names /home/anna/run",
    ),
    "place in a table": (
        edit("evaluation/test.csv", "0_george_0.wav", "/data/x/0.wav"),
        r"test\.csv, line 2, names /data",
    ),
    "link out of the folder": (link("curves.png", "/etc/hostname"), r"curves\.png is a link that leads out of"),
    "folder linked from elsewhere": (link("more", "/etc"), "more is a link that leads out of"),
    "link to nothing": (link("curves.png", "nothing"), r"curves\.png is a link to nothing"),
    "empty license": (plant_text("LICENSE", ""), "LICENSE is empty"),
    # code
    "import of this package": (
        add("recurrent.py", "import hf_speech\n"),
        r"recurrent\.py imports hf_speech \(line \d+\)",
    ),
    "import from above": (add("recurrent.py", "from ..x import y\n"), r"reaches above the folder"),
    "import of a module by a dot": (
        add("recurrent.py", "from . import spectral\n"),
        r"which transformers does not see",
    ),
    "import from a sub-folder": (add("recurrent.py", "from .sub.x import y\n"), r"reaches into a subfolder"),
    "import of a missing sibling": (add("recurrent.py", "from .gone import y\n"), r"needs gone\.py, which"),
    "import of a sibling as installed": (
        add("recurrent.py", "import spectral\n"),
        r"its sibling spectral as if it were",
    ),
    "import of what is not listed": (
        add("recurrent.py", "def f():\n    from scipy.signal import lfilter\n"),
        r"recurrent\.py imports scipy \(line \d+\), which the card's requirements do not list",
    ),
    "code elsewhere": (
        edit("config.json", '"modeling_speech_lstm.Sp', '"bob/code--modeling_speech_lstm.Sp'),
        r"takes its code from another repository \(bob/code\)",
    ),
    "code not named": (edit("config.json", '"auto_map"', '"auto_maps"'), r"names no code \(auto_map\)"),
    "code gone": (lambda run: (run / "recurrent.py").unlink(), r"needs recurrent\.py, which .* does not have"),
    # what does not fit
    "extractor of another size": (
        extractor_of_another_size,
        r"expects (\d+) features a frame and the feature extractor gives 1\1",
    ),
    "figures of other weights": (
        edit("evaluation/test.json", '"model_revision": "sha256:', '"model_revision": "sha256:0'),
        "measured other weights",
    ),
    "no weights": (lambda run: (run / "model.safetensors").unlink(), "has no weights as safetensors"),
    "no configuration": (lambda run: (run / "config.json").unlink(), r"has no config\.json"),
    "no extractor": (lambda run: (run / "preprocessor_config.json").unlink(), r"has no preprocessor_config\.json"),
}


@pytest.mark.parametrize("culprit", CULPRITS)
def test_a_culprit_stops_everything(culprit: str, digits: Path, tmp_path: Path) -> None:
    plant, message = CULPRITS[culprit]
    plant(digits)
    refused(digits, tmp_path, message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_file_bytes": 1_000_000}, r"model\.safetensors has [\d,]+ bytes, more than 1,000,000"),
        ({"license": "mit"}, "text of the license mit is missing"),
        ({"license": "apache2"}, "no license 'apache2'"),
        ({"repo_id": "digits"}, "is not the name of a repository"),
        ({"card": "---\nlicense: apache-2.0\n---\n# Digits\n\n99 % right.\n"}, "metadata has no library_name"),
        ({"card": "# Digits\n"}, "metadata has no license"),
    ],
)
def test_options_can_be_wrong(digits: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    refused(digits, tmp_path, message, **options)


def test_a_changed_number_in_the_card_is_refused(digits: Path, tmp_path: Path) -> None:
    card = (staged(digits, tmp_path).folder / "README.md").read_text()
    shutil.rmtree(tmp_path / "staged")
    refused(digits, tmp_path, r"claims 12\.3 %", card=card.replace(headline(digits), "**12.3 %**"))
    (digits / "LICENSE").write_text(MIT)
    refused(digits, tmp_path, r"card says apache-2\.0 and the license is mit", card=card)
    (digits / "LICENSE").unlink()
    refused(digits, tmp_path, "requirements do not list", card=re.sub(r"pip install .*", "pip install torch", card))


def test_destinations(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged" / "precious").write_text("x")
    with pytest.raises(PublishError, match="is not empty"):
        staged(digits, tmp_path)
    assert (tmp_path / "staged" / "precious").read_text() == "x"
    with pytest.raises(PublishError, match="which is to be published"):
        stage(digits, digits / "staged", repo_id="anna/x")
    with pytest.raises(PublishError, match="There is no folder"):
        stage(tmp_path / "nowhere", tmp_path / "other", repo_id="anna/x")


# Spaces and data sets


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


def test_spaces(space: Path, tmp_path: Path) -> None:
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
        (".env", "A=1", r"\.env is called as files of passwords"),
        ("app.py", f"TOKEN = '{TOKEN}'", r"app\.py, line 1, has a Hugging Face token"),
        ("app.py", "import scipy", r"app\.py imports scipy \(line 1\), which requirements\.txt does not list"),
        ("app.py", "FOLDER = '/home/anna/run'", r"app\.py, line 1, names /home/anna/run"),
        ("README.md", "---\ntitle: Digits\n---\n", "names no license"),
        ("README.md", "---\nlicense: mit\n---\n", "text of the license mit is missing"),
        ("examples/model.pt", "?", "is a pickle by its name"),
    ],
)
def test_culprits_in_spaces(space: Path, tmp_path: Path, name: str, content: str, message: str) -> None:
    (space / name).write_text(content)
    refused(space, tmp_path, message, kind="space")


def test_requirements_of_spaces(space: Path) -> None:
    check_listed(space, "transformers", frozenset({"gradio", "spaces"}))
    with pytest.raises(PublishError, match="imports gradio"):
        check_listed(space, "transformers")


def test_data_sets(tmp_path: Path) -> None:
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
    refused(folder, tmp_path, "has no README.md, by which the Hub knows a dataset", kind="dataset")
