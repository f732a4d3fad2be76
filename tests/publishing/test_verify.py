"""Verification of published models: equal results elsewhere, and reports of defects."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import WRITE_TOKEN, HubServer, faults
from hub_server.client import Client, ClientError
from safetensors.numpy import load_file, save_file

from hf_speech.errors import ModelError
from hf_speech.publishing.checks.remote_code import foreign_code
from hf_speech.publishing.hub.probes import PROBE_FILE, Probes, keep_if_same, make_clips, make_probes
from hf_speech.publishing.hub.verify import compare_metrics

UPLOAD = """
result = api.upload_folder(repo_id=repo, folder_path=folder).oid
"""
VERIFY = """
from hf_speech.publishing.hub.probes import make_probes
from hf_speech.publishing.hub.verify import downloaded, verify_model
with downloaded(repo, revision) as copy:
    against = None if run_dir is None else make_probes(Path(run_dir))
    found = verify_model(copy, trust_code=trust_code, against=against)
result = {**vars(found), "repository": found.repository.name, "summary": found.summary(), "ok": found.ok}
"""


@pytest.fixture(scope="module")
def model(tones_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model in its published form."""
    folder = tmp_path_factory.mktemp("model") / "model"
    shutil.copytree(tones_run, folder, ignore=shutil.ignore_patterns("checkpoints", "logs", "README.md"))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\npipeline_tag: audio-classification\n---\n# Tones\n")
    (folder / PROBE_FILE).parent.mkdir()
    (folder / PROBE_FILE).write_bytes(make_probes(tones_run).to_bytes())
    return folder


def upload(client: Client, folder: Path, repo: str) -> str:
    client.run("api.create_repo(repo, private=True, exist_ok=True)", repo=repo)
    return client.run(UPLOAD, repo=repo, folder=str(folder))


def verify(client: Client, repo: str, revision: str | None = None, **options: Any) -> dict[str, Any]:
    values = {"run_dir": None, "trust_code": False} | options
    return client.run(VERIFY, repo=repo, revision=revision, **values)


def refused(client: Client, repo: str, revision: str | None = None, **options: Any) -> str:
    with pytest.raises(ClientError) as error:
        verify(client, repo, revision, **options)
    assert error.value.kind == "PublishError", error.value
    assert "\n" not in error.value.message
    return error.value.message


def changed(model: Path, tmp_path: Path, change: Callable[[Path], object]) -> Path:
    folder = tmp_path / "changed"
    shutil.copytree(model, folder)
    change(folder)
    return folder


def test_verifies_a_complete_model(client: Client, hub: HubServer, model: Path) -> None:
    commit = upload(client, model, "ann/whole")
    client.run("api.create_tag('ann/whole', tag='v1')")
    before = len(hub.log)
    found = verify(client, "ann/whole", "v1")
    assert found["ok"], found
    assert found["commit"] == commit
    assert found["summary"].startswith(f"OK ann/whole@{commit}: ")
    assert "4 probe clips give the same logits (largest difference " in found["summary"]
    assert set(found["answers"].values()) <= {"low", "high"}
    # Everything was downloaded again, and loading made no requests.
    fetched = {entry.path.rpartition("/")[2] for entry in hub.log[before:] if "/resolve/" in entry.path}
    assert {"model.safetensors", "config.json", "modeling_speech_lstm.py"} <= {*fetched}
    assert not any(b"python" in entry.body for entry in hub.log[before:])


