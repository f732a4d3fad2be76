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
def test_the_loss_is_that_of_detecting_the_keyword_once_or_nothing(
    model: ConvGRUForKeywordSpotting, keyword: int
) -> None:
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


def test_a_clip_has_the_same_loss_in_a_batch(model: ConvGRUForKeywordSpotting) -> None:
    features, labels = torch.randn(3, 24, 8), torch.tensor([0, 2, 1])
    mask = (torch.arange(24) < torch.tensor([24, 17, 8])[:, None]).long()
    batch = model(features, attention_mask=mask, labels=labels).loss
    alone = [model(features[i : i + 1, : int(mask[i].sum())], labels=labels[i : i + 1]).loss for i in range(3)]
    torch.testing.assert_close(batch, torch.stack(alone).mean())


def test_in_training_clips_follow_each_other(model: ConvGRUForKeywordSpotting) -> None:
    features, labels = torch.randn(4, 24, 8), torch.tensor([2, 0, 1, 2])
    lengths = [24, 12, 16, 8]
    mask = (torch.arange(24) < torch.tensor(lengths)[:, None]).long()
    joined = torch.cat([features[i, : lengths[i]] for i in range(3)])[None]
    first = super(ConvGRUForKeywordSpotting, model).forward(joined, labels=torch.tensor([[2, -100, 1]])).loss
    last = model(features[3:, :8], labels=labels[3:]).loss
    model.train()
    model.config.num_time_masks = model.config.num_frequency_masks = 0
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    loss = model(features, attention_mask=mask, labels=labels).loss
    torch.testing.assert_close(loss, (first + last) / 2)
    loss.backward()
