"""The whole process with the command line and the real client: train, publish, verify, use, publish again.

Each process that imports transformers takes seconds, so there is one test per Hub, and users without hf_speech share
one process.
"""

from __future__ import annotations

import importlib.util
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

# Runs the model without hf_speech.
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
    """Copies of two trained run folders, one per task."""
    folders = {"tones": tones_run, "beeps": beeps_run}
    return {name: Path(shutil.copytree(folder, tmp_path / name)) for name, folder in folders.items()}


@pytest.fixture
def clips(make_tone, make_beeps) -> dict[str, list[np.ndarray]]:
    return {
        "tones": [make_tone(0.4, 310.0, 8000, 0.3), make_tone(0.5, 1150.0, 8000, 0.3)],
        "beeps": [make_beeps("ab c", seed=900), make_beeps("cab", seed=901)],
    }


def expected(run_dir: Path, sounds: list[np.ndarray], tmp_path: Path) -> list[Any]:
    """Returns the results of this package for the sounds, from the run folder."""
    from hf_speech.inference import classify_files, load_model, transcribe_files

    paths = [tmp_path / f"{run_dir.name}-{index}.wav" for index in range(len(sounds))]
    for path, sound in zip(paths, sounds, strict=True):
        soundfile.write(path, sound, 8000, subtype="FLOAT")
    if run_dir.name == "beeps":
        return [transcript.hypothesis.text for transcript in transcribe_files(load_model(run_dir), paths)]
    return [result["labels"][0]["label"] for result in classify_files(str(run_dir), [str(path) for path in paths])]


def _sha(printed: str, repo: str) -> str:
    """Returns the verified commit."""
    match = re.search(rf"OK {repo}@([0-9a-f]{{40}}): ", printed)
    assert match is not None, printed
    return match.group(1)


def test_publishes_and_verifies_end_to_end(
    hub: HubServer,
    client: Client,
    runs: dict[str, Path],
    beeps_recipe: Path,
    clips: dict[str, list[np.ndarray]],
    tmp_path: Path,
) -> None:
    before = len(hub.log)
    # A look at it first: nothing is sent.
    words = ["--tag", "v1"]
    dry = client.cli("publish", runs["tones"], "--repo-id", "ann/tones", *words, "--dry-run")
    assert dry.status == 0, dry.err
    assert "model.safetensors" in dry.out
    assert "pipeline_tag: audio-classification" in dry.out
    assert "Nothing was sent" in dry.out
    assert not any(entry.method in ("POST", "PUT", "DELETE") for entry in hub.log[before:])

    # Published as private, verified by its SHA, tagged.
    done = client.cli("publish", runs["tones"], "--repo-id", "ann/tones", *words)
    assert done.status == 0, done.err
    assert "4 probe clips give the same logits" in done.out
    assert f"{hub.url}/ann/tones (private)" in done.out
    # Or verified later, by anybody, from the Hub alone; with the corpus, the figures too.
    done_too = client.cli("publish", runs["beeps"], "--repo-id", "ann/beeps", *words, "--no-verify")
    assert done_too.status == 0, done_too.err
    corpus = ["--data_dir", beeps_recipe.parent, "--train_file", beeps_recipe.parent / "beeps.csv"]
    checked = client.cli("verify", "ann/beeps@v1", "--evaluate", *corpus)
    assert checked.status == 0, checked.err + checked.out
    assert "loads without hf_speech" in checked.out
    assert "evaluated again on csv, test: wer " in checked.out
    assert "as in evaluation/test.json and on the card" in checked.out
    assert "add --evaluate" in client.cli("verify", "ann/beeps", *corpus).err

    shas = {"tones": _sha(done.out, "ann/tones"), "beeps": _sha(checked.out, "ann/beeps")}
    for name, run_dir in runs.items():
        repository = hub.storage.repository("model", f"ann/{name}")
        assert repository.private
        assert repository.refs["refs/tags/v1"] == repository.refs["refs/heads/main"] == shas[name]
        files = hub.files("model", f"ann/{name}")
        assert {"README.md", "LICENSE", "model.safetensors", "config.json", "evaluation/test.json"} <= set(files)
        assert not any(path.startswith(("checkpoints", "logs")) or path.endswith(".bin") for path in files)
        # The same again, on the same day or another: no commit.
        again = client.cli("publish", run_dir, "--repo-id", f"ann/{name}", *words, "--no-verify")
        assert again.status == 0, again.err
        assert "no commit was made" in again.out
        assert len(hub.history("model", f"ann/{name}")) == 2

    # Both load by SHA without hf_speech, with the same results as here.
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
    assert "100.0%" in card
    (runs["tones"] / "README.md").write_text(card.replace("100.0%", "99.1%", 1))
    commits = len(hub.requests("POST", "/commit/"))
    changed = client.cli("publish", runs["tones"], "--repo-id", "ann/tones", "--no-verify")
    assert changed.status == 2
    assert "99.1" in changed.err
    assert changed.err.count("\n") == 1
    assert len(hub.requests("POST", "/commit/")) == commits
    (runs["tones"] / "README.md").unlink()

    # Text written into the card on the Hub is kept in the next version.
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

    # The Hub supports all requests, and the token is in none of their bodies.
    assert hub.unknown() == []
    assert WRITE_TOKEN not in client.printed.read_text()
    kept = [path for path in [*client.home.rglob("*"), *tmp_path.rglob("*")] if path.is_file()]
    assert not any(WRITE_TOKEN.encode() in path.read_bytes() for path in kept)


