"""Loading models and running them over sounds: order, batches, and one sentence for whatever is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file

from hf_speech.errors import AudioError, ModelError, RecipeError
from hf_speech.evaluation import classify_files, inference, load_model, predict
from hf_speech.tasks import TASKS, AudioClassification


def sentence(folder: Path | str, **arguments: object) -> str:
    """The one sentence that loading ends with."""
    with pytest.raises(ModelError) as caught:
        load_model(folder, **arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert text[-1] in ".?"
    return text


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


# Loading


def test_a_saved_folder_is_loaded_whole(saved_model: Path):
    loaded = load_model(saved_model, device="cpu")
    assert loaded.task.name == "audio-classification"
    assert loaded.name == str(saved_model)
    assert loaded.sampling_rate == 8000
    assert not loaded.model.training
    assert loaded.revision.startswith("sha256:")
    assert loaded.device == torch.device("cpu")


def test_half_precision_weights_are_computed_in_float32(saved_model: Path, model_copy: Path):
    weights = load_file(model_copy / "model.safetensors")
    save_file({name: w.half() for name, w in weights.items()}, model_copy / "model.safetensors", {"format": "pt"})
    edit_config(model_copy, dtype="float16")
    loaded = load_model(model_copy, device="cpu")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert loaded.revision != load_model(saved_model, device="cpu").revision


def test_a_missing_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "There is no folder" in sentence(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    # It could be a Hub id, but `runs` is a folder here: the network is not asked.
    assert "There is no folder runs/digits:" in sentence("runs/digits")
    assert "There is no folder" in sentence("not a/valid name")


def test_an_unreachable_hub_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    text = sentence("someone/no-such-model")
    assert "someone/no-such-model" in text
    assert "the network" in text


def test_a_file_is_not_a_folder(saved_model: Path):
    assert "is a file: give the model folder" in sentence(saved_model / "config.json")


def test_a_folder_without_config_points_to_the_model_inside(saved_model: Path, tmp_path: Path):
    (tmp_path / "run").mkdir()
    assert "has no config.json" in sentence(tmp_path / "run")
    shutil.copytree(saved_model, tmp_path / "run" / "model")
    assert f"did you mean {tmp_path / 'run' / 'model'}?" in sentence(tmp_path / "run")


@pytest.mark.parametrize(
    ("file", "lack"),
    [("model.safetensors", "has no weights"), ("preprocessor_config.json", "has no feature extractor")],
)
def test_a_folder_that_lacks_a_part_is_refused(model_copy: Path, file: str, lack: str):
    (model_copy / file).unlink()
    assert lack in sentence(model_copy)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_damaged_part_is_named(model_copy: Path, file: str):
    (model_copy / file).write_bytes((model_copy / file).read_bytes()[:50])
    part = {"config.json": "configuration", "model.safetensors": "model", "preprocessor_config.json": "extractor"}
    text = sentence(model_copy)
    assert part[file] in text
    assert str(model_copy) in text


def test_a_model_of_no_task_of_ours_is_refused(model_copy: Path):
    edit_config(model_copy, architectures=["BertForMaskedLM"])
    assert "is a BertForMaskedLM: only models for audio-classification" in sentence(model_copy)


def test_a_model_of_another_task_is_refused(saved_model: Path, monkeypatch: pytest.MonkeyPatch):
    class Guessing(AudioClassification):
        name = "guessing"
        architecture_suffixes = ("ForGuessing",)

    monkeypatch.setitem(TASKS, "guessing", Guessing())
    assert "is a model for audio-classification, not for guessing" in sentence(saved_model, task="guessing")
    with pytest.raises(RecipeError, match="no task 'gessing'"):
        load_model(saved_model, task="gessing")


def test_weights_that_do_not_fit_are_not_made_to(model_copy: Path):
    weights = load_file(model_copy / "model.safetensors")

    def saved(changed: dict[str, torch.Tensor]) -> str:
        save_file(changed, model_copy / "model.safetensors", {"format": "pt"})
        return sentence(model_copy)

    bias = weights["classifier.bias"].clone()
    without = {name: weight for name, weight in weights.items() if name != "classifier.bias"}
    assert "lack 1 of its parameters (such as classifier.bias)" in saved(without)
    assert "hold 1 parameters that it does not have (such as other.bias)" in saved({**weights, "other.bias": bias})
    assert "have 1 parameters of another size (such as classifier.bias)" in saved(
        {**without, "classifier.bias": torch.zeros(7)}
    )


@pytest.mark.parametrize("changes", [{"hidden_size": "many"}, {"pooling": "no such pooling"}])
def test_a_configuration_with_wrong_values_is_refused(model_copy: Path, changes: dict[str, str]):
    edit_config(model_copy, **changes)
    text = sentence(model_copy)
    assert next(iter(changes)) in text
    assert "configuration of" in text


def test_a_strangers_code_is_not_run(model_copy: Path):
    edit_config(model_copy, model_type="strange")
    assert "only families of this package and of transformers are run" in sentence(model_copy)


def test_a_fresh_process_knows_our_families(saved_model: Path):
    """Importing evaluation alone must register them; this process has imported them otherwise."""
    code = (
        "import sys; from hf_speech.evaluation import load_model\n"
        "print(type(load_model(sys.argv[1], device='cpu').model).__module__)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(saved_model)], capture_output=True, text=True)
    assert run.stdout.strip() == "hf_speech.models.modeling_speech_lstm", run.stderr


def test_a_device_that_is_not_there_is_refused(saved_model: Path):
    assert "device 'cuda:99' cannot be used" in sentence(saved_model, device="cuda:99")
    assert "device 'toaster' cannot be used" in sentence(saved_model, device="toaster")


# Running


def logits_of(loaded: inference.LoadedModel, sources: object, **arguments: object) -> np.ndarray:
    return np.stack([prediction.logits for prediction in predict(loaded, sources, progress=False, **arguments)])


def test_results_come_in_order_and_alike_in_any_batch(
    saved_model: Path, tones: Dataset, monkeypatch: pytest.MonkeyPatch
):
    loaded = load_model(saved_model, device="cpu")
    alone = np.concatenate([logits_of(loaded, [source]) for source in tones["audio"]])
    assert np.ptp(alone[:, 0]) > 0.1  # Else the order could not be seen.
    for window, batch_size in ((8, 16), (1, 7), (2, 1)):
        monkeypatch.setattr(inference, "WINDOW", window)
        assert np.abs(logits_of(loaded, tones["audio"], batch_size=batch_size) - alone).max() < 1e-5


def test_sources_may_be_lazy_and_are_read_a_window_at_a_time(
    saved_model: Path, tones: Dataset, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inference, "WINDOW", 2)
    taken = []

    def lazily():
        for index, source in enumerate(tones["audio"]):
            taken.append(index)
            yield source

    results = predict(load_model(saved_model, device="cpu"), lazily(), batch_size=4, progress=False)
    assert taken == []
    assert next(results).index == 0
    assert taken == list(range(8))


def test_batches_hold_similar_lengths(saved_model: Path, tones: Dataset, monkeypatch: pytest.MonkeyPatch):
    run, lengths = inference._run, []

    def spy(loaded: inference.LoadedModel, batch: list, bad_rows: str):
        lengths.append([len(utterance.samples) for utterance in batch])
        return run(loaded, batch, bad_rows)

    monkeypatch.setattr(inference, "_run", spy)
    logits_of(load_model(saved_model, device="cpu"), tones["audio"], batch_size=10)
    assert [len(batch) for batch in lengths] == [10] * 6
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat)


def test_durations_and_times_are_measured(saved_model: Path, tones: Dataset):
    loaded = load_model(saved_model, device="cpu")
    for prediction, source in zip(predict(loaded, tones["audio"], progress=False), tones["audio"], strict=True):
        assert prediction.duration == soundfile.info(source["path"]).duration
        assert 0 < prediction.processing_seconds < 10


def test_all_kinds_of_sources_sound_alike(saved_model: Path, tones: Dataset):
    path = tones[0]["audio"]["path"]
    samples, rate = soundfile.read(path, dtype="float32")
    sources = [path, Path(path), Path(path).read_bytes(), {"array": samples, "sampling_rate": rate}]
    logits = logits_of(load_model(saved_model, device="cpu"), sources)
    assert np.abs(logits - logits[0]).max() < 1e-5


def bad_sounds(folder: Path) -> list[str]:
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("This is no sound.")
    soundfile.write(folder / "short.wav", np.full(3, 0.1, dtype=np.float32), 8000)
    return [str(folder / name) for name in ("empty.wav", "text.wav", "short.wav", "missing.wav")]


def test_a_bad_sound_is_refused_by_name(saved_model: Path, tones: Dataset, tmp_path: Path):
    loaded = load_model(saved_model, device="cpu")
    for bad in bad_sounds(tmp_path):
        with pytest.raises(AudioError, match=Path(bad).name):
            list(predict(loaded, [tones[0]["audio"], bad, tones[1]["audio"]], progress=False))


def test_bad_sounds_are_skipped_alone(saved_model: Path, tones: Dataset, tmp_path: Path):
    """Also the one that only the feature extractor finds too short, in the midst of a batch."""
    loaded = load_model(saved_model, device="cpu")
    good = [source["path"] for source in tones["audio"]][:4]
    bad = bad_sounds(tmp_path)
    sources = [path for pair in zip(good, bad, strict=True) for path in pair]
    results = list(predict(loaded, sources, progress=False, bad_rows="skip"))
    assert [result.index for result in results] == list(range(8))
    assert np.abs(np.stack([result.logits for result in results[::2]]) - logits_of(loaded, good)).max() < 1e-5
    for result, name in zip(results[1::2], bad, strict=True):
        assert result.logits is None
        assert name in str(result.error)


def test_a_diverged_model_is_refused(model_copy: Path, tones: Dataset):
    weights = load_file(model_copy / "model.safetensors")
    weights["classifier.bias"][0] = float("nan")
    save_file(weights, model_copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"logits that are not finite for .*speaker"):
        list(predict(load_model(model_copy, device="cpu"), tones["audio"], progress=False))


def test_files_are_classified_with_probabilities(saved_model: Path, tones: Dataset, tmp_path: Path):
    files = [tones[0]["audio"]["path"], tmp_path / "missing.wav"]
    found, missing = classify_files(saved_model, files, top_k=2)
    assert found["file"] == files[0]
    assert [set(entry) for entry in found["labels"]] == [{"label", "score"}] * 2
    assert found["labels"][0]["score"] >= found["labels"][1]["score"] > 0
    assert missing["file"] == str(files[1])
    assert "missing.wav" in missing["error"]
