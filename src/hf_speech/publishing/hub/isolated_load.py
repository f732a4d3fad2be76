"""A script that loads a published model without hf_speech and runs probe clips through it.

    python -P isolated_load.py REQUEST.json

Like a user without this package, it imports only torch, transformers and safetensors. It writes its results next to
the request: `logits.safetensors`, and `answers.json` with the predictions of `pipeline(...)`, if the task has one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(request_file: Path) -> None:
    """Handles a request: `{"model", "revision", "task", "probes"}`."""
    sys.modules["hf_speech"] = None  # type: ignore[assignment]  # Makes imports of hf_speech raise ImportError.
    import numpy as np
    import torch
    import transformers
    from safetensors.numpy import load_file, save_file
    from transformers.pipelines import check_task
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(1)
    request: dict[str, Any] = json.loads(request_file.read_text(encoding="utf-8"))
    source = {"revision": request["revision"], "trust_remote_code": True}
    config = transformers.AutoConfig.from_pretrained(request["model"], **source)
    head = next((name for name in getattr(config, "auto_map", {}) if name.startswith("AutoModelFor")), None)
    predict: Any = None
    if head is None or head in {auto_class.__name__ for auto_class in check_task(request["task"])[1]["pt"]}:
        predict = transformers.pipeline(request["task"], model=request["model"], device="cpu", **source)
        extractor, model = predict.feature_extractor, predict.model.eval()
    else:  # No pipeline supports this model class.
        extractor = transformers.AutoFeatureExtractor.from_pretrained(request["model"], **source)
        model = getattr(transformers, head).from_pretrained(request["model"], **source).eval()
    rate = int(extractor.sampling_rate)
    prefix = "clip."
    clips = {
        name.removeprefix(prefix): tensor.astype(np.float32) / 32768
        for name, tensor in load_file(request["probes"]).items()
        if name.startswith(prefix)
    }

    def run(sounds: Any) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = model(**extractor(sounds, sampling_rate=rate, return_tensors="pt")).logits
        return logits.float()

    logits = {name: run(clip)[0].numpy() for name, clip in clips.items()}
    batch = run(list(clips.values())).numpy()
    padding = max(
        float(np.abs(batched[: len(alone)] - alone).max())
        for batched, alone in zip(batch, logits.values(), strict=True)
    )
    predictions: dict[str, Any] = {}
    if predict is not None:
        predictions = {name: predict({"raw": clip.copy(), "sampling_rate": rate}) for name, clip in clips.items()}
    save_file({name: np.ascontiguousarray(values) for name, values in logits.items()}, "logits.safetensors")
    answers = {
        "pipeline": {
            name: answer[0]["label"] if isinstance(answer, list) else answer["text"]
            for name, answer in predictions.items()
        },
        "padding": padding,
        "code": [type(model).__module__, type(extractor).__module__],
    }
    Path("answers.json").write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
