"""SpecAugment for a padded batch: random time and frequency masks, and a warped frequency axis.

As in transformers' own speech models, this belongs to the model rather than to the data pipeline: it is one vectorized
operation on the whole batch, and it depends on the valid frames. Park et al. 2019, arXiv 1904.08779, section 2.
"""

from __future__ import annotations

from typing import Any

import torch

from .recurrent import frame_mask


def _random_spans(sizes: torch.Tensor, num_spans: int, max_width: torch.Tensor, total: int) -> torch.Tensor:
    """Draws spans: widths uniform in `0..max_width`, starts uniform where they fit inside `sizes`.

    Returns booleans `(batch, total)`, true inside a span.
    """
    batch = sizes.shape[0]
    device = sizes.device
    width = (torch.rand(batch, num_spans, device=device) * (max_width[:, None] + 1)).floor()
    start = (torch.rand(batch, num_spans, device=device) * (sizes[:, None] - width + 1)).floor()
    positions = torch.arange(total, device=device)[None, None, :]
    inside = (positions >= start[:, :, None]) & (positions < (start + width)[:, :, None])
    return inside.any(dim=1)


def warp_frequencies(features: torch.Tensor, strongest: float, num_maps: int = 1) -> torch.Tensor:
    """Stretches or squeezes each clip's frequency axis, as a shorter or longer vocal tract does.

    Vocal tract length perturbation (Jaitly & Hinton 2013), by linear interpolation between features.

    Args:
        features: `(batch, frames, features)`, ordered by frequency.
        strongest: The factor of each clip is drawn uniformly between 1 minus and 1 plus this.
        num_maps: Parts of a frame with the same frequencies (mel bins and their deltas), which are all warped equally.

    Returns:
        The warped features, same shape; beyond the highest frequency the last feature is repeated.
    """
    num_bins = features.shape[2] // num_maps
    maps = features.unflatten(2, (num_maps, num_bins))
    factor = 1 + strongest * (2 * torch.rand(len(features), 1, device=features.device) - 1)
    position = (torch.arange(num_bins, device=features.device) * factor).clamp(max=num_bins - 1)
    below = position.floor().long()
    above = (below + 1).clamp(max=num_bins - 1)
    share = (position - below)[:, None, None, :].to(features.dtype)
    lower, upper = (maps.gather(3, index[:, None, None, :].expand_as(maps)) for index in (below, above))
    return torch.lerp(lower, upper, share).flatten(2)


def spec_augment_by_config(features: torch.Tensor, lengths: torch.Tensor, config: Any) -> torch.Tensor:
    """Applies frequency warping and `spec_augment` with the options of a model's configuration."""
    num_maps = getattr(config, "num_deltas", 0) + 1
    if features.shape[2] % num_maps:  # Features that are read as a sequence.
        num_maps = 1
    if getattr(config, "frequency_warp", 0.0):
        features = warp_frequencies(features, config.frequency_warp, num_maps)
    if not config.num_time_masks and not config.num_frequency_masks:
        return features
    return spec_augment(
        features,
        lengths,
        num_time_masks=config.num_time_masks,
        time_mask_width=config.time_mask_width,
        max_time_mask_ratio=config.max_time_mask_ratio,
        num_frequency_masks=config.num_frequency_masks,
        frequency_mask_width=config.frequency_mask_width,
        num_maps=num_maps,
    )


def spec_augment(
    features: torch.Tensor,
    lengths: torch.Tensor,
    num_time_masks: int = 0,
    time_mask_width: int = 0,
    max_time_mask_ratio: float = 0.2,
    num_frequency_masks: int = 0,
    frequency_mask_width: int = 0,
    num_maps: int = 1,
) -> torch.Tensor:
    """Masks random spans of time and bands of frequency.

    A masked value is replaced by the mean of that feature over the clip's valid frames, which is zero after mean
    normalization.

    Args:
        features: `(batch, frames, features)`; padded frames are zero.
        lengths: Valid frames of each clip, `(batch,)`.
        num_time_masks: Time masks per clip.
        time_mask_width: Largest width of a time mask, in frames.
        max_time_mask_ratio: Largest share of a clip's valid frames that a time mask may cover.
        num_frequency_masks: Frequency masks per clip.
        frequency_mask_width: Largest width of a frequency mask, in features of one map.
        num_maps: Parts of a frame with the same frequencies (mel bins and their deltas). A band is masked in all of
            them, because deltas would reveal the masked values.

    Returns:
        The masked features, same shape; padded frames stay zero.
    """
    valid = frame_mask(lengths, features.shape[1])
    masked = torch.zeros_like(features, dtype=torch.bool)
    if num_time_masks and time_mask_width:
        widest = (lengths * max_time_mask_ratio).floor().clamp(max=time_mask_width)
        masked |= _random_spans(lengths, num_time_masks, widest, features.shape[1])[:, :, None]
    if num_frequency_masks and frequency_mask_width:
        num_bins = features.shape[2] // num_maps
        sizes = torch.full_like(lengths, num_bins)
        widest = torch.full_like(lengths, min(frequency_mask_width, num_bins))
        bands = _random_spans(sizes, num_frequency_masks, widest, num_bins)
        masked |= bands.repeat(1, num_maps)[:, None, :]
    mean = features.sum(dim=1, keepdim=True) / lengths.clamp(min=1)[:, None, None]
    return torch.where(masked & valid[:, :, None], mean, features)


__all__ = ["spec_augment", "spec_augment_by_config", "warp_frequencies"]
