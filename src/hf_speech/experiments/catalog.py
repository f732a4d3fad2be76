"""All experiments: the published ones, and ours on several corpora, on models to start from, and on keywords."""

from __future__ import annotations

from hf_speech.experiments.published import AN4, ARABIC, FSDD, PUBLISHED, SPEECHOCEAN
from hf_speech.experiments.spoken import FromText
from hf_speech.experiments.suite import RUNS, Experiment, Item
from hf_speech.experiments.taught import Taught, labels_of
from hf_speech.experiments.voices import Voices

FEW_EPOCHS = ("--training.num_train_epochs", "12", "--validation_fraction", "0")
SIX_CLASSES = "labels: {calm: null, surprised: null}"
TWO_CORPORA = Experiment(
    name="two-corpora",
    title="Emotion from two corpora",
    published=(
        "CREMA-D, six classes, voices alone: 40.9 % by its listeners "
        "([Cao et al. 2014](https://doi.org/10.1109/TAFFC.2014.2336244))."
    ),
    items=(
        Item(
            "emotion-both",
            "both, RAVDESS with its eight classes, five folds by actor",
            "emotion",
            ".",
            ("--corpus", "[{name: ravdess, weight: 3}, {name: crema_d, weight: 5}]", *FEW_EPOCHS),
            minutes=70,
            folds=5,
        ),
        Item(
            "emotion-crema",
            "CREMA-D alone, six classes, five folds by actor",
            "emotion",
            ".",
            ("--corpus", f"[{{name: crema_d, weight: 1}}, {{name: ravdess, weight: 0, {SIX_CLASSES}}}]", *FEW_EPOCHS),
            minutes=60,
            folds=5,
        ),
        Item(
            "emotion-ravdess",
            "RAVDESS alone, the same six classes, five folds by actor",
            "emotion",
            ".",
            (
                *("--corpus", f"[{{name: ravdess, weight: 1, {SIX_CLASSES}}}, {{name: crema_d, weight: 0}}]"),
                *("--validation_fraction", "0"),
            ),
            minutes=50,
            folds=5,
        ),
    ),
)

FINE_TUNING = Experiment(
    name="fine-tuning",
    title="Starting from a model",
    published="none of the same kind; all rows are measured here.",
    items=(
        Item(
            "warm-english",
            "eight English words of mini Speech Commands, to start from",
            "arabic_commands",
            "mini_speech_commands",
            ("--corpus.name", "folder", "--speaker_pattern", "([0-9a-f]+)_nohash", "--training.num_train_epochs", "15"),
            minutes=15,
        ),
        Item(
            "warm-arabic-zero",
            "a tenth of Arabic Speech Commands, from random weights",
            "arabic_commands",
            ARABIC,
            ("--train_fraction", "0.1"),
            minutes=6,
        ),
        Item(
            "warm-arabic",
            "a tenth of Arabic Speech Commands, from the model of English words",
            "arabic_commands",
            ARABIC,
            ("--train_fraction", "0.1"),
            minutes=6,
            base="warm-english",
        ),
        Item(
            "warm-speechocean762",
            "speechocean762, from the ten-hour pretrained/english (from random weights: see Residual CNN above)",
            "speechocean762",
            SPEECHOCEAN,
            (
                *("--features.normalization", "global", "--init_from", "pretrained/english"),
                *("--text.normalizer", "lower", "--text.lexicon", "cmudict", "--model.dropout", "0.1"),
                *("--augmentation.probability", "0.4", "--training.num_train_epochs", "12"),
                *("--training.learning_rate", "1e-3", "--training.per_device_train_batch_size", "32"),
            ),
            minutes=25,
        ),
        Voices(
            "one-voice",
            "a new voice: each speaker of FSDD left out, then adapted to (settings revised once after one for george)",
            "fsdd",
            FSDD,
            (
                *("--training.num_train_epochs", "12", "--training.cache_features", "true"),
                *("--augmentation.variants", "4"),
            ),
            minutes=40,
        ),
    ),
)

TRAINING_ONLY = "validation_fraction: 0, test_fraction: 0"


def taught(name: str, what: str, teacher: str) -> Taught:
    """AN4 with the transcripts of a fifth of its training recordings, and a teacher's labels of the others."""
    labels = labels_of(name)
    table = f"{{name: csv, data_dir: {labels.parent}, train_file: {labels.name}, text_column: text, "
    return Taught(
        name,
        what,
        "an4",
        ".",
        (
            *("--corpus", f"[{{name: an4, train_fraction: 0.2}}, {table}{TRAINING_ONLY}}}]"),
            # The corpus's own dictionary lacks words that a teacher invents.
            *("--text.lexicon", "cmudict", "--validation_fraction", "0"),
            *("--training.num_train_epochs", "40"),
        ),
        minutes=40,
        teacher=teacher,
        corpus="an4",
        transcribed=0.2,
    )


