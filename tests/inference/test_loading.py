"""Loading of models, and one-sentence errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_speech.errors import ModelError
from hf_speech.inference import load_model, loading
from hf_speech.tasks import TASKS, AudioClassification


def sentence(folder: Path | str, **arguments: object) -> str:
    """Returns the one-sentence error of loading."""
    with pytest.raises(ModelError) as caught:
        load_model(folder, **arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert text[-1] in ".?"
    return text


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_loads_a_saved_folder(saved_model: Path):
    loaded = load_model(saved_model, device="cpu")
    assert loaded.task.name == "audio-classification"
    assert loaded.name == str(saved_model)
    assert loaded.sampling_rate == 8000
    assert not loaded.model.training
    assert loaded.revision.startswith("sha256:")
    assert loaded.device == torch.device("cpu")


def test_computes_half_precision_weights_in_float32(saved_model: Path, model_copy: Path):
    weights = load_file(model_copy / "model.safetensors")
    save_file({name: w.half() for name, w in weights.items()}, model_copy / "model.safetensors", {"format": "pt"})
    edit_config(model_copy, dtype="float16")
    loaded = load_model(model_copy, device="cpu")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert loaded.revision != load_model(saved_model, device="cpu").revision


def test_reports_a_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "There is no folder" in sentence(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    # It could be a Hub id, but `runs` is a folder, so the network is not used.
    assert "There is no folder runs/digits:" in sentence("runs/digits")
    assert "There is no folder" in sentence("not a/valid name")


def test_reports_an_unreachable_hub_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    text = sentence("someone/no-such-model")
    assert "someone/no-such-model" in text
    assert "the network" in text


def test_a_mistyped_folder_fails_at_once(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def refuse(name: str, **options: object) -> None:
        asked.append(name)
        raise ConnectionError("Connection refused")

    monkeypatch.setattr(loading, "model_info", refuse)
    assert "There is no folder digitz:" in sentence("digitz")
    assert not asked
    assert "(Connection refused): check the name, the network and the login." in sentence("nobody/digitz")
    assert asked == ["nobody/digitz"]


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
def test_rejects_a_folder_that_lacks_a_part(model_copy: Path, file: str, lack: str):
    (model_copy / file).unlink()
    assert lack in sentence(model_copy)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_reports_a_damaged_part(model_copy: Path, file: str):
    (model_copy / file).write_bytes((model_copy / file).read_bytes()[:50])
    text = sentence(model_copy)
    assert f"{file} of" in text
    assert str(model_copy) in text


def test_rejects_a_model_of_an_unknown_task(model_copy: Path):
    edit_config(model_copy, architectures=["BertForMaskedLM"])
    assert "is a BertForMaskedLM: only models for " in sentence(model_copy)


def test_rejects_a_model_of_another_task(saved_model: Path, monkeypatch: pytest.MonkeyPatch):
    class Guessing(AudioClassification):
        name, verb = "guessing", "guess"
        architecture_suffixes = ("ForGuessing",)

    monkeypatch.setitem(TASKS, "guessing", Guessing())
    assert "is a model for audio-classification, not for guessing" in sentence(saved_model, verb="guess")


def test_rejects_weights_that_do_not_fit(model_copy: Path):
    weights = load_file(model_copy / "model.safetensors")

    def saved(changed: dict[str, torch.Tensor]) -> str:
        save_file(changed, model_copy / "model.safetensors", {"format": "pt"})
        return sentence(model_copy)

    bias = weights["classifier.bias"].clone()
    without = {name: weight for name, weight in weights.items() if name != "classifier.bias"}
    assert "lack 1 parameter that it has (such as classifier.bias)" in saved(without)
    assert "hold 1 parameter that it does not have (such as other.bias)" in saved({**weights, "other.bias": bias})
    assert "have 1 parameter of another size (such as classifier.bias)" in saved(
        {**without, "classifier.bias": torch.zeros(7)}
    )


@pytest.mark.parametrize("changes", [{"hidden_size": "many"}, {"pooling": "no such pooling"}])
def test_rejects_a_configuration_with_wrong_values(model_copy: Path, changes: dict[str, str]):
    edit_config(model_copy, **changes)
    text = sentence(model_copy)
    assert next(iter(changes)) in text
    assert "configuration of" in text


def test_does_not_run_untrusted_code(model_copy: Path):
    edit_config(model_copy, model_type="strange")
    assert "only models of hf_speech and transformers are supported" in sentence(model_copy)


def test_a_new_process_registers_the_model_families(saved_model: Path):
    """Importing evaluation must register them, which needs a new process to test."""
    code = (
        "import sys; from hf_speech.inference import load_model\n"
        "print(type(load_model(sys.argv[1], device='cpu').model).__module__)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(saved_model)], capture_output=True, text=True)
    assert run.stdout.strip() == "hf_speech.models.modeling_speech_lstm", run.stderr


def test_rejects_an_unavailable_device(saved_model: Path):
    assert "device 'cuda:99' cannot be used" in sentence(saved_model, device="cuda:99")
    assert "device 'toaster' cannot be used" in sentence(saved_model, device="toaster")
