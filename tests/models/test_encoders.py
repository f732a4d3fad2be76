"""Encoders without a head, as loaded by `AutoModel`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForAudioClassification, AutoModelForCTC
from transformers.utils.generic import find_labels

from hf_speech.models import (
    ConvGRUConfig,
    ConvGRUEncoder,
    ConvGRUForCTC,
    SpeechLSTMConfig,
    SpeechLSTMEncoder,
    SpeechLSTMForAudioClassification,
)
from hf_speech.models.recurrent import frame_mask

LENGTHS = torch.tensor([40, 31, 3])
RECOGNIZER = {"input_size": 11, "channels": 6, "hidden_size": 5, "num_hidden_layers": 3, "vocab_size": 7}
CLASSIFIER = {"input_size": 11, "hidden_size": 5, "num_hidden_layers": 2, "num_labels": 4}

FAMILIES: list[Any] = [
    pytest.param(ConvGRUForCTC, ConvGRUEncoder, ConvGRUConfig(**RECOGNIZER), id="conv_gru"),
    pytest.param(
        ConvGRUForCTC,
        ConvGRUEncoder,
        ConvGRUConfig(**RECOGNIZER, frontend="deepspeech2", recurrent_norm="batch", bidirectional=False, lookahead=2),
        id="conv_gru-lookahead",
    ),
    pytest.param(SpeechLSTMForAudioClassification, SpeechLSTMEncoder, SpeechLSTMConfig(**CLASSIFIER), id="speech_lstm"),
    pytest.param(
        SpeechLSTMForAudioClassification,
        SpeechLSTMEncoder,
        SpeechLSTMConfig(**CLASSIFIER, subsampling=2, projection_size=6, head_sizes=[3]),
        id="speech_lstm-front-end",
    ),
]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    mask = frame_mask(LENGTHS, 40)
    return torch.randn(3, 40, 11) * mask[:, :, None], mask.long()


@pytest.mark.parametrize(("head_class", "encoder_class", "config"), FAMILIES)
def test_checkpoints_load_with_and_without_a_head(
    head_class: Any, encoder_class: Any, config: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    full = head_class(config).eval()
    full.save_pretrained(tmp_path / "full")
    encoder, report = AutoModel.from_pretrained(tmp_path / "full", output_loading_info=True)
    assert type(encoder) is encoder_class
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]  # The head's are known, and not worth a warning.
    for key, value in encoder.state_dict().items():
        torch.testing.assert_close(value, full.state_dict()[key], msg=key)

    encoder.save_pretrained(tmp_path / "encoder")
    again, report = head_class.from_pretrained(tmp_path / "encoder", output_loading_info=True)
    assert report["missing_keys"]
    assert not set(report["missing_keys"]) & set(encoder.state_dict())
    for key, value in encoder.state_dict().items():
        torch.testing.assert_close(value, again.state_dict()[key], msg=key)


@pytest.mark.parametrize(("head_class", "encoder_class", "config"), FAMILIES)
def test_padding_is_invisible_and_zero(head_class: Any, encoder_class: Any, config: Any) -> None:
    torch.manual_seed(0)
    encoder = encoder_class(config).eval()
    features, mask = batch()
    together = encoder(features, mask).last_hidden_state
    for index, length in enumerate(LENGTHS):
        alone = encoder(features[index : index + 1, :length]).last_hidden_state[0]
        torch.testing.assert_close(together[index, : len(alone)], alone, atol=1e-5, rtol=0)
        assert (together[index, len(alone) :] == 0).all()


@pytest.mark.parametrize(("head_class", "encoder_class", "config"), FAMILIES)
def test_returns_hidden_states_on_request(head_class: Any, encoder_class: Any, config: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    full, (features, mask) = head_class(config).eval(), batch()
    full.save_pretrained(tmp_path)
    encoder = AutoModel.from_pretrained(tmp_path).eval()
    assert full(features, mask).hidden_states is None
    output = encoder(features, mask, output_hidden_states=True)
    assert len(output.hidden_states) == config.num_hidden_layers + 1
    torch.testing.assert_close(output.hidden_states[-1], output.last_hidden_state)
    of_full = full(features, mask, output_hidden_states=True).hidden_states
    for one, other in zip(output.hidden_states, of_full, strict=True):
        torch.testing.assert_close(one, other)
    encoder.config.output_hidden_states = True
    assert len(encoder(features, mask).hidden_states) == config.num_hidden_layers + 1
    assert encoder(features, mask, output_hidden_states=False).hidden_states is None
    assert isinstance(encoder(features, mask, return_dict=False), tuple)


def test_training_returns_hidden_states_of_one_view() -> None:
    model = ConvGRUForCTC(ConvGRUConfig(**RECOGNIZER, consistency_weight=0.2)).train()
    output = model(*batch(), labels=torch.tensor([[1, 2], [3, 4], [5, -100]]), output_hidden_states=True)
    assert output.logits.shape[0] == 3
    assert {state.shape[0] for state in output.hidden_states} == {3}


@pytest.mark.parametrize(("head_class", "encoder_class", "config"), FAMILIES)
def test_input_embeddings_read_the_input(head_class: Any, encoder_class: Any, config: Any) -> None:
    model = head_class(config).eval()
    seen: list[torch.Size] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].shape))
    model(*batch())
    assert seen == [(3, 40, 11)]


def test_makes_a_new_head_for_another_number_of_labels(tmp_path: Path) -> None:
    SpeechLSTMForAudioClassification(SpeechLSTMConfig(**CLASSIFIER)).save_pretrained(tmp_path)
    model = AutoModelForAudioClassification.from_pretrained(tmp_path, num_labels=9, ignore_mismatched_sizes=True)
    assert model.num_labels == model.config.num_labels == 9
    assert model(*batch()).logits.shape == (3, 9)


@pytest.mark.parametrize("model_class", [ConvGRUForCTC, SpeechLSTMForAudioClassification])
def test_the_trainer_finds_only_labels(model_class: Any) -> None:
    assert find_labels(model_class) == ["labels"]


@pytest.mark.parametrize(("head_class", "encoder_class", "config"), FAMILIES)
def test_gradient_checkpointing_does_not_change_results(head_class: Any, encoder_class: Any, config: Any) -> None:
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = head_class(config).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        features, mask = batch()
        labels = torch.tensor([1, 2, 3]) if head_class is SpeechLSTMForAudioClassification else torch.tensor([[1]] * 3)
        torch.manual_seed(1)
        model(features, mask, labels=labels).loss.backward()
        gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
        found.append(gradients | dict(model.named_buffers()))  # Running statistics are updated once, too.
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], msg=key)


@pytest.mark.parametrize("name", ["an4", "an4-streaming", "fsdd-digits"])
def test_published_models_have_encoders(name: str) -> None:
    folder = Path(__file__).resolve().parents[2] / "pretrained" / name
    auto_class = AutoModelForAudioClassification if name == "fsdd-digits" else AutoModelForCTC
    full = auto_class.from_pretrained(folder).eval()
    encoder, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    features = torch.randn(1, 50, full.config.input_size)
    states = full(features, output_hidden_states=True).hidden_states
    torch.testing.assert_close(encoder.eval()(features).last_hidden_state, states[-1])
