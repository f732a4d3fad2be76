from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCTC

from hf_speech.models import ConvGRUConfig, ConvGRUForCTC, SpeechFeatureExtractor
from hf_speech.models.convolutions import MaskedBatchNorm
from hf_speech.models.recurrent import frame_mask

FRONT_ENDS = ("deepspeech2", "residual", "subsampling")
DIRECTIONS: tuple[dict[str, Any], ...] = (
    {"bidirectional": True},
    {"bidirectional": False, "lookahead": 3},
    {"bidirectional": False, "causal": True},
    {"bidirectional": False, "causal": True, "lookahead": 4},
)
VARIANTS = [
    {"frontend": frontend, "recurrent_norm": norm, **direction}
    for (frontend, norm), direction in itertools.product(
        zip(FRONT_ENDS, ("batch", "layer", "layer"), strict=True), DIRECTIONS
    )
] + [
    {"frontend": "subsampling", "subsampling": 8, "recurrent_norm": "batch"},
    {"frontend": "subsampling", "subsampling": 2, "stem_channels": 4},
    {"frontend": "subsampling", "subsampling": 4, "stem_channels": 4, "bidirectional": False, "causal": True},
    {"frontend": "subsampling", "subsampling": 8, "stem_channels": 4},
]
LENGTHS = torch.tensor([7, 53, 1, 80])
MASK = frame_mask(LENGTHS, 80)
LABELS = torch.tensor([[1, -100, -100], [1, 2, 3], [-100, -100, -100], [4, 4, -100]])


def make_model(**arguments: Any) -> ConvGRUForCTC:
    torch.manual_seed(0)
    defaults = {"input_size": 20, "channels": 8, "hidden_size": 12, "num_hidden_layers": 2, "vocab_size": 9}
    return ConvGRUForCTC(ConvGRUConfig(**(defaults | arguments))).eval()


def batch(padding: float = 9.0) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.where(MASK[:, :, None], torch.randn(4, 80, 20), torch.tensor(padding))


