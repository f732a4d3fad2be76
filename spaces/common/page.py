"""The data of an answer, which page.js draws: player, waveform, features, words or labels.

The answer contains the sound as FLAC at the model's rate: every browser can play it, whatever format was uploaded, and
the server keeps no copy. The browser draws the waveform in the colors of its theme, sharp on any screen; only the
features are an image.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import soundfile
from PIL import Image

from hf_speech.common.text import escape_html
from settings import Settings
from sound import is_silent, readable

_WAVE_COLUMNS = 1200
_MAX_IMAGE_COLUMNS = 3000
# Eight equidistant colors of the colormap cividis, which is suitable for color-blind readers.
_CIVIDIS = (
    (0, 34, 78),
    (42, 63, 109),
    (76, 85, 108),
    (104, 108, 113),
    (134, 131, 119),
    (166, 156, 117),
    (204, 184, 103),
    (254, 232, 56),
)


def sound_input(settings: Settings) -> gr.Audio:
    """Returns the component for a file or the microphone, with the limits above it."""
    gr.Markdown(
        f"Up to {readable(settings.max_seconds)} and {settings.max_megabytes:g} MB: wav, flac, ogg, opus, mp3 or aiff. "
        f"Sounds are erased when you close the page, and after {readable(settings.keep_seconds)} at the latest; "
        "nothing else is stored.",
        elem_classes="fine-print",
    )
    return gr.Audio(
        sources=["upload", "microphone"],
        type="filepath",
        label="Sound",
        editable=False,
        buttons=[],
        elem_id="sound",
    )


def result(label: str, hint: str, elem_id: str | None = None) -> gr.HTML:
    """Returns the component that shows an answer; its value is the data of `view`, a table, or `{"error": sentence}`.

    Args:
        label: Its label.
        hint: The text that is shown before the first answer.
        elem_id: Its id in the page.
    """
    return gr.HTML(
        value=None,
        label=label,
        html_template=f'<div class="answer" data-hint="{escape_html(hint)}"></div>',
        js_on_load=(Path(__file__).parent / "page.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_classes="answer-block",
        elem_id=elem_id,
    )


def view(name: str, samples: np.ndarray, rate: int, features: np.ndarray, features_label: str) -> dict[str, Any]:
    """Returns the data of a sound for page.js.

    Args:
        name: Its file name.
        samples: `(samples,)` in [-1, 1].
        rate: Its sampling rate in Hz.
        features: The model's input, `(frames, features)`.
        features_label: A phrase that describes the features.
    """
    return {
        "name": name,
        "stem": Path(name).stem or "sound",
        "duration": round(len(samples) / rate, 3),
        "audio": f"data:audio/flac;base64,{_base64(_flac(samples, rate))}",
        "wave": _envelope(samples),
        # For silence, the image would show amplified rounding errors.
        "features": f"data:image/png;base64,{_base64(_image(0 * features if is_silent(samples) else features))}",
        "features_label": features_label,
    }


def describe_features(extractor: Any) -> str:
    """Describes the features of an extractor: "80 log-mel bands, a frame every 10 ms"."""
    kinds = {"log_mel": "log-mel bands", "mfcc": "MFCCs", "waveform": "samples", "spectrogram": "frequency bins"}
    kind = kinds.get(getattr(extractor, "feature_type", ""), "features")
    size, hop = getattr(extractor, "feature_size", None), getattr(extractor, "hop_length", None)
    every = f", a frame every {1000 * hop / extractor.sampling_rate:g} ms" if hop else ""
    return f"{f'{size} ' if size else ''}{kind}{every}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _flac(samples: np.ndarray, rate: int) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(samples, -1, 1), rate, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def _envelope(samples: np.ndarray) -> list[list[int]]:
    """Returns the lowest and highest sample of equal intervals, in percent of the loudest sample."""
    starts = np.linspace(0, len(samples), min(_WAVE_COLUMNS, len(samples)), endpoint=False).astype(int)
    lowest, highest = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    scale = 100 / max(float(np.abs(samples).max()), 1e-3)
    envelope: list[list[int]] = (scale * np.stack([lowest, highest], axis=1)).round().astype(int).tolist()
    return envelope


def _image(features: np.ndarray) -> bytes:
    """Draws features `(frames, features)` as a PNG: time to the right, the first feature at the bottom."""
    features = np.asarray(features, dtype=np.float32)
    features = features.reshape(len(features), -1) if features.size else np.zeros((1, 1), dtype=np.float32)
    if len(features) > _MAX_IMAGE_COLUMNS:
        edges = np.linspace(0, len(features), _MAX_IMAGE_COLUMNS, endpoint=False).astype(int)
        features = np.add.reduceat(features, edges) / np.diff([*edges, len(features)])[:, None]
    # Percentiles, so that silence and clicks do not reduce the contrast.
    low, high = np.percentile(features, (2, 99.5))
    levels = np.clip((features - low) / max(high - low, 1e-6), 0, 1)
    image = Image.fromarray(np.ascontiguousarray((255 * levels).astype(np.uint8).T[::-1]), mode="P")
    steps = np.linspace(0, 255, len(_CIVIDIS))
    palette = np.stack([np.interp(np.arange(256), steps, channel) for channel in zip(*_CIVIDIS, strict=True)], axis=1)
    image.putpalette(palette.round().astype(np.uint8).tobytes())
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()
