"""Training with `push_to_hub: true` does not change the published card, code and metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hub_server import WRITE_TOKEN, HubServer, faults
from hub_server.client import Client, ClientError

TRAIN = """
from hf_speech.training import load_recipe, train
options = {"push_to_hub": True, "hub_model_id": repo, **options}
words = ["--training.trainer_options", __import__("json").dumps(options), "--training.num_train_epochs", "2"]
train(load_recipe(recipe, words), folder)
"""


def train(client: Client, recipe: Path, repo: str, folder: Path, **options: Any) -> None:
    client.run(TRAIN, recipe=str(recipe), repo=repo, folder=str(folder), options=options)


def test_training_pushes_keep_card_and_code(
    hub: HubServer, client: Client, tones_run: Path, tones_recipe: Path, tmp_path: Path
) -> None:
    assert client.cli("publish", tones_run, "--repo-id", "ann/trained", "--no-verify").status == 0
    published = hub.files("model", "ann/trained")
    train(client, tones_recipe, "ann/trained", tmp_path / "run", hub_always_push=True)
    assert hub.files("model", "ann/trained") == published
    assert len(hub.history("model", "ann/trained")) == 2
    snapshot = hub.files("model", "ann/trained", "training")
    # The snapshot is whole, and is of the training: other weights, the code that they need, and still the card.
    assert snapshot["model.safetensors"] != published["model.safetensors"]
    assert snapshot["README.md"] == published["README.md"]
    assert {path for path in snapshot if path.endswith(".py")} == {path for path in published if path.endswith(".py")}
    assert not any(path.endswith((".bin", ".pt", ".pth")) or "optimizer" in path for path in snapshot)
    assert hub.history("model", "ann/trained", "training")[0].startswith("Training in progress, step")
    assert hub.storage.repository("model", "ann/trained").private
    assert not hub.was_sent(b"OptimizerNames")  # The content of a pickle of the arguments.
    assert hub.unknown() == []


def test_a_new_repository_is_private_and_loads_from_its_branch(
    hub: HubServer, client: Client, tones_recipe: Path, tmp_path: Path
) -> None:
    train(client, tones_recipe, "ann/snapshots", tmp_path / "run", hub_always_push=True)
    assert hub.storage.repository("model", "ann/snapshots").private
    assert list(hub.files("model", "ann/snapshots")) == [".gitattributes"]
    source = """
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
options = {"revision": "training", "trust_remote_code": True, "cache_dir": cache}
model = AutoModelForAudioClassification.from_pretrained("ann/snapshots", **options)
AutoFeatureExtractor.from_pretrained("ann/snapshots", **options)
result = sorted(model.config.id2label.values())
"""
    assert client.run(source, cache=str(tmp_path / "cache")) == ["high", "low"]


def test_pushing_to_a_public_repository_needs_an_option(
    hub: HubServer, client: Client, tones_recipe: Path, tmp_path: Path
) -> None:
    client.run("api.create_repo('ann/glass')")
    with pytest.raises(ClientError, match=r"ann/glass is public: set .*hub_private_repo"):
        train(client, tones_recipe, "ann/glass", tmp_path / "run")
    assert list(hub.files("model", "ann/glass")) == [".gitattributes"]


def test_a_push_that_fails_does_not_stop_the_training(
    hub: HubServer, client: Client, tones_recipe: Path, tmp_path: Path
) -> None:
    with hub.failing(faults.commit_unavailable(times=-1)):
        train(client, tones_recipe, "ann/unlucky", tmp_path / "run", hub_always_push=True)
    assert (tmp_path / "run" / "evaluation" / "test.json").is_file()
    assert "This checkpoint was not pushed: The Hub is not available now (503" in client.printed.read_text()
    assert set(hub.files("model", "ann/unlucky", "training")) == {".gitattributes"}
    assert WRITE_TOKEN not in client.printed.read_text()