@pytest.mark.parametrize("arguments", VARIANTS)
def test_outputs_do_not_depend_on_the_batch_and_padding_is_blank(arguments: dict[str, Any]) -> None:
    model = make_model(**arguments)
    together = model(batch(), MASK.long()).logits
    assert together.shape == (4, 80 // model.config.stride, 9)
    for index, length in enumerate(LENGTHS):
        alone = model(batch()[index : index + 1, :length]).logits[0]
        assert alone.shape[0] == length // model.config.stride
        torch.testing.assert_close(alone, together[index, : alone.shape[0]], atol=1e-5, rtol=0)
        beyond = together[index, alone.shape[0] :].softmax(dim=-1)
        assert (beyond[:, 0] == 1).all()
        assert (beyond[:, 1:] == 0).all()


@pytest.mark.parametrize("arguments", VARIANTS)
def test_padding_gets_no_gradient_and_all_parameters_do(arguments: dict[str, Any]) -> None:
    model = make_model(**arguments, dropout=0.0).train()
    features = batch().requires_grad_()
    loss = model(features, MASK.long(), LABELS).loss
    assert torch.isfinite(loss)
    loss.backward()
    assert features.grad is not None
    assert features.grad[~MASK].abs().max() == 0
    assert features.grad[1, :53].abs().sum() > 0
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("arguments", [variant for variant in VARIANTS if variant.get("causal")])
def test_causal_models_depend_only_on_the_lookahead(arguments: dict[str, Any]) -> None:
    model = make_model(**arguments)
    assert model.can_stream
    features = batch()[3:]
    changed = features.clone()
    changed[:, 40:] += 1
    known = 40 // model.config.stride - model.config.lookahead
    before, after = model(features).logits, model(changed).logits
    torch.testing.assert_close(before[:, :known], after[:, :known], atol=0, rtol=0)
    assert (before[:, known:] - after[:, known:]).abs().max() > 1e-5


@pytest.mark.parametrize("frontend", FRONT_ENDS)
def test_frame_count_is_samples_over_ratio(frontend: str) -> None:
    model = make_model(frontend=frontend, hop_length=80)
    extractor = SpeechFeatureExtractor(sampling_rate=8000, num_mel_bins=20, hop_length=80, win_length=200)
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(80, 4000, (70,), generator=generator).tolist()
    features = extractor([torch.randn(length) for length in lengths], sampling_rate=8000, return_tensors="pt")
    with torch.no_grad():
        logits = model(**features).logits
    for index, length in enumerate(lengths):
        frames = length // model.config.inputs_to_logits_ratio
        assert (logits[index, frames:, 0] == 0).all()
        assert (logits[index, frames:, 1:] == -1e4).all()
        assert (logits[index, :frames, 1:] > -1e3).all()


def test_loss_equals_ctc_of_torch() -> None:
    model = make_model()
    features = batch()
    loss = model(features, MASK.long(), LABELS).loss
    single = []
    for index in (0, 1, 3):
        labels = LABELS[index][LABELS[index] >= 0]
        logits = model(features[index : index + 1, : LENGTHS[index]]).logits
        single.append(
            torch.nn.functional.ctc_loss(
                logits.log_softmax(-1).transpose(0, 1),
                labels[None],
                torch.tensor([logits.shape[1]]),
                torch.tensor([len(labels)]),
                zero_infinity=True,
            )
        )
    torch.testing.assert_close(loss, sum(single) / 4, atol=1e-5, rtol=1e-5)


def test_training_blends_the_intermediate_loss() -> None:
    model = make_model(intermediate_ctc_weight=0.3, dropout=0.0)
    plain = model(batch(), MASK.long(), LABELS).loss
    blended = model.train()(batch(), MASK.long(), LABELS).loss
    frames, lengths = model.frontend(batch() * MASK[:, :, None], LENGTHS)
    middle = model.classifier(model.intermediate_norm(model.layers[0](frames, lengths)))
    expected = 0.7 * plain + 0.3 * model._loss(middle, lengths, LABELS)
    torch.testing.assert_close(blended, expected)
    assert make_model().intermediate_norm is None


def test_predicts_phones_and_tokens() -> None:
    model = make_model(intermediate_ctc_weight=0.3, num_phones=5, num_hidden_layers=3)
    together = model(batch(), MASK.long())
    assert together.phone_logits.shape == (4, 20, 5)
    for index, length in enumerate(LENGTHS):
        alone = model(batch()[index : index + 1, :length]).phone_logits[0]
        assert len(alone) == length // 4
        torch.testing.assert_close(alone, together.phone_logits[index, : len(alone)], atol=1e-5, rtol=0)
        assert (together.phone_logits[index, len(alone) :].softmax(-1)[:, 0] == 1).all()
    middle = model.layers[1](model.layers[0](*model.frontend(batch() * MASK[:, :, None], LENGTHS)), LENGTHS // 4)
    expected = model.phone_classifier(model.intermediate_norm(middle))
    torch.testing.assert_close(together.phone_logits[3], expected[3])
    # Trainer scores tokens, and gathers what it scores.
    assert set(model.config.keys_to_ignore_at_inference) == {"phone_logits"}
    assert model.train()(batch(), MASK.long(), LABELS).phone_logits is None
    assert make_model()(batch(), MASK.long()).phone_logits is None


def test_phones_of_the_last_layer() -> None:
    model = make_model(intermediate_ctc_weight=0.3, num_phones=5, num_hidden_layers=3, intermediate_layer=3)
    found = model(batch(), MASK.long(), output_hidden_states=True)
    expected = model.phone_classifier(model.intermediate_norm(found.hidden_states[-1]))
    torch.testing.assert_close(found.phone_logits[3], expected[3])


def test_the_middle_layer_has_its_own_phone_classifier() -> None:
    model = make_model(intermediate_ctc_weight=0.3, dropout=0.0, num_phones=5, num_hidden_layers=3).train()
    phones = torch.tensor([[1, -100], [4, 2], [3, -100], [2, 2]])
    blended = model(batch(), MASK.long(), LABELS, phones).loss
    frames, lengths = model.frontend(batch() * MASK[:, :, None], LENGTHS)
    middle = model.layers[1](model.layers[0](frames, lengths), lengths)
    written = model.phone_classifier(model.intermediate_norm(middle))
    assert written.shape[2] == 5
    expected = 0.7 * model.eval()(batch(), MASK.long(), LABELS).loss + 0.3 * model._loss(written, lengths, phones)
    torch.testing.assert_close(blended, expected)


def test_consistency_loss_is_zero_for_equal_views() -> None:
    model = make_model(dropout=0.0, consistency_weight=0.5)
    plain = model(batch(), MASK.long(), LABELS).loss
    outputs = model.train()(batch(), MASK.long(), LABELS)
    torch.testing.assert_close(outputs.loss, plain)  # Equal views, so nothing but the CTC loss is left.
    assert outputs.logits.shape[0] == 4
    model.config.num_frequency_masks = 2

    def loss(weight: float) -> float:
        torch.manual_seed(3)
        model.config.consistency_weight = weight
        return model(batch(), MASK.long(), LABELS).loss.item()

    little, much, most = loss(1e-9), loss(1.0), loss(2.0)
    assert much > little + 1e-4
    assert most - little == pytest.approx(2 * (much - little), rel=1e-3)


def test_consistency_loss_is_the_symmetric_divergence() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 6, 3, requires_grad=True)  # Two views of two utterances.
    labels = torch.tensor([[1, 2, -100], [1, -100, -100]]).repeat(2, 1)
    found = ConvGRUForCTC._disagreement(logits, labels)
    probabilities = logits.detach().softmax(dim=-1)
    expected = 0.0
    for index, tokens in ((0, 2), (1, 1)):
        one, two = probabilities[index], probabilities[index + 2]
        for view, other in ((one, two), (two, one)):
            expected += float((other * (other / view).log()).sum()) / tokens / 4
    assert float(found) == pytest.approx(expected, rel=1e-5)
    # Each view is drawn towards the other, which stands still: the gradient is that of cross-entropy.
    (gradient,) = torch.autograd.grad(found, logits)
    torch.testing.assert_close(gradient[0], (probabilities[0] - probabilities[2]) / 2 / 4, atol=1e-6, rtol=1e-4)


def test_a_transcript_longer_than_its_audio_does_not_affect_the_batch() -> None:
    labels = torch.tensor([[1, 2, 3, 4], [1, -100, -100, -100]])
    features, mask = torch.randn(2, 8, 20), torch.ones(2, 8, dtype=torch.long)
    assert torch.isfinite(make_model()(features, mask, labels).loss)
    assert torch.isinf(make_model(ctc_zero_infinity=False)(features, mask, labels).loss)


@pytest.mark.parametrize("frontend", FRONT_ENDS)
def test_bfloat16_and_checkpointing(frontend: str) -> None:
    model = make_model(frontend=frontend, dropout=0.0).train()
    full = model(batch(), MASK.long(), LABELS).loss
    with torch.autocast("cpu", torch.bfloat16):
        half = model(batch(), MASK.long(), LABELS).loss
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0.1, atol=0.1)
    full.backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(batch(), MASK.long(), LABELS).loss.backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)


