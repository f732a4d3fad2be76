"""Teachers: models of this package and of transformers that label recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    MoonshineConfig,
    MoonshineForConditionalGeneration,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForSequenceClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    pipeline,
)

from hf_speech.errors import ModelError
from hf_speech.inference.labeling import find_recordings
from hf_speech.inference.teachers import ModelTeacher, PipelineTeacher, open_teacher

TINY = {
    **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
    **{"conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (5, 64), "num_feat_extract_layers": 2},
    **{"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8},
}


def tiny_ctc(folder: Path) -> None:
    torch.manual_seed(0)
    vocabulary = {"<pad>": 0, "|": 1, "<unk>": 2, "a": 3, "b": 4, "c": 5}
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(vocabulary), **TINY))
    model.lm_head.weight.data *= 20
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), bos_token=None, eos_token=None).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(folder)


def tiny_classifier(folder: Path) -> None:
    torch.manual_seed(0)
    names = {0: "noise", 1: "speech", 2: "music"}
    Wav2Vec2ForSequenceClassification(Wav2Vec2Config(id2label=names, num_labels=3, **TINY)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(folder)


def tiny_seq2seq(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    torch.manual_seed(1)
    words = {"<unk>": 0, "<s>": 1, "</s>": 2, "one": 3, "two": 4, "three": 5, "four": 6, "five": 7}
    config = MoonshineConfig(
        **{"vocab_size": len(words), "hidden_size": 32, "intermediate_size": 16, "pad_token_id": 2},
        **{"encoder_num_hidden_layers": 1, "decoder_num_hidden_layers": 1, "max_position_embeddings": 32},
        **{"encoder_num_attention_heads": 2, "decoder_num_attention_heads": 2},
    )
    model = MoonshineForConditionalGeneration(config)
    model.generation_config.max_new_tokens = 6
    model.generation_config.suppress_tokens = [0, 1, 2]  # A random model would not output anything else.
    model.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    ).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(folder)


@pytest.mark.parametrize(
    ("make", "task", "key"),
    [
        (tiny_ctc, "automatic-speech-recognition", "text"),
        (tiny_seq2seq, "automatic-speech-recognition", "text"),
        (tiny_classifier, "audio-classification", "label"),
    ],
)
def test_labels_of_transformers_models_equal_those_of_pipelines(
    make: Any, task: str, key: str, recordings: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    make(tmp_path / "model")
    files = find_recordings([recordings])
    teacher = open_teacher(str(tmp_path / "model"))
    assert isinstance(teacher, PipelineTeacher)
    assert teacher.column == key
    pipe = pipeline(task, model=str(tmp_path / "model"))
    options = {"generate_kwargs": {"num_beams": 1}} if make is tiny_seq2seq else {}  # Teachers do not use beam search.
    for file, label in zip(files, teacher.label(files), strict=True):
        found = pipe({"raw": soundfile.read(file, dtype="float32")[0], "sampling_rate": 8000}, **options)
        best = found[0] if isinstance(found, list) else found
        assert label.answer == best[key].strip()
        assert label.answer
        assert 0 <= label.confidence <= 1
        if key == "label":
            assert label.confidence == pytest.approx(best["score"])
        assert label.duration == pytest.approx(soundfile.info(file).duration, abs=1e-3)


def tiny_masked_ctc(folder: Path) -> None:
    """A CTC model that ignores padding, as the larger ones of wav2vec 2.0 do."""
    tiny_ctc(folder)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=6, feat_extract_norm="layer", do_stable_layer_norm=True, **TINY))
    model.lm_head.weight.data *= 20
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=8000, return_attention_mask=True).save_pretrained(folder)


def tiny_whisper(folder: Path) -> None:
    tiny_seq2seq(folder)
    torch.manual_seed(0)
    config = WhisperConfig(
        **{"vocab_size": 8, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_mel_bins": 8},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16},
        **{"max_source_positions": 50, "max_target_positions": 16, "pad_token_id": 2, "eos_token_id": 2},
        **{"bos_token_id": 1, "decoder_start_token_id": 1, "suppress_tokens": None, "begin_suppress_tokens": None},
    )
    model = WhisperForConditionalGeneration(config)
    for weights in model.parameters():
        weights.data *= 8  # so that the answers depend on the sound
    model.generation_config.update(suppress_tokens=[0, 1], begin_suppress_tokens=None, max_length=12)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8, sampling_rate=8000, chunk_length=1, hop_length=80).save_pretrained(folder)


@pytest.mark.parametrize("make", [tiny_ctc, tiny_masked_ctc, tiny_seq2seq, tiny_whisper, tiny_classifier])
def test_batches_do_not_change_labels(make: Any, recordings: Path, tmp_path: Path) -> None:
    make(tmp_path)
    files = find_recordings([recordings])
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    alone = list(PipelineTeacher(str(tmp_path), batch_size=1).label([*files, broken, files[0]]))
    teacher = PipelineTeacher(str(tmp_path), batch_size=3)
    assert teacher.batch_size == (3 if make in (tiny_masked_ctc, tiny_whisper) else 1)
    batched = list(teacher.label([*files, broken, files[0]]))
    assert [label.answer for label in batched] == [label.answer for label in alone]
    assert len({(label.answer, round(label.confidence, 3)) for label in alone}) > 2, "they depend on the sound"
    assert [label.error is None for label in batched] == [True] * 4 + [False, True]
    for one, other in zip(batched, alone, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
        assert one.duration == other.duration


@pytest.mark.parametrize("make", [tiny_ctc, tiny_seq2seq, tiny_classifier])
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_half_precision_weights_work_on_a_cpu(
    make: Any, precision: torch.dtype, recordings: Path, tmp_path: Path
) -> None:
    make(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({n: w.to(precision) for n, w in weights.items()}, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"dtype": str(precision).partition(".")[2]}), encoding="utf-8"
    )
    labels = list(open_teacher(str(tmp_path)).label(find_recordings([recordings])))
    assert all(label.answer for label in labels)


def test_rejects_models_that_cannot_be_teachers(tmp_path: Path, beeps_run: Path) -> None:
    assert isinstance(open_teacher(str(beeps_run)), ModelTeacher)
    with pytest.raises(ModelError, match=r"cannot be loaded|gives neither"):
        open_teacher(str(tmp_path / "nothing"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    with pytest.raises(ModelError, match=r"BertModel\) gives neither text nor classes"):
        open_teacher(str(tmp_path))


def test_confidence_of_a_recognizer_is_that_of_its_words(beeps_run: Path, recordings: Path) -> None:
    for label in open_teacher(str(beeps_run)).label(find_recordings([recordings])):
        assert label.log_probability is not None
        assert np.log(label.confidence) <= label.log_probability <= 0
