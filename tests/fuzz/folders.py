"""Damaged model folders: configuration, extractor, tokenizer, and header and values of the weights."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from random import Random

import numpy as np
import torch

from fuzz.mutations import EXTREME_INTEGERS, integer_bytes, mutate_bytes, mutate_json
from hf_speech.data.audio import read_audio
from hf_speech.errors import HFSpeechError
from hf_speech.inference import load_model, predict, transcribe_files
from hf_speech.models import (
    ConvGRUConfig,
    ConvGRUForCTC,
    SpeechFeatureExtractor,
    SpeechLSTMConfig,
    SpeechLSTMForAudioClassification,
)
from hf_speech.tasks import TextOptions
from hf_speech.tasks.transcripts import build_tokenizer

SAMPLING_RATE = 8000

# What transformers looks for in these files, beside what we write.
CONFIG_KEYS = (
    *("num_labels", "id2label", "label2id", "return_dict", "output_hidden_states", "output_attentions", "dtype"),
    *("torch_dtype", "quantization_config", "attn_implementation", "_attn_implementation", "tie_word_embeddings"),
    *("problem_type", "auto_map", "model_type", "architectures", "text_config", "audio_config", "pruned_heads"),
    *("_commit_hash", "_name_or_path", "base_model_tp_plan", "vocab_size", "bos_token_id", "gradient_checkpointing"),
    *("subsampling", "head_sizes", "class_weights", "frontend", "stem_channels", "sub_configs", "transformers_weights"),
    *("torchscript", "use_bfloat16", "is_encoder_decoder", "layer_types", "chunk_size_feed_forward", "loss_type"),
)
EXTRACTOR_KEYS = ("feature_extractor_type", "processor_class", "auto_map", "n_fft", "max_duration", "offset", "top_db")
TOKENIZER_KEYS = (
    *("tokenizer_class", "added_tokens_decoder", "auto_map", "extra_special_tokens", "additional_special_tokens"),
    *(
        "word_delimiter_token",
        "vocab_file",
        "target_lang",
        "chat_template",
        "special_tokens_map_file",
        "fast_tokenizer",
    ),
)
TENSOR_KEYS = ("__metadata__", "classifier.weight", "weight", "dtype", "shape", "data_offsets")
KEYS = {"config.json": CONFIG_KEYS, "preprocessor_config.json": EXTRACTOR_KEYS, "tokenizer_config.json": TOKENIZER_KEYS}

EXTRA_FILES = {
    "processor_config.json": '{"feature_extractor": {"sampling_rate": 8000}, "processor_class": "Wav2Vec2Processor"}',
    "adapter_config.json": '{"base_model_name_or_path": "someone/base", "peft_type": "LORA"}',
    "model.safetensors.index.json": '{"metadata": {}, "weight_map": {"classifier.weight": "other.safetensors"}}',
    "added_tokens.json": '{"<extra>": 9}',
    "special_tokens_map.json": '{"pad_token": {"content": "<pad>"}, "additional_special_tokens": ["<x>"]}',
    "tokenizer.json": '{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}',
    "generation_config.json": '{"max_length": 20}',
    "video_preprocessor_config.json": '{"size": 3}',
    "chat_template.json": '{"chat_template": "x"}',
}


class Folders:
    """Cases with damaged model folders.

    Args:
        models: A folder with the model folders of `make_models`.

    Attributes:
        declared: The only errors that may reject a model.
    """

    declared = HFSpeechError

    def __init__(self, models: Path) -> None:
        self.folder = models / "damaged"
        self.wholes = [
            {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
            for folder in sorted(models.iterdir())
            if (folder / "config.json").is_file()
        ]
        time = np.arange(22 * SAMPLING_RATE) / SAMPLING_RATE
        self.samples = 0.3 * np.sin(3000 * time).astype(np.float32)

    def run(self, rng: Random) -> None:
        """Runs a case: loads a damaged folder, and applies the model to half a second of sound or a long recording.

        Raises:
            ModelError: If the model is rejected.
            AudioError: If it cannot process the sound.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for name, content in damage(dict(rng.choice(self.wholes)), rng).items():
            (self.folder / name).write_bytes(content)
        loaded = load_model(self.folder, device="cpu")
        count = len(self.samples) if rng.random() < 0.1 else SAMPLING_RATE // 2
        sound = {"array": self.samples[:count], "sampling_rate": SAMPLING_RATE}
        samples = read_audio(sound, loaded.sampling_rate)
        source = {"array": samples, "sampling_rate": loaded.sampling_rate}
        (prediction,) = predict(loaded, [source], progress=False)
        assert prediction.logits is not None
        if loaded.tokenizer is None:
            loaded.task.decode(prediction.logits, loaded.model.config)
            return
        (transcript,) = transcribe_files(loaded, [source], progress=False)
        for output_format in ("text", "srt", "json"):
            transcript.format(output_format)


