"""The loss of the keyword spotter."""

from __future__ import annotations

import pytest
import torch

from hf_speech.models import ConvGRUConfig, ConvGRUForKeywordSpotting


@pytest.fixture
def model() -> ConvGRUForKeywordSpotting:
    torch.manual_seed(0)
    config = ConvGRUConfig(
        input_size=8, vocab_size=3, channels=8, hidden_size=8, num_hidden_layers=1, bidirectional=False, causal=True
    )
    return ConvGRUForKeywordSpotting(config).eval()


@pytest.mark.parametrize("keyword", [0, 1, 2])
def test_the_loss_is_that_of_one_detection_or_none(model: ConvGRUForKeywordSpotting, keyword: int) -> None:
    features = torch.randn(1, 16, 8)
    output = model(features, labels=torch.tensor([keyword]))
    log_probabilities = output.logits[0].log_softmax(-1)
    frames = len(log_probabilities)
    assert frames == 4
    # All ways to have one run of the keyword among frames of nothing.
    paths = [
        sum(log_probabilities[i, keyword if start <= i < end else 0] for i in range(frames))
        for start in range(frames)
        for end in range(start + 1, frames + 1)
    ]
    if keyword == 0:
        paths = [log_probabilities[:, 0].sum()]
    torch.testing.assert_close(output.loss, -torch.stack(list(paths)).logsumexp(0))


def test_the_loss_of_a_clip_does_not_depend_on_the_batch(model: ConvGRUForKeywordSpotting) -> None:
    features, labels = torch.randn(3, 24, 8), torch.tensor([0, 2, 1])
    mask = (torch.arange(24) < torch.tensor([24, 17, 8])[:, None]).long()
    batch = model(features, attention_mask=mask, labels=labels).loss
    alone = [model(features[i : i + 1, : int(mask[i].sum())], labels=labels[i : i + 1]).loss for i in range(3)]
    torch.testing.assert_close(batch, torch.stack(alone).mean())


def test_training_concatenates_clips(model: ConvGRUForKeywordSpotting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_speech.models.modeling_keyword_spotting.CLIPS_IN_A_ROW", 3)
    features, labels = torch.randn(4, 24, 8), torch.tensor([2, 0, 1, 2])
    lengths = [24, 13, 18, 8]  # Two are no multiples of the stride.
    mask = (torch.arange(24) < torch.tensor(lengths)[:, None]).long()
    logits = model(torch.cat([features[i, : lengths[i] // 4 * 4] for i in range(3)])[None]).logits
    logits = [*logits.split([6, 3, 4], dim=1), model(features[3:, :8]).logits]
    losses = [
        model._loss(clip, torch.tensor([clip.shape[1]]), torch.tensor([[label or -100]]))
        for clip, label in zip(logits, labels.tolist(), strict=True)
    ]
    model.train()
    model.config.num_time_masks = model.config.num_frequency_masks = 0
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    output = model(features, attention_mask=mask, labels=labels)
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())
    for clip, expected in zip(output.logits, logits, strict=True):
        torch.testing.assert_close(clip[: expected.shape[1]], expected[0])
    output.loss.backward()
