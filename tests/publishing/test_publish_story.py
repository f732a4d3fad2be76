"""The whole story, by the command line and the real client: train, publish, verify, use, publish again.

Each process that imports transformers costs seconds, so the steps stand in one test a Hub, and the strangers share one.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hub_server import WRITE_TOKEN, HubServer
from hub_server.client import Client

# What somebody who has never heard of hf_speech runs.
STRANGER = """
import json, sys
import numpy as np
sys.modules["hf_speech"] = None  # From here on, importing it raises ImportError.
from transformers import pipeline
answers = {}
for name, (task, sha, clips) in json.load(open(sys.argv[1])).items():
    use = pipeline(task, model=name, revision=sha, trust_remote_code=True)
    sounds = [np.array(clip, dtype="float32") for clip in clips]
    answers[name] = [use({"raw": sound, "sampling_rate": 8000}) for sound in sounds]
    assert type(use.model).__module__.startswith("transformers_modules")
print(json.dumps(answers))
"""
TASKS = {"tones": "audio-classification", "beeps": "automatic-speech-recognition"}


@pytest.fixture
def runs(tones_run: Path, beeps_run: Path, tmp_path: Path) -> dict[str, Path]:
    """Copies of two trained run folders, one of each task."""
    folders = {"tones": tones_run, "beeps": beeps_run}
    return {name: Path(shutil.copytree(folder, tmp_path / name)) for name, folder in folders.items()}


@pytest.fixture
def clips(make_tone, make_beeps) -> dict[str, list[np.ndarray]]:
    return {
        "tones": [make_tone(0.4, 310.0, 8000, 0.3), make_tone(0.5, 1150.0, 8000, 0.3)],
        "beeps": [make_beeps("ab c", seed=900), make_beeps("cab", seed=901)],
    }


def expected(run_dir: Path, sounds: list[np.ndarray], tmp_path: Path) -> list[Any]:
    """What this package says of the sounds, from the run folder."""
    from hf_speech.evaluation import classify_files, load_model, transcribe_files

    paths = [tmp_path / f"{run_dir.name}-{index}.wav" for index in range(len(sounds))]
    for path, sound in zip(paths, sounds, strict=True):
        soundfile.write(path, sound, 8000, subtype="FLOAT")
    if run_dir.name == "beeps":
        return [transcript.hypothesis.text for transcript in transcribe_files(load_model(run_dir), paths)]
    return [result["labels"][0]["label"] for result in classify_files(str(run_dir), [str(path) for path in paths])]


def test_the_whole_story(
    hub: HubServer, client: Client, runs: dict[str, Path], clips: dict[str, list[np.ndarray]], tmp_path: Path
) -> None:
    shas = {}
    for name, run_dir in runs.items():
        # A look at it first: nothing is sent.
        words = ["publish", run_dir, "--repo-id", f"ann/{name}", "--tag", "v1"]
        if name == "tones":
            writes = len([entry for entry in hub.log if entry.method != "GET" and entry.method != "HEAD"])
            dry = client.cli(*words, "--dry-run")
            assert dry.status == 0, dry.err
            assert "model.safetensors" in dry.out
            assert "pipeline_tag: audio-classification" in dry.out
            assert "Nothing was sent" in dry.out
            assert len([entry for entry in hub.log if entry.method != "GET" and entry.method != "HEAD"]) == writes
        # Published, private, verified by its sha, tagged.
        done = client.cli(*words)
        assert done.status == 0, done.err
        shas[name] = re.search(rf"OK ann/{name}@([0-9a-f]{{40}}): ", done.out).group(1)
        assert "4 probe clips give the same logits" in done.out
        assert f"{hub.url}/ann/{name} (private)" in done.out
        repository = hub.storage.repository("model", f"ann/{name}")
        assert repository.private
        assert repository.refs["refs/tags/v1"] == repository.refs["refs/heads/main"] == shas[name]
        assert len(hub.history("model", f"ann/{name}")) == 2
        files = hub.files("model", f"ann/{name}")
        assert {"README.md", "LICENSE", "model.safetensors", "config.json", "evaluation/test.json"} <= set(files)
        assert not any(path.startswith(("checkpoints", "logs")) or path.endswith(".bin") for path in files)

        # The same again, on the same day or another: no commit.
        again = client.cli(*words, "--no-verify")
        assert again.status == 0, again.err
        assert "no commit was made" in again.out
        assert len(hub.history("model", f"ann/{name}")) == 2

    # A stranger loads both by sha, and they say what they say here.
    question = {
        f"ann/{name}": (TASKS[name], sha, [clip.tolist() for clip in clips[name]]) for name, sha in shas.items()
    }
    (tmp_path / "question.json").write_text(json.dumps(question))
    finished = subprocess.run(
        [sys.executable, "-P", "-c", STRANGER, str(tmp_path / "question.json")],
        env=hub.environment(tmp_path / "stranger"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    answers = json.loads(finished.stdout.splitlines()[-1])
    assert [answer[0]["label"] for answer in answers["ann/tones"]] == expected(runs["tones"], clips["tones"], tmp_path)
    assert [answer["text"] for answer in answers["ann/beeps"]] == expected(runs["beeps"], clips["beeps"], tmp_path)

    # A number of the card is changed: refused, and nothing is sent.
    card = hub.files("model", "ann/tones")["README.md"].decode()
    assert "100.0 %" in card
    (runs["tones"] / "README.md").write_text(card.replace("100.0 %", "99.1 %", 1))
    commits = len(hub.requests("POST", "/commit/"))
    changed = client.cli("publish", runs["tones"], "--repo-id", "ann/tones", "--no-verify")
    assert changed.status == 2
    assert "99.1" in changed.err
    assert changed.err.count("\n") == 1
    assert len(hub.requests("POST", "/commit/")) == commits
    (runs["tones"] / "README.md").unlink()

    # What people write into the card on the Hub survives the next version.
    by_hand = re.sub(r"(<!-- hand-written: use -->\n)", r"\1Do not play it to dogs.\n", card, count=1)
    assert by_hand != card
    client.run(
        "api.upload_file(path_or_fileobj=card.encode(), path_in_repo='README.md', repo_id='ann/tones')", card=by_hand
    )
    next_one = client.cli("publish", runs["tones"], "--repo-id", "ann/tones", "--tag", "v2", "--no-verify")
    assert next_one.status == 0, next_one.err
    assert b"Do not play it to dogs." in hub.files("model", "ann/tones", "v2")["README.md"]

    # A Space that shows it, with a secret.
    folder = tmp_path / "space"
    folder.mkdir()
    (folder / "app.py").write_text("import gradio\n")
    (folder / "requirements.txt").write_text("gradio==6.31.0\n")
    front = {"title": "Tones", "sdk": "gradio", "sdk_version": "6.31.0", "app_file": "app.py", "license": "apache-2.0"}
    front |= {"short_description": "High or low", "python_version": "3.11"}
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items())
    (folder / "README.md").write_text(f"---\n{lines}\n---\n# Tones\n")
    words = ["publish-space", folder, "--model", "ann/tones@v1", "--repo-id", "ann/tones-demo", "--secret", "HF_TOKEN"]
    shown = client.cli(*words, "--variable", "CONCURRENCY=1")
    assert shown.status == 0, shown.err
    state = hub.storage.repository("space", "ann/tones-demo").state
    assert state["variables"]["MODEL_REVISION"]["value"] == shas["tones"]
    assert state["variables"]["CONCURRENCY"]["value"] == "1"
    assert state["secrets"]["HF_TOKEN"]["value"] == WRITE_TOKEN

    # Everything is asked of this Hub in words that it knows, and the token stands nowhere.
    assert hub.unknown() == []
    assert WRITE_TOKEN not in client.printed.read_text()
    kept = [path for path in [*client.home.rglob("*"), *tmp_path.rglob("*")] if path.is_file()]
    assert not any(WRITE_TOKEN.encode() in path.read_bytes() for path in kept)


def test_verify_for_anybody_evaluates_again(
    hub: HubServer, client: Client, runs: dict[str, Path], tones_recipe: Path
) -> None:
    """From the Hub alone, with nothing of the run folder; the corpus is needed for the figures."""
    assert client.cli("publish", runs["tones"], "--repo-id", "ann/again", "--no-verify").status == 0
    data_dir = tones_recipe.parent / "tones"
    checked = client.cli("verify", "ann/again@main", "--evaluate", "--data_dir", data_dir)
    assert checked.status == 0, checked.err + checked.out
    assert "loads without hf_speech" in checked.out
    assert "evaluated again on folder, test: accuracy 1," in checked.out
    # Without the corpus's option, and with one that only --evaluate takes.
    assert "pass --evaluate too" in client.cli("verify", "ann/again", "--data_dir", data_dir).err


def test_with_xet_storage_too(xet_hub: HubServer, xet_client: Client, runs: dict[str, Path]) -> None:
    words = ["publish", runs["beeps"], "--repo-id", "ann/beeps", "--tag", "v1"]
    done = xet_client.cli(*words)
    assert done.status == 0, done.err
    assert "OK ann/beeps@" in done.out
    assert (
        xet_hub.files("model", "ann/beeps", "v1")["model.safetensors"]
        == (runs["beeps"] / "model.safetensors").read_bytes()
    )
    assert "no commit was made" in xet_client.cli(*words, "--no-verify").out
    assert xet_hub.unknown() == []
    assert not xet_hub.requests("PUT", "^/large/")


CULPRITS = {
    ".env": "API_KEY=planted-culprit-4711",
    "optimizer.pt": "planted-culprit-4711",
    "training_args.bin": "planted-culprit-4711",
    "notes.txt": "planted-culprit-4711",
    "checkpoints/checkpoint-5/optimizer.pt": "planted-culprit-4711",
    "logs/events.out": "planted-culprit-4711",
    "id_rsa": "planted-culprit-4711",
    "evaluation/secret.json": '{"token": "hf_plantedculprit4711plantedculprit4711"}',
    "modeling_speech_lstm.py": "import os  # /home/somebody/planted-culprit-4711\n",
}


@pytest.mark.parametrize("name", CULPRITS)
def test_no_culprit_is_ever_sent(hub: HubServer, client: Client, runs: dict[str, Path], name: str) -> None:
    """Refused or left out, whichever: the server's log has nothing of it."""
    path = runs["tones"] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = CULPRITS[name]
    path.write_text(path.read_text() + content if path.suffix == ".py" else content)
    done = client.cli("publish", runs["tones"], "--repo-id", f"ann/culprit-{list(CULPRITS).index(name)}", "--no-verify")
    assert done.status in (0, 2)
    assert done.err.count("\n") == (done.status == 2)
    assert "planted" not in done.out
    assert not any(hub.was_sent(word) for word in (b"planted-culprit-4711", b"plantedculprit4711"))