def make_models(folder: Path) -> None:
    """Writes small models with random weights: `recognizer`, `streaming`, `classifier`."""
    torch.manual_seed(0)
    sizes = {"sampling_rate": SAMPLING_RATE, "num_mel_bins": 16, "hop_length": 80, "win_length": 200}
    tokenizer = build_tokenizer(["ABC"], TextOptions())
    shape = {"input_size": 16, "hop_length": 80, "vocab_size": len(tokenizer), "channels": 8, "hidden_size": 8}
    for name, more in (
        ("recognizer", {"stem_channels": 4, "num_hidden_layers": 2}),
        ("streaming", {"bidirectional": False, "causal": True, "lookahead": 4, "num_hidden_layers": 1}),
        ("deep", {"frontend": "deepspeech2", "recurrent_norm": "batch", "num_hidden_layers": 1}),
    ):
        ConvGRUForCTC(ConvGRUConfig(**shape, **more)).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        SpeechFeatureExtractor(**sizes).save_pretrained(folder / name)
    labels = {0: "high", 1: "low", 2: "noise"}
    config = SpeechLSTMConfig(
        input_size=16, hidden_size=8, id2label=labels, label2id={label: index for index, label in labels.items()}
    )
    SpeechLSTMForAudioClassification(config).save_pretrained(folder / "classifier")
    extractor = SpeechFeatureExtractor(**sizes, normalization="global")
    extractor.feature_mean, extractor.feature_std = [0.0] * 16, [1.0] * 16
    extractor.save_pretrained(folder / "classifier")


def damage(files: dict[str, bytes], rng: Random) -> dict[str, bytes]:
    """Damages one file of a model folder, sometimes two, or adds one that a library may look for."""
    names = [name for name in files if name.endswith((".json", ".safetensors"))]
    # The configuration and the weights are where sizes are declared.
    chosen = rng.choices((*names, "config.json", "config.json", "model.safetensors"), k=rng.choice((1, 1, 1, 2)))
    for name in sorted(set(chosen)):
        chance = rng.random()
        if chance < 0.03:
            del files[name]
        elif chance < 0.05:
            files[name] = files[rng.choice(names)]
        elif chance < 0.1:
            extra = rng.choice(list(EXTRA_FILES))
            files[extra] = mutate_json(EXTRA_FILES[extra], rng).encode(errors="surrogatepass")
        elif chance < 0.2:
            files[name] = mutate_bytes(files[name], rng)
        elif name.endswith(".safetensors"):
            files[name] = damage_weights(files[name], rng)
        else:
            text = mutate_json(files[name].decode(), rng, KEYS.get(name, ()))
            files[name] = text.encode(errors="surrogatepass")
    return files


def damage_weights(content: bytes, rng: Random) -> bytes:
    """Damages a safetensors file: the length of its header, the header, or its values."""
    (length,) = struct.unpack("<Q", content[:8])
    header, numbers = content[8 : 8 + length], content[8 + length :]
    chance = rng.random()
    if chance < 0.15:
        return integer_bytes(rng.choice((*EXTREME_INTEGERS, length + 1, length - 1)), 8, "little") + header + numbers
    if chance < 0.75:
        header = mutate_json(header.decode(), rng, TENSOR_KEYS).encode(errors="surrogatepass")
    elif chance < 0.85:
        header = _resize(header, rng)
    else:
        values = np.frombuffer(numbers, dtype=np.float32).copy()
        place = rng.randrange(len(values))
        values[place : place + rng.choice((1, 8, len(values)))] = rng.choice((np.nan, np.inf, -np.inf, 3e38, 1e-45))
        numbers = values.tobytes()
    return struct.pack("<Q", len(header)) + header + numbers


def _resize(header: bytes, rng: Random) -> bytes:
    """Changes the order or size of a tensor's shape without changing its bytes."""
    tensors = json.loads(header)
    tensor = tensors[rng.choice([name for name in tensors if name != "__metadata__"])]
    shape = tensor["shape"]
    tensor["shape"] = rng.choice((shape[::-1], [*shape, 1], [int(np.prod(shape))], [0, *shape], [10**9, *shape]))
    return json.dumps(tensors).encode()