def test_detects_other_weights(client: Client, model: Path, tones_run: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        name = next(name for name in weights if "classifier" in name)
        weights[name] = weights[name] + np.float32(0.01)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    folder = changed(model, tmp_path, change)
    expected = list(make_probes(tones_run).differences(make_probes(folder).logits))
    # Its own probe clips may be just as wrong: the run folder is the better witness.
    (folder / PROBE_FILE).write_bytes(make_probes(folder).to_bytes())
    upload(client, folder, "ann/weights")
    found = verify(client, "ann/weights", run_dir=str(tones_run))
    assert not found["ok"]
    assert found["differences"] == expected
    assert "the logits of the clip 'vowels' differ by up to" in expected[0]
    assert found["summary"].startswith("DIFFERS ann/weights@")


def test_detects_missing_code_or_weights(client: Client, model: Path, tmp_path: Path) -> None:
    """A repository with checkpoints pushed by Trainer."""
    folder = changed(model, tmp_path, lambda folder: (folder / "modeling_speech_lstm.py").unlink())
    upload(client, folder, "ann/codeless")
    message = refused(client, "ann/codeless")
    assert "config.json needs modeling_speech_lstm.py, which ann/codeless does not contain" in message


def test_detects_code_that_imports_the_package(client: Client, model: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        path = folder / "modeling_speech_lstm.py"
        # Late, where transformers' own look for requirements does not see it.
        path.write_text(path.read_text() + "\n\n__import__('hf_' + 'speech.models')\n")

    upload(client, changed(model, tmp_path, change), "ann/dependent")
    message = refused(client, "ann/dependent")
    assert "code that differs from this version of hf_speech (modeling_speech_lstm.py)" in message
    assert "--trust_remote_code" in message
    assert "cannot be loaded without hf_speech" in refused(client, "ann/dependent", trust_code=True)


def test_does_not_run_damaged_downloads(client: Client, hub: HubServer, model: Path) -> None:
    upload(client, model, "ann/damaged")
    with hub.failing(faults.download_corrupted()):
        message = refused(client, "ann/damaged")
    assert "of ann/damaged has another checksum than the Hub lists" in message
    assert "run the command again" in message


def test_reports_models_that_cannot_be_compared(client: Client, model: Path, tmp_path: Path) -> None:
    folder = changed(model, tmp_path, lambda folder: (folder / PROBE_FILE).unlink())
    upload(client, folder, "ann/unprobed")
    assert "has no probe clips" in refused(client, "ann/unprobed")
    assert "no revision v7" in refused(client, "ann/unprobed", "v7")
    assert "There is no model ann/nowhere" in refused(client, "ann/nowhere")


def test_does_not_pass_on_the_token(client: Client, model: Path) -> None:
    assert WRITE_TOKEN not in client.printed.read_text()
    source = """
import os
from hf_speech.publishing.hub.verify import _environment
result = dict(_environment(Path("nowhere")))
"""
    passed_on = client.run(source)
    assert WRITE_TOKEN not in str(passed_on)
    assert passed_on["HF_HUB_OFFLINE"] == "1"


def test_probes_are_deterministic(tones_run: Path, tmp_path: Path) -> None:
    first, second = make_probes(tones_run), make_probes(tones_run)
    assert first.to_bytes() == second.to_bytes()
    path = tmp_path / "probes.safetensors"
    path.write_bytes(first.to_bytes())
    again = Probes.load(path)
    assert again.sampling_rate == 8000
    assert list(again.clips) == list(first.clips)
    assert list(again.differences(first.logits)) == []


def test_probes_of_a_recognizer_have_frames(beeps_run: Path) -> None:
    probes = make_probes(beeps_run)
    vocabulary = json.loads((beeps_run / "config.json").read_text())["vocab_size"]
    assert all(logits.ndim == 2 and logits.shape[1] == vocabulary for logits in probes.logits.values())


def test_keeps_probes_within_rounding_errors(tones_run: Path, tmp_path: Path) -> None:
    fresh = make_probes(tones_run)
    rounded = Probes(8000, fresh.clips, {name: values + 1e-6 for name, values in fresh.logits.items()}).to_bytes()
    assert keep_if_same(fresh, rounded, tmp_path) == rounded != fresh.to_bytes()
    other = Probes(8000, fresh.clips, {name: values + 1e-2 for name, values in fresh.logits.items()}).to_bytes()
    assert keep_if_same(fresh, other, tmp_path) == fresh.to_bytes()
    assert keep_if_same(fresh, b"damaged", tmp_path) == fresh.to_bytes()
    assert keep_if_same(fresh, None, tmp_path) == fresh.to_bytes()


@pytest.mark.parametrize("sampling_rate", [8_000, 16_000, 44_100])
def test_clips_are_sounds_of_several_lengths(sampling_rate: int) -> None:
    clips = make_clips(sampling_rate)
    assert len({len(clip) for clip in clips.values()}) == len(clips)
    for clip in clips.values():
        assert clip.dtype == np.int16
        assert np.abs(clip).max() == 12_000
        assert 0.25 * sampling_rate < len(clip) < 1.5 * sampling_rate


def test_rejects_folders_that_are_not_models(tmp_path: Path, tones_run: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a model folder \(it has no config.json\): give the model folder"):
        make_probes(tmp_path)
    folder = Path(shutil.copytree(tones_run, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints", "logs")))
    (folder / "config.json").write_text('{"architectures": ["NobodysModel"]}')
    with pytest.raises(ModelError, match="config"):
        make_probes(folder)


def test_recognizes_the_code_of_this_package(model: Path, tmp_path: Path) -> None:
    assert foreign_code(model) == []
    folder = changed(model, tmp_path, lambda folder: (folder / "extra.py").write_text("x = 1\n"))
    with (folder / "recurrent.py").open("a") as stream:
        stream.write("# changed\n")
    assert foreign_code(folder) == ["extra.py", "recurrent.py"]


def test_compares_metrics_with_a_new_evaluation(tones_run: Path) -> None:
    published = json.loads((tones_run / "evaluation" / "test.json").read_text())
    assert compare_metrics(published, published) == []
    other = {**published, "metrics": {**published["metrics"], "accuracy": 0.5}}
    assert compare_metrics(published, other) == ["folder, test: accuracy is 0.5 instead of 1.0"]
    other = {**published, "corpus_fingerprint": "sha256:0", "num_utterances": 3}
    assert len(compare_metrics(published, other)) == 2