def test_batch_norm_uses_only_valid_frames() -> None:
    frames = torch.randn(4, 80, 3) * 2 + 5
    norm = MaskedBatchNorm(3).train()
    output = norm(torch.where(MASK[:, :, None], frames, torch.tensor(1e6)), LENGTHS)
    torch.testing.assert_close(output[MASK].mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(output[MASK].std(0, unbiased=False), torch.ones(3), atol=1e-3, rtol=0)
    assert output[~MASK].abs().max() == 0
    torch.testing.assert_close(norm.norm.running_mean, 0.1 * frames[MASK].mean(0), atol=1e-4, rtol=0)


def test_spec_augment_is_used_only_in_training() -> None:
    model = make_model(num_time_masks=2, num_frequency_masks=2, dropout=0.0)
    features = batch()
    torch.testing.assert_close(model(features).logits, model(features).logits)
    model.train()
    assert (model(features).logits - model(features).logits).abs().max() > 1e-4


def test_save_and_load_round_trip_of_weights(tmp_path: Path) -> None:
    model = make_model(frontend="deepspeech2", recurrent_norm="batch")
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCTC.from_pretrained(tmp_path)
    assert type(loaded) is ConvGRUForCTC
    assert loaded.config.inputs_to_logits_ratio == model.config.inputs_to_logits_ratio == 320
    torch.testing.assert_close(loaded(batch(), MASK.long()).logits, model(batch(), MASK.long()).logits)
    names = {path.name for path in tmp_path.glob("*.py")}
    assert names >= {"frontends.py", "modeling_conv_gru.py", "recurrent.py", "streaming_transcriber.py"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"causal": True}, "causal and bidirectional contradict"),
        ({"lookahead": 3}, "lookahead"),
        ({"lookahead": 2_000, "bidirectional": False}, "between 0 and 1,024"),
        ({"frontend": "nearly"}, "frontend='nearly' is unknown: it must be one of deepspeech2, residual, subsampling"),
        ({"frontend": "strided"}, "does not suit ConvGRUConfig, whose frames must not be rounded up"),
        ({"num_time_masks": -1}, "num_time_masks must lie between 0 and 1,000"),
        ({"max_time_mask_ratio": float("nan")}, "max_time_mask_ratio must lie between 0 and 1"),
        ({"dropout": float("nan")}, "dropout must be at least 0 and below 1"),
        ({"frontend": "deepspeech2", "num_convolutions": 5}, "2 or 3 convolutions"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"kernel_size": 1}, "kernel_size"),
        ({"consistency_weight": -1.0}, "consistency_weight"),
        ({"frequency_warp": 1.5}, "frequency_warp"),
        ({"stem_channels": -1}, "stem_channels"),
        ({"stem_channels": 4, "num_deltas": 1}, "use features without deltas"),
        ({"input_size": 81, "num_deltas": 1}, "multiple of 2"),
        ({"num_phones": 10**9}, "num_phones"),
        ({"pad_token_id": 99}, "pad_token_id, the blank"),
        ({"pad_token_id": None}, "pad_token_id, the blank"),
        ({"num_hidden_layers": 1, "intermediate_ctc_weight": 0.3}, "at least 2 recurrent layers"),
        ({"num_hidden_layers": 2, "intermediate_layer": 3}, "one of the 2 recurrent layers"),
    ],
)
def test_rejects_impossible_configurations(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        ConvGRUConfig(**arguments)