TEACHER = Experiment(
    name="teacher",
    title="Learning from a teacher",
    published="none of the same kind; all rows are measured here.",
    items=(
        Item(
            "an4-fifth",
            "AN4, the transcripts of a fifth of its training recordings alone",
            "an4",
            AN4,
            ("--train_fraction", "0.2", "--validation_fraction", "0", "--text.lexicon", "cmudict"),
            minutes=15,
        ),
        taught("an4-taught", "and labels by pretrained/an4, which was trained on all transcripts", "pretrained/an4"),
        taught("an4-second-round", "and labels by the model of the row above", "an4-taught"),
        taught("an4-self-taught", "and labels by the model of the first row", "an4-fifth"),
    ),
)

ALONE = ("--training.dataloader_num_workers", "0")
WAKE_WORDS = "wake-word-benchmark/audio"
SPEECH = "[CORPORA/LibriSpeech/train-clean-5, CORPORA/noise/train]"
KEYWORDS = Experiment(
    name="keywords",
    title="Keywords",
    published=(
        "mini Speech Commands: about 84 % in [TensorFlow's tutorial]"
        "(https://www.tensorflow.org/tutorials/audio/simple_audio), on a random split."
    ),
    items=(
        Item(
            "mini-speech-commands",
            "eight commands as clips, test speakers not in training",
            "mini_speech_commands",
            "mini_speech_commands",
            ALONE,
            minutes=12,
        ),
        Item(
            "wake-words-start",
            "six wake words in short clips, to start from (LibriSpeech/some: 8 speakers of train-clean-5)",
            "wake_words",
            WAKE_WORDS,
            (
                *("--name", "start", "--train_negatives", "[CORPORA/LibriSpeech/some, CORPORA/noise/train]"),
                *("--validation_negatives", "[CORPORA/noise/validation]", "--negative_seconds", "3"),
                *("--clip_copies", "2", "--augmentation.probability", "1", "--augmentation.speed", "null"),
                *("--augmentation.context_folders", "[CORPORA/noise/train]", "--augmentation.noise_snr", "null"),
                *("--augmentation.context_before", "[0.0, 0.1]", "--augmentation.context_after", "[0.1, 0.2]"),
                *("--model.num_time_masks", "0", "--training.num_train_epochs", "8", *ALONE),
                *("--training.weight_averaging", "0.95"),
            ),
            minutes=2,
            split="validation",
        ),
        Item(
            "wake-words",
            "six wake words in a stream, one detector; share missed at 0.5 false alarms an hour in all, 5.6 hours",
            "wake_words",
            WAKE_WORDS,
            (
                *("--train_negatives", SPEECH, "--augmentation.context_folders", SPEECH),
                *("--augmentation.noise_folder", "CORPORA/noise/train"),
                *("--validation_negatives", "[CORPORA/LibriSpeech/dev-clean, CORPORA/noise/validation]"),
                *("--test_negatives", "[CORPORA/LibriSpeech/test-clean, CORPORA/noise/test]"),
                *("--init_statistics", "refit", *ALONE),
            ),
            minutes=30,
            base="wake-words-start",
        ),
    ),
)

UNRECORDED = Experiment(
    name="unrecorded",
    title="From text alone",
    published=(
        "none of the same kind; digits from synthetic voices alone are under Spoken digits, and AN4 from its own "
        "recordings under Deep Speech 2."
    ),
    items=(
        FromText(
            "an4-grammar",
            "AN4 from a grammar, synthetic voices and read books, without one of its recordings",
            "examples/an4.yaml",
            AN4,
            ("--corpus.1.data_dir", "CORPORA/pieces"),
            minutes=30,
            tested_on="an4",
            text="examples/an4.jsgf",
            init_from=f"{RUNS}/english_pieces",
            voices=(
                *("en-us", "en-us-nyc", "en-gb-scotland", "en-029"),
                *("piper:CORPORA/voices/piper", "kokoro:CORPORA/voices/kokoro"),
            ),
            sentences=1000,
            note="It starts from the model of ten hours of LibriSpeech, runs/english_pieces of docs/english.md.",
        ),
    ),
)

EXPERIMENTS = (*PUBLISHED, TWO_CORPORA, FINE_TUNING, TEACHER, UNRECORDED, KEYWORDS)
