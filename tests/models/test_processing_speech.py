"""The processor of recognizers: sound, text, and saving."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoProcessor, AutoTokenizer

from hf_speech.models import ConvGRUConfig, ConvGRUForCTC, SpeechFeatureExtractor, SpeechProcessor
from hf_speech.tasks import TextOptions
from hf_speech.tasks.transcripts import build_tokenizer

AN4 = Path(__file__).resolve().parents[2] / "pretrained" / "an4"
SOUND = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)

# From here on, importing hf_speech raises ImportError.
WITHOUT_THE_PACKAGE = """
import sys
sys.modules["hf_speech"] = None
import numpy, torch
from transformers import AutoModel, AutoModelForCTC, AutoProcessor, pipeline
folder, code = sys.argv[1], {"trust_remote_code": True}
processor = AutoProcessor.from_pretrained(folder, **code)
assert type(processor).__name__ == "SpeechProcessor", type(processor)
inputs = processor(numpy.zeros(16000, dtype=numpy.float32), sampling_rate=16000, text="A B")
encoder = AutoModel.from_pretrained(folder, **code).eval()
assert type(encoder).__name__ == "ConvGRUEncoder"
assert encoder(inputs["input_features"]).last_hidden_state.shape[:2] == (1, 25)
recognizer = AutoModelForCTC.from_pretrained(folder, **code).eval()
assert recognizer(**inputs).loss.isfinite()
assert isinstance(processor.batch_decode(recognizer(**inputs).logits.argmax(-1))[0], str)
processor.save_pretrained(sys.argv[2])
recognizer.save_pretrained(sys.argv[2])
again = pipeline("automatic-speech-recognition", model=sys.argv[2], **code)
assert isinstance(again(numpy.zeros(16000, dtype=numpy.float32))["text"], str)
assert type(AutoProcessor.from_pretrained(sys.argv[2], **code)).__name__ == "SpeechProcessor"
"""


@pytest.fixture
def processor() -> SpeechProcessor:
    return SpeechProcessor(SpeechFeatureExtractor(num_mel_bins=16), build_tokenizer(["ABC"], TextOptions()))


def test_converts_text_to_padded_labels(processor: SpeechProcessor) -> None:
    batch = processor([SOUND, SOUND[:4000]], text=["AB C", "B"], sampling_rate=16_000)
    assert set(batch) == {"input_features", "attention_mask", "labels"}
    assert batch["attention_mask"].sum(1).tolist() == [50, 25]
    ids = processor.tokenizer("AB C").input_ids
    assert batch["labels"].tolist() == [ids, [processor.tokenizer("B").input_ids[0], -100, -100, -100]]
    assert processor.batch_decode(batch["labels"][:1].clamp(min=0), group_tokens=False) == ["AB C"]
    assert batch["labels"].dtype == torch.int64


def test_accepts_only_sound_or_only_text(processor: SpeechProcessor) -> None:
    assert set(processor(SOUND, sampling_rate=16_000)) == {"input_features", "attention_mask"}
    assert processor(text="AB")["labels"].shape == (1, 2)
    assert processor(text=["A", "AB"], return_tensors=None)["labels"] == [
        processor.tokenizer("A").input_ids,
        processor.tokenizer("AB").input_ids,
    ]
    assert processor(text="A", return_tensors="np")["labels"].shape == (1, 1)
    with pytest.raises(ValueError, match="needs sound or text"):
        processor()
    with pytest.raises(ValueError, match="16000 Hz"):
        processor(SOUND, sampling_rate=8000)


def test_a_batch_trains_a_recognizer(processor: SpeechProcessor) -> None:
    model = ConvGRUForCTC(ConvGRUConfig(input_size=16, channels=4, hidden_size=4, vocab_size=len(processor.tokenizer)))
    assert model(**processor(SOUND, text="ABC", sampling_rate=16_000)).loss.isfinite()


def test_saves_its_parts(processor: SpeechProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    assert not (tmp_path / "processor_config.json").exists()
    assert {"preprocessor_config.json", "vocab.json", "processing_speech.py", "feature_extraction_speech.py"} <= {
        path.name for path in tmp_path.iterdir()
    }
    again = AutoProcessor.from_pretrained(tmp_path)
    assert type(again) is SpeechProcessor
    assert again.feature_extractor.num_mel_bins == 16
    assert again.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    # What transformers' pipelines use.
    assert AutoFeatureExtractor.from_pretrained(tmp_path).num_mel_bins == 16
    assert AutoTokenizer.from_pretrained(tmp_path)("AB").input_ids == processor.tokenizer("AB").input_ids
    with pytest.raises(ValueError, match="publish the folder"):
        processor.save_pretrained(tmp_path, push_to_hub=True)


def test_training_saves_the_processor(beeps_run: Path) -> None:
    assert type(AutoProcessor.from_pretrained(beeps_run)) is SpeechProcessor


def test_loads_with_auto_classes_without_the_package(tmp_path: Path) -> None:
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(AN4), str(tmp_path / "saved")]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-2000:]
