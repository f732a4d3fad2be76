from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForAudioClassification

from hf_speech.models import SpeechLSTMConfig, SpeechLSTMForAudioClassification
from hf_speech.models.frontends import SpectralFrontEnd
from hf_speech.models.modeling_speech_lstm import Pooling
from hf_speech.models.recurrent import frame_mask

VARIANTS: list[dict[str, Any]] = [
    {},
    {"pooling": "last", "projection_size": 9, "head_sizes": [7, 5]},
    {"pooling": "max", "bidirectional": False, "subsampling": 2},
    {"pooling": "mean", "layer_norm": False, "subsampling": 4, "num_hidden_layers": 1},
    {"pooling": "last", "bidirectional": False, "subsampling": 4},
    {"stem_channels": [3, 4, 5], "subsampling": 4},
    {"stem_channels": [2], "input_size": 33, "num_deltas": 2, "pooling": "last"},
]
LENGTHS = torch.tensor([23, 1, 40, 6])


def make_model(**arguments: Any) -> SpeechLSTMForAudioClassification:
    torch.manual_seed(0)
    return SpeechLSTMForAudioClassification(
        SpeechLSTMConfig(**({"input_size": 11, "hidden_size": 8, "num_labels": 5} | arguments))
    ).eval()


def batch(input_size: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    mask = frame_mask(LENGTHS, 40)
    # What stands in the padding must not matter.
    return torch.where(mask[:, :, None], torch.randn(4, 40, input_size), torch.tensor(77.0)), mask.long()


@pytest.mark.parametrize("arguments", VARIANTS)
def test_outputs_do_not_depend_on_the_batch(arguments: dict[str, Any]) -> None:
    model = make_model(**arguments)
    features, mask = batch(model.config.input_size)
    together = model(features, mask).logits
    assert together.shape == (4, 5)
    for index, length in enumerate(LENGTHS):
        alone = model(features[index : index + 1, :length]).logits
        torch.testing.assert_close(alone[0], together[index], atol=1e-5, rtol=0)


@pytest.mark.parametrize("arguments", VARIANTS)
def test_every_parameter_gets_a_gradient(arguments: dict[str, Any]) -> None:
    model = make_model(**arguments).train()
    features, mask = batch(model.config.input_size)
    model(features, mask, labels=torch.tensor([0, 1, 2, 3])).loss.backward()
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not silent


def test_the_mean_over_minutes_is_finite_in_float16() -> None:
    frames = torch.full((2, 30_000, 4), 3.0, dtype=torch.float16)
    pooled = Pooling("mean", 4, 4)(frames, torch.tensor([30_000, 30_000]))
    assert pooled.dtype == torch.float16
    assert (pooled == 3).all()


def test_deltas_are_input_channels_of_the_2d_convolutions() -> None:
    model = make_model(stem_channels=[2, 3], subsampling=2, input_size=22, num_deltas=1)
    frames, lengths = torch.randn(1, 8, 22), torch.tensor([8])
    assert isinstance(model.stem, SpectralFrontEnd)
    maps = torch.stack(frames.chunk(2, dim=2), dim=1)
    first = model.stem.convolutions[0](torch.nn.functional.pad(maps, (0, 0, 2, 2)))
    seen: list[torch.Tensor] = []
    model.stem.norms[0].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    shortened, new_lengths = model.stem(frames, lengths)
    torch.testing.assert_close(seen[0], first.movedim(1, 3))
    assert shortened.shape == (1, 4, 8)
    assert new_lengths.tolist() == [4]


def test_convolutions_over_frequency_are_shift_invariant() -> None:
    """Input shifted by eight features gives the same frames, with the stem's output shifted accordingly."""
    model = make_model(stem_channels=[3, 3, 6], input_size=40)
    stem = model.stem
    assert isinstance(stem, SpectralFrontEnd)
    low = torch.zeros(1, 12, 40)
    low[:, :, 16:20] = torch.randn(1, 12, 4)
    stem.projection = torch.nn.Identity()
    stem.norm.forward = lambda frames, lengths: frames  # type: ignore[method-assign]
    maps = stem(low, torch.tensor([12]))[0].unflatten(2, (5, 6))
    shifted = stem(low.roll(8, dims=2), torch.tensor([12]))[0].unflatten(2, (5, 6))
    torch.testing.assert_close(shifted[:, :, 2:4], maps[:, :, 1:3])
    assert (shifted - maps).abs().max() > 1e-3


def test_outputs_depend_on_the_order_in_time() -> None:
    model = make_model()
    features, _ = batch()
    alone = model(features[2:3]).logits
    backwards = model(features[2:3].flip(1)).logits
    assert (alone - backwards).abs().max() > 1e-3


def test_perturbation_is_used_only_in_training() -> None:
    model = make_model(num_time_masks=2, num_frequency_masks=2, input_dropout=0.2, feature_noise=0.1, dropout=0.0)
    features, mask = batch()
    torch.testing.assert_close(model(features, mask).logits, model(features, mask).logits)
    model.train()
    assert (model(features, mask).logits - model(features, mask).logits).abs().max() > 1e-4


def test_loss_uses_class_weights_and_label_smoothing() -> None:
    features, mask = batch()
    labels = torch.tensor([0, 1, 2, 3])
    plain = make_model()
    logits = plain(features, mask).logits
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(plain(features, mask, labels).loss, expected)
    weights = [1.0, 2.0, 3.0, 4.0, 5.0]
    weighted = make_model(class_weights=weights, label_smoothing=0.1)
    expected = torch.nn.functional.cross_entropy(logits, labels, weight=torch.tensor(weights), label_smoothing=0.1)
    torch.testing.assert_close(weighted(features, mask, labels).loss, expected)


def test_mixup_blends_features_lengths_and_losses() -> None:
    model = make_model(mixup_alpha=0.4, mixup_probability=1.0, dropout=0.0, pooling="mean").train()
    features, mask = batch()
    features = features * mask[:, :, None]
    labels = torch.tensor([0, 1, 2, 3])
    torch.manual_seed(3)
    blended, lengths, partner, share = model._blend(features, LENGTHS)
    assert 0.5 <= share < 1
    for index, other in enumerate(partner.tolist()):
        # Padding is not blended: beyond the end of the shorter clip the longer one stays as it is.
        both, longer = sorted((int(LENGTHS[index]), int(LENGTHS[other])))
        expected = share * features[index] + (1 - share) * features[other]
        torch.testing.assert_close(blended[index, :both], expected[:both])
        alone = features[index if LENGTHS[index] == longer else other]
        torch.testing.assert_close(blended[index, both:longer], alone[both:longer])
        assert (blended[index, longer:] == 0).all()
    assert lengths.tolist() == torch.maximum(LENGTHS, LENGTHS[partner]).tolist()
    torch.manual_seed(3)
    loss = model(features, mask, labels).loss
    logits = model.eval()(blended, frame_mask(lengths, 40).long()).logits
    cross_entropy = torch.nn.functional.cross_entropy
    expected = share * cross_entropy(logits, labels) + (1 - share) * cross_entropy(logits, labels[partner])
    torch.testing.assert_close(loss, expected)


def test_one_sentence_error_for_a_wrong_feature_size() -> None:
    with pytest.raises(ValueError, match="use the feature extractor saved with the model"):
        make_model()(torch.zeros(1, 5, 12))


def test_save_and_load_round_trip_of_weights(tmp_path: Path) -> None:
    model = make_model(subsampling=2, projection_size=6)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert type(loaded) is SpeechLSTMForAudioClassification
    features, mask = batch()
    torch.testing.assert_close(loaded(features, mask).logits, model(features, mask).logits)
    assert dict(loaded.named_buffers()).keys() == dict(model.named_buffers()).keys()
    assert {path.name for path in tmp_path.glob("*.py")} >= {
        "configuration_speech_lstm.py",
        "modeling_speech_lstm.py",
        "recurrent.py",
        "spec_augment.py",
    }


def test_initial_weights_open_the_forget_gates() -> None:
    model = make_model()
    lstm = model.layers[0].forward_rnn
    assert lstm.bias_ih_l0[8:16].tolist() == [1.0] * 8
    gate = lstm.weight_hh_l0[:8]
    torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)


def test_treats_the_features_of_an_average_as_time_steps() -> None:
    """As published with Keras: mean MFCCs of shape (40, 1), forty time steps of one number."""
    model = make_model(features_as_steps=True, bidirectional=False, pooling="last", num_hidden_layers=1)
    assert model.layers[0].forward_rnn.input_size == 1
    averages = torch.randn(3, 1, 11)
    logits = model(averages, torch.ones(3, 1, dtype=torch.long)).logits
    steps, _ = model.layers[0].forward_rnn(averages.mT)
    torch.testing.assert_close(logits, model.classifier(model.norms[0](steps[:, -1])), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="got 2 frames: set time_average"):
        model(torch.randn(3, 2, 11))