FETCH = """
from hf_speech.publishing.hub.verify import downloaded
with downloaded("ann/beeps", "v1") as copy:
    result = [copy.state.commit, len(copy.state.files)]
"""


def test_publishes_with_xet_storage(xet_hub: HubServer, xet_client: Client, runs: dict[str, Path]) -> None:
    """Only uploads and downloads differ with Xet, not loading."""
    words = ["publish", runs["beeps"], "--repo-id", "ann/beeps", "--tag", "v1", "--no-verify"]
    done = xet_client.cli(*words)
    assert done.status == 0, done.err
    files = xet_hub.files("model", "ann/beeps", "v1")
    assert files["model.safetensors"] == (runs["beeps"] / "model.safetensors").read_bytes()
    commit = xet_hub.storage.repository("model", "ann/beeps").refs["refs/tags/v1"]
    assert xet_client.run(FETCH) == [commit, len(files)]
    assert "no commit was made" in xet_client.cli(*words).out
    assert xet_hub.unknown() == []
    assert not xet_hub.requests("PUT", "^/large/")
    assert not xet_hub.requests("GET", "^/cdn/")


def kinds_of_culprits() -> dict[str, bytes]:
    """Kinds of secrets, pickles and programs from test_checks.py."""
    spec = importlib.util.spec_from_file_location("planted", Path(__file__).with_name("test_checks.py"))
    planted = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(planted)
    secrets = {kind: f"first line\n{secret}\n".encode() for kind, secret in planted.SECRETS.items()}
    kinds = list((secrets | planted.PICKLES | planted.PROGRAMS).items())
    return dict(kinds[::2])  # All of them are refused in test_checks.py.


PUSH_EACH = """
import shutil
from hf_speech.errors import PublishError
from hf_speech.common.hub import Repository
from hf_speech.publishing.hub.push import push
from hf_speech.publishing.staging import stage
result = []
for number, (run, name, content) in enumerate(culprits):
    folder, staged = Path(scratch) / f"run{number}", Path(scratch) / f"staged{number}"
    shutil.copytree(run, folder)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.encode("latin-1"))
    try:
        push(stage(folder, staged, repo_id="ann/culprits").folder, Repository("ann/culprits"))
        result.append("")
    except PublishError as error:
        result.append(str(error))
"""


def test_never_uploads_forbidden_files(hub: HubServer, client: Client, runs: dict[str, Path], tmp_path: Path) -> None:
    """Each kind, under the name of a published file: all are rejected, and none is in the server's log."""
    kinds = kinds_of_culprits()
    assert len(kinds) > 25
    names = ["recipe.yaml", "evaluation/test.csv", "recurrent.py", "README.md", "curves.png"]
    plan = [
        (str(runs["tones"]), names[number % len(names)], content.decode("latin-1"))
        for number, content in enumerate(kinds.values())
    ]
    before = len(hub.log)
    messages = client.run(PUSH_EACH, culprits=plan, scratch=str(tmp_path))
    for kind, content, (_, name, _), message in zip(kinds, kinds.values(), plan, messages, strict=True):
        assert message, f"{kind} as {name} went through"
        planted = content.strip().splitlines()[-1] if content.startswith(b"first line") else content
        assert not any(planted in entry.body for entry in hub.log[before:])
        assert not hub.was_sent(planted)


def test_the_command_rejects_a_forbidden_file(hub: HubServer, client: Client, runs: dict[str, Path]) -> None:
    (runs["tones"] / ".env").write_text("API_KEY=planted-culprit-4711")
    done = client.cli("publish", runs["tones"], "--repo-id", "ann/culprit")
    assert done.status == 2
    assert done.err.startswith("error: .env has a name typical of files with passwords")
    assert done.err.count("\n") == 1
    assert not hub.exists("model", "ann/culprit")
    assert not hub.was_sent(b"planted-culprit-4711")
