"""The five published experiments: what was published, and what is run here for each."""

from __future__ import annotations

from hf_speech.experiments.suite import Experiment, Item, Search, Table
from hf_speech.experiments.voices import Voices

ARABIC, RAVDESS, FSDD = "arabic_speech_commands", "ravdess", "free-spoken-digit-dataset"
AN4, SPEECHOCEAN = "an4", "speechocean762"
ON_AN4 = ("--corpus.name", "an4", "--features.sampling_rate", "16000", "--corpus.validation_fraction", "0.1")
ON_SPEECHOCEAN = ("--corpus.name", "kaldi", "--features.sampling_rate", "16000")
# What was made for a GPU takes half as long on a CPU that computes in bfloat16, and an LSTM over 17,640 samples a
# quarter; what is computed stays the same.
HALF = ("--training.bf16", "true")

COMMANDS = Experiment(
    name="commands",
    title="Spoken commands with MFCC and an LSTM",
    published=(
        "Arabic Speech Commands, official split: 99.59 % with synthetic extra data "
        "([AraSpot, 2024](https://doi.org/10.1145/3674968))."
    ),
    items=(
        Item(
            "commands-published",
            "as published: MFCC of a fixed size, an LSTM",
            "published/mfcc_lstm_commands",
            ARABIC,
            minutes=7,
        ),
        Item(
            "commands-improved", "convolutions, bidirectional LSTM, augmentation", "arabic_commands", ARABIC, minutes=20
        ),
        Table(
            "commands-normalizations",
            "the published recipe with other normalizations",
            "published/mfcc_lstm_commands",
            ARABIC,
            minutes=28,
            over=("features.normalization=none,utterance,global,peak",),
        ),
        Table(
            "commands-features",
            "the published recipe with other features",
            "published/mfcc_lstm_commands",
            ARABIC,
            ("--features.normalization", "global"),
            minutes=45,
            over=("features.feature_type+features.num_deltas=mfcc+0,mfcc+2,log_mel+0,spectrogram+0",),
        ),
    ),
)

UNHEARD = ("--split", "speakers", "--test_fraction", "0.1")
EMOTION = Experiment(
    name="emotion",
    title="Emotion from speech",
    published=(
        "RAVDESS, eight classes, test actors not in training: 62 to 76 % with frozen self-supervised models of 100 to "
        "300 million parameters. Accuracies on random splits are higher and mean less, because every voice and "
        "sentence of the test split is also in training."
    ),
    items=(
        Item(
            "emotion-published",
            "as published: mean MFCCs, an LSTM, 7 classes, random split",
            "published/mfcc_lstm_emotion",
            RAVDESS,
            minutes=5,
            split="validation",
        ),
        Item(
            "emotion-published-unheard",
            "the same, test actors not in training (23, 24)",
            "published/mfcc_lstm_emotion",
            RAVDESS,
            UNHEARD,
            minutes=5,
        ),
        Item(
            "emotion-improved-random",
            "convolutions, bidirectional LSTM, 8 classes, random split",
            "emotion",
            RAVDESS,
            ("--split", "random"),
            minutes=10,
        ),
        Item("emotion-improved", "the same, test actors not in training (23, 24)", "emotion", RAVDESS, minutes=10),
        Item(
            "emotion-improved-folds",
            "the same, five folds by actor",
            "emotion",
            RAVDESS,
            # Nothing is chosen, so no actors need be held back from training to choose by.
            ("--validation_fraction", "0"),
            minutes=55,
            folds=5,
            note="The settings were chosen on actors 5, 6, 11, 12, 17 and 18, who are six of these 24.",
            chosen_on=("05", "06", "11", "12", "17", "18"),
        ),
        Table(
            "emotion-features",
            "the improved recipe with other features, 20 epochs, test actors not in training",
            "emotion",
            RAVDESS,
            ("--training.num_train_epochs", "20"),
            minutes=30,
            over=("features.feature_type+features.num_deltas=log_mel+0,log_mel+1,log_mel+2,mfcc+1",),
        ),
        Search(
            "emotion-search",
            "search over epochs (at most half of the recipe's 50), units and dropout, validated on actors 21 and 22",
            "emotion",
            RAVDESS,
            minutes=50,
            over=("training.num_train_epochs=10..25", "model.hidden_size=64,96,128,192", "model.dropout=0.1..0.5"),
            trials=5,
        ),
    ),
)

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

