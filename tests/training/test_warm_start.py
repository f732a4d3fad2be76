from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub_server import HubServer
from hub_server.client import Client
from hub_server.fixtures import client, hub  # noqa: F401
from safetensors.torch import load_file

from hf_speech.errors import HFSpeechError, ModelError, RecipeError, TrainingError
from hf_speech.models import (
    ConvGRUConfig,
    ConvGRUForCTC,
    SpeechFeatureExtractor,
    SpeechLSTMConfig,
    SpeechLSTMForAudioClassification,
)
from hf_speech.training import load_recipe, run_folder, train
from hf_speech.training.preparation import prepare
from hf_speech.training.warm_start import BASE_MODEL, BaseModel, copy_weights

QUICK = {"max_steps": 2, "dataloader_num_workers": 0, "per_device_train_batch_size": 4, "report_to": "none"}


@pytest.fixture
def recipe(digit_folder: Path) -> dict[str, Any]:
    """A recipe without features and model."""
    corpus = {"name": "folder", "data_dir": str(digit_folder), "speaker_pattern": "(speaker[0-9])_"}
    corpus |= {"validation_fraction": 0.3, "test_fraction": 0.3}
    return {"corpus": corpus, "training": QUICK}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of 'low', 'noise' and 'high' with batch norm in its front end and global statistics."""
    folder = tmp_path_factory.mktemp("base") / "three-tones"
    torch.manual_seed(3)
    names = ["low", "noise", "high"]
    extractor = SpeechFeatureExtractor(
        sampling_rate=8000,
        num_mel_bins=16,
        hop_length=80,
        win_length=200,
        normalization="global",
        feature_mean=[0.5] * 16,
        feature_std=[2.0] * 16,
    )
    config = SpeechLSTMConfig(
        input_size=16,
        subsampling=2,
        stem_channels=[4],
        hidden_size=8,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    config.task = "audio-classification"
    model = SpeechLSTMForAudioClassification(config)
    torch.nn.init.normal_(model.classifier.bias)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def add_class(folder: Path, name: str) -> None:
    shutil.copytree(folder / "low", folder / name)


def test_omitted_keys_come_from_the_initial_model(base: Path, recipe: dict[str, Any]) -> None:
    resolved = load_recipe(recipe, ["--init_from", str(base)])
    assert resolved.features["normalization"] == "global"
    assert resolved.features["num_mel_bins"] == 16
    assert (resolved.model["hidden_size"], resolved.model["stem_channels"]) == (8, [4])
    assert resolved.values["model"]["init_from"] == str(base)
    # Training options of the model may differ, and its resolved recipe is the same.
    other = load_recipe(recipe, ["--init_from", str(base), "--model.dropout", "0.4", "--model.num_hidden_layers", "3"])
    assert other.model["dropout"] == 0.4
    assert load_recipe(yaml.safe_load(other.to_yaml())) == other


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--features.sampling_rate", "16000"], "features.sampling_rate .16000 instead of 8000.: add --features.sam"),
        (["--features.normalization", "utterance"], "add --features.normalization global, omit"),
        (["--features.max_frequency", "3000"], "add --features.max_frequency null, omit"),
        (
            ["--model.hidden_size", "16", "--model.bidirectional", "false"],
            "--model.hidden_size 8 --model.bidirectional t",
        ),
        (["--model.stem_channels", "[4,8]"], r"add --model.stem_channels \[4\], omit"),
        (["--model.layer_norm", "false"], "differs in model.layer_norm .False instead of True."),
    ],
)
def test_one_sentence_error_for_a_mismatch(base: Path, recipe: dict[str, Any], words: list[str], message: str) -> None:
    recipe["corpus"]["data_dir"] = "/nowhere"  # It is rejected before the corpus is loaded.
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, ["--init_from", str(base), *words])


def test_a_causal_recognizer_cannot_start_from_a_bidirectional_one(beeps_run: Path, beeps_recipe: Path) -> None:
    words = ["--init_from", str(beeps_run), "--model.causal", "false", "--model.lookahead", "0"]
    with pytest.raises(RecipeError, match=r"differs in model\.causal \(False instead of True\): add --model\.causal t"):
        load_recipe(beeps_recipe, words)


def test_rejects_another_family(base: Path, beeps_run: Path, beeps_recipe: Path, recipe: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="is a conv_gru model, but the recipe trains a speech_lstm model"):
        load_recipe(recipe, ["--init_from", str(beeps_run)])
    with pytest.raises(RecipeError, match="is a speech_lstm model, but the recipe trains a conv_gru model"):
        load_recipe(beeps_recipe, ["--init_from", str(base)])


def test_reports_a_missing_model(recipe: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="There is no folder runs/none"):
        load_recipe(recipe, ["--init_from", "runs/none@v1"])


def test_classes_keep_their_weights_by_name(base: Path, recipe: dict[str, Any], digit_folder: Path) -> None:
    add_class(digit_folder, "buzz")
    parts, _ = prepare(load_recipe(recipe, ["--init_from", str(base)]))
    source, model = load_file(base / "model.safetensors"), parts.model.state_dict()
    assert parts.model.config.id2label == {0: "buzz", 1: "high", 2: "low"}
    for name, tensor in model.items():
        if name.startswith("classifier."):
            assert torch.equal(tensor[1], source[name][2])
            assert torch.equal(tensor[2], source[name][0])
            assert not any(torch.equal(tensor[0], row) for row in source[name])
        else:
            assert torch.equal(tensor, source[name]), name
    assert parts.base is not None
    assert parts.base["taken"] == "stem, layer 1, layer 2, pooling, classifier (2 of 3 rows, without noise)"
    assert parts.base["new"] == "classifier (1 of 3 rows: buzz)"


def test_a_deeper_model_takes_the_existing_layers(base: Path, recipe: dict[str, Any]) -> None:
    parts, _ = prepare(load_recipe(recipe, ["--init_from", str(base), "--model.num_hidden_layers", "3"]))
    assert parts.base is not None
    assert parts.base["new"] == "layer 3"


def test_all_classes_can_be_kept(base: Path, recipe: dict[str, Any], digit_folder: Path) -> None:
    add_class(digit_folder, "buzz")
    parts, _ = prepare(load_recipe(recipe, ["--init_from", str(base), "--init_outputs", "keep"]))
    assert parts.model.config.id2label == {0: "low", 1: "noise", 2: "high", 3: "buzz"}
    for split in ("train", "validation", "test"):
        rows = parts.corpus[split]
        names = rows.features["label"].names
        folders = [Path(audio["path"]).parent.name for audio in rows["audio"]]
        assert folders == [names[label] for label in rows["label"]]


def test_statistics_come_from_the_initial_model_or_are_refitted(base: Path, recipe: dict[str, Any]) -> None:
    kept, _ = prepare(load_recipe(recipe, ["--init_from", str(base)]))
    assert kept.extractor.feature_mean == [0.5] * 16
    fitted, _ = prepare(load_recipe(recipe, ["--init_from", str(base), "--init_statistics", "refit"]))
    assert fitted.extractor.feature_mean != [0.5] * 16


def recognizer(tokens: int, phones: int = 0, layers: int = 2, lookahead: int = 0) -> ConvGRUForCTC:
    config = ConvGRUConfig(
        input_size=12,
        vocab_size=tokens,
        channels=8,
        hidden_size=6,
        num_hidden_layers=layers,
        num_phones=phones,
        intermediate_ctc_weight=0.3 if phones else 0.0,
        bidirectional=False,
        lookahead=lookahead,
        recurrent_norm="batch",
    )
    return ConvGRUForCTC(config)


def test_characters_and_phones_keep_their_rows() -> None:
    source, model = recognizer(5, phones=4), recognizer(6, phones=3, layers=3, lookahead=2)
    fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tokens = (["<pad>", "|", "<unk>", "a", "c"], ["<pad>", "|", "<unk>", "b", "c", "d"])
    phones = (["<blank>", "AH", "K", "S"], ["<blank>", "K", "T"])
    taken, new = copy_weights(source, model, {"classifier": tokens, "phone_classifier": phones})
    own, theirs = model.state_dict(), source.state_dict()
    for module, (there, here) in (("classifier", tokens), ("phone_classifier", phones)):
        for part in ("weight", "bias"):
            name = f"{module}.{part}"
            for index, label in enumerate(here):
                expected = theirs[name][there.index(label)] if label in there else fresh[name][index]
                assert torch.equal(own[name][index], expected), (name, label)
    assert taken["classifier"] == " (4 of 5 rows, without a)"
    assert new == {
        "layer 3": "",
        "lookahead": "",
        "classifier": " (2 of 6 rows: b d)",
        "phone_classifier": " (1 of 3 rows: T)",
    }
    for name, tensor in theirs.items():
        if not name.startswith(("classifier.", "phone_classifier.")):
            assert torch.equal(own[name], tensor), name


def test_outputs_of_another_task_are_initialized() -> None:
    taken, new = copy_weights(recognizer(5), recognizer(5), {})
    assert "classifier" in new
    assert "classifier" not in taken


def test_a_recognizer_keeps_the_characters_of_its_initial_model(
    beeps_run: Path, beeps_recipe: Path, tmp_path: Path
) -> None:
    lines = (beeps_recipe.parent / "beeps.csv").read_text().splitlines()
    table = beeps_recipe.parent / "without_c.csv"
    table.write_text("\n".join([lines[0], *(line for line in lines[1:] if "c" not in line.split(",")[1])]) + "\n")
    words = ["--init_from", str(beeps_run), "--train_file", str(table)]
    parts, _ = prepare(load_recipe(beeps_recipe, words))
    assert parts.base is not None
    assert parts.base["taken"].endswith("classifier (5 of 6 rows, without c)")
    parts, _ = prepare(load_recipe(beeps_recipe, [*words, "--init_outputs", "keep"]))
    assert parts.base is not None
    assert (parts.base["new"], parts.tokenizer.get_vocab()["c"]) == ("nothing", 5)
    assert torch.equal(parts.model.classifier.weight, load_file(beeps_run / "model.safetensors")["classifier.weight"])


def test_a_run_continues_with_more_data(tones_run: Path, tmp_path: Path, digit_folder: Path, capsys: Any) -> None:
    words = ["--init_from", str(tones_run), "--data_dir", str(digit_folder)]
    recipe = load_recipe(tones_run / "recipe.yaml", [*words, "--training.max_steps", "2"])
    assert recipe.name == "tones-continued"
    with pytest.raises(RecipeError, match="contains the model to start from: choose another --name"):
        train(recipe, tones_run, overwrite=True)
    run = train(recipe, tmp_path / "more", splits=()).run_dir
    printed = capsys.readouterr().out
    assert "Weights of run: layer 1, pooling, classifier (2 of 2 rows).\nNew weights: nothing.\n" in printed
    record = json.loads((run / BASE_MODEL).read_text())
    assert (record["name"], record["repo_id"], record["revision"]) == ("run", None, None)
    assert record["weights"].startswith("sha256:")
    # It can be loaded without the base.
    (run / "recipe.yaml").write_text((run / "recipe.yaml").read_text().replace(str(tones_run), "/gone"))
    assert load_recipe(run / "recipe.yaml", to_train=False).warm_start.init_from == "/gone"
    with pytest.raises(HFSpeechError, match="/gone"):
        load_recipe(run / "recipe.yaml")


def test_resume_detects_a_changed_initial_model(tmp_path: Path, base: Path, recipe: dict[str, Any]) -> None:
    parts, report = prepare(resolved := load_recipe(recipe, ["--init_from", str(base)]))
    checkpoint = tmp_path / "checkpoints" / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    run_folder.begin(tmp_path, resolved, report, None, parts.base)
    checkpoint.mkdir(parents=True)
    assert parts.base is not None
    with pytest.raises(TrainingError, match="three-tones is no longer the model that"):
        run_folder.begin(tmp_path, resolved, report, str(checkpoint), {**parts.base, "weights": "sha256:other"})


def test_the_record_names_the_hub_model_at_the_root(base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "second"))
    (folder / BASE_MODEL).write_text(json.dumps({"name": "ann/first", "repo_id": "ann/first", "revision": "abc"}))
    record = BaseModel.open(str(folder)).record("all", "nothing")
    assert (record["name"], record["repo_id"], record["revision"]) == ("second", "ann/first", "abc")


def test_starts_from_a_hub_model(hub: HubServer, client: Client, base: Path, recipe: dict[str, Any]) -> None:  # noqa: F811
    upload = """
api.create_repo("ann/three", exist_ok=True)
result = api.upload_folder(folder_path=folder, repo_id="ann/three").oid
api.create_tag("ann/three", tag="v1")
"""
    commit = client.run(upload, folder=str(base))
    look = """
from hf_speech.training import load_recipe
from hf_speech.training.warm_start import BaseModel
resolved = load_recipe(recipe, ["--init_from", "ann/three@v1"])
result = [resolved.warm_start.init_from, BaseModel.open(resolved.warm_start.init_from).record("a", "b")]
"""
    source, record = client.run(look, recipe=recipe)
    assert source == f"ann/three@{commit}"
    assert (record["name"], record["repo_id"], record["revision"]) == ("ann/three", "ann/three", commit)
