"""Draws the README's picture: a synthesized digit, what the model sees of it, and what it says.

`python docs/images/draw_example.py` (needs the extra `synthetic`; writes example.png next to this file)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hf_speech import load_model, read_audio
from hf_speech.data import make_corpus
from hf_speech.inference import predict

HERE = Path(__file__).resolve().parent
MODEL = HERE.parents[1] / "pretrained" / "fsdd-digits"
WORD = "seven"


def main() -> None:
    loaded = load_model(MODEL)
    rate = loaded.sampling_rate
    rows = make_corpus("synthetic").load()["test"]
    names = rows.features["label"].names
    audio = next(row["audio"] for row in rows if names[row["label"]] == WORD)
    samples = read_audio(audio, rate)
    features = loaded.feature_extractor(samples, sampling_rate=rate, return_tensors="np")["input_features"][0]
    (prediction,) = predict(loaded, [audio], progress=False)
    logits = prediction.logits
    assert logits is not None
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    labels = [loaded.model.config.id2label[index] for index in range(len(logits))]

    figure = Figure(figsize=(11, 3.1), layout="constrained")
    FigureCanvasAgg(figure)
    wave, mel, bars = figure.subplots(1, 3, width_ratios=(1, 1.1, 0.9))
    wave.plot(np.arange(len(samples)) / rate, samples, linewidth=0.6, color="#0072B2")
    wave.set(title="the sound", xlabel="time (s)", ylabel="amplitude", xlim=(0, len(samples) / rate))
    hop = loaded.feature_extractor.hop_length / rate
    image = mel.imshow(
        features.T, origin="lower", aspect="auto", cmap="cividis", extent=(0, len(features) * hop, 0, features.shape[1])
    )
    figure.colorbar(image, ax=mel, label="log energy")
    mel.set(title="what the model sees", xlabel="time (s)", ylabel="mel band")
    colors = ["#D55E00" if probability == probabilities.max() else "#999999" for probability in probabilities]
    bars.barh(labels, probabilities, color=colors)
    bars.invert_yaxis()
    bars.set(title="what it says", xlabel="probability", xlim=(0, 1))
    for axis in (wave, bars):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / "example.png", dpi=110)


if __name__ == "__main__":
    main()