DEEP_SPEECH = Experiment(
    name="deepspeech2",
    title="Deep Speech 2 on LJSpeech",
    published=(
        "LJSpeech takes a GPU; measured here on AN4, where the word error rate is 9.06 % for Kaldi's tri3 and 9.57 % "
        "for deepspeech.pytorch."
    ),
    items=(
        Item(
            "deepspeech2-published",
            "as published, on AN4",
            "published/deepspeech2_ljspeech",
            AN4,
            (*ON_AN4, *HALF, "--training.num_train_epochs", "10"),
            minutes=60,
            note="10 of the 50 published epochs.",
        ),
        Item(
            "deepspeech2-improved",
            "strided convolutions, two views of each utterance, on AN4",
            "an4",
            AN4,
            # As pretrained/an4 was trained: nothing is chosen by the validation split, which only watches.
            ("--validation_fraction", "0.02"),
            minutes=95,
        ),
    ),
)

RESIDUAL = Experiment(
    name="residual",
    title="Residual CNN and bidirectional GRU on LibriSpeech",
    published="The 100 hours of LibriSpeech take a GPU; measured here on AN4 and speechocean762.",
    items=(
        Item(
            "residual-published-an4",
            "as published, on AN4",
            "published/residual_librispeech",
            AN4,
            (*ON_AN4, *HALF),
            minutes=60,
        ),
        Item(
            "residual-published-speechocean762",
            "as published, on speechocean762",
            "published/residual_librispeech",
            SPEECHOCEAN,
            (*ON_SPEECHOCEAN, *HALF, "--training.num_train_epochs", "1"),
            minutes=40,
            # The 2,500 utterances of the test would take as long again.
            split="validation",
            note="1 of the 10 published epochs.",
        ),
        Item(
            "residual-improved-speechocean762",
            "strided depthwise convolutions, on speechocean762",
            "speechocean762",
            SPEECHOCEAN,
            minutes=90,
        ),
    ),
)

DIGITS = Experiment(
    name="digits",
    title="Spoken digits in four variants",
    published=(
        "FSDD, 2,000 recordings, a random 80 % for training; the metric is micro-F1, which equals accuracy when each "
        "clip has one label."
    ),
    items=(
        Item(
            "digits-raw",
            "(a) raw samples, an LSTM with the mask",
            "published/digits_raw",
            FSDD,
            HALF,
            minutes=12,
            split="validation",
            train_split=True,
            note="5 epochs.",
        ),
        Item(
            "digits-mel",
            "(b) 64 x 35 log-mel, LSTM steps averaged",
            "published/digits_mel",
            FSDD,
            minutes=3,
            split="validation",
            train_split=True,
        ),
        Item(
            "digits-raw-augmented",
            "(c) raw samples, nine-fold augmentation",
            "published/digits_raw_augmented",
            FSDD,
            HALF,
            minutes=30,
            split="validation",
            train_split=True,
            note="1 epoch of 14,400 clips.",
        ),
        Item(
            "digits-mel-augmented",
            "(d) log-mel, nine-fold augmentation",
            "published/digits_mel_augmented",
            FSDD,
            minutes=10,
            split="validation",
            train_split=True,
        ),
        Item("digits-frames", "raw samples in frames of 20 ms, official split", "fsdd_raw", FSDD, minutes=5),
        Item(
            "digits-improved",
            "log-mel, bidirectional LSTM, official split (pretrained/fsdd-digits is an earlier run)",
            "fsdd",
            FSDD,
            minutes=5,
        ),
        Item(
            "digits-espeak",
            "trained on voices of eSpeak NG alone, official split",
            "words_from_text",
            FSDD,
            minutes=5,
            tested_on="fsdd",
        ),
        Item(
            "digits-neural",
            "trained on voices of eSpeak NG and Kokoro alone, official split",
            "words_from_text",
            FSDD,
            ("--voices", "[en-us, en, en-gb-x-rp, en-gb-scotland, en-029, en-us-nyc, kokoro:CORPORA/voices/kokoro]"),
            minutes=10,
            tested_on="fsdd",
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

EXPERIMENTS = (COMMANDS, EMOTION, TWO_CORPORA, DEEP_SPEECH, RESIDUAL, DIGITS, FINE_TUNING, KEYWORDS)
