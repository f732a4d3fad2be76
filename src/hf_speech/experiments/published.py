"""The five published experiments, each with the published result and the runs that reproduce or improve it."""

from __future__ import annotations

from hf_speech.experiments.suite import ComparisonItem, Experiment, Item, SearchItem

ARABIC, RAVDESS, FSDD = "arabic_speech_commands", "ravdess", "free-spoken-digit-dataset"
AN4, SPEECHOCEAN = "an4", "speechocean762"
ON_AN4 = ("--corpus.name", "an4", "--features.sampling_rate", "16000", "--corpus.validation_fraction", "0.1")
ON_SPEECHOCEAN = ("--corpus.name", "kaldi", "--features.sampling_rate", "16000")
# bfloat16 halves the training time on a CPU that supports it, and quarters that of an LSTM over 17,640 samples.
BF16 = ("--training.bf16", "true")

COMMANDS = Experiment(
    name="commands",
    title="Spoken commands with MFCC and an LSTM",
    published=(
        "Arabic Speech Commands, official split: 99.59% with additional synthetic data "
        "([AraSpot, 2024](https://doi.org/10.1145/3674968))."
    ),
    items=(
        Item(
            "commands-published",
            "as published: fixed-size MFCC, LSTM",
            "published/mfcc_lstm_commands",
            ARABIC,
            minutes=7,
        ),
        Item(
            "commands-improved", "convolutions, bidirectional LSTM, augmentation", "arabic_commands", ARABIC, minutes=20
        ),
        ComparisonItem(
            "commands-normalizations",
            "the published recipe with other normalizations",
            "published/mfcc_lstm_commands",
            ARABIC,
            minutes=28,
            over=("features.normalization=none,utterance,global,peak",),
        ),
        ComparisonItem(
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

UNSEEN_SPEAKERS = ("--split", "speakers", "--test_fraction", "0.1")
EMOTION = Experiment(
    name="emotion",
    title="Emotion from speech",
    published=(
        "RAVDESS, eight classes, test actors not in training: 62 to 76% with frozen self-supervised models of 100 to "
        "300 million parameters. Accuracies on random splits are higher but mean less, because all speakers and "
        "sentences of the test split are also in training."
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
            UNSEEN_SPEAKERS,
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
            # The settings are fixed, so no validation actors are needed.
            ("--validation_fraction", "0"),
            minutes=55,
            folds=5,
            note="The settings were chosen on 6 of these 24 actors: 5, 6, 11, 12, 17 and 18.",
            tuned_on=("05", "06", "11", "12", "17", "18"),
        ),
        ComparisonItem(
            "emotion-features",
            "the improved recipe with other features, 20 epochs, test actors not in training",
            "emotion",
            RAVDESS,
            ("--training.num_train_epochs", "20"),
            minutes=30,
            over=("features.feature_type+features.num_deltas=log_mel+0,log_mel+1,log_mel+2,mfcc+1",),
        ),
        SearchItem(
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

DEEP_SPEECH = Experiment(
    name="deepspeech2",
    title="Deep Speech 2 on LJSpeech",
    published=(
        "on LJSpeech, which needs a GPU; AN4 is used here. On AN4, the word error rate is 9.06% for Kaldi's tri3 and "
        "9.57% for deepspeech.pytorch."
    ),
    items=(
        Item(
            "deepspeech2-published",
            "as published, on AN4",
            "published/deepspeech2_ljspeech",
            AN4,
            (*ON_AN4, *BF16, "--training.num_train_epochs", "10"),
            minutes=60,
            note="10 of the 50 published epochs.",
        ),
        Item(
            "deepspeech2-improved",
            "strided convolutions, two views of each utterance, on AN4",
            "an4",
            AN4,
            # As pretrained/an4 was trained: the validation split is only monitored, and nothing is chosen on it.
            ("--validation_fraction", "0.02"),
            minutes=95,
        ),
    ),
)

RESIDUAL = Experiment(
    name="residual",
    title="Residual CNN and bidirectional GRU on LibriSpeech",
    published="on 100 hours of LibriSpeech, which needs a GPU; AN4 and speechocean762 are used here.",
    items=(
        Item(
            "residual-published-an4",
            "as published, on AN4",
            "published/residual_librispeech",
            AN4,
            (*ON_AN4, *BF16),
            minutes=60,
        ),
        Item(
            "residual-published-speechocean762",
            "as published, on speechocean762",
            "published/residual_librispeech",
            SPEECHOCEAN,
            (*ON_SPEECHOCEAN, *BF16, "--training.num_train_epochs", "1"),
            minutes=40,
            # Evaluating the 2,500 test utterances would take as long as the training.
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
        "FSDD, 2,000 recordings, a random 80% for training. The metric is micro-F1, which equals accuracy for clips "
        "with one label."
    ),
    items=(
        Item(
            "digits-raw",
            "(a) raw samples, LSTM with a mask",
            "published/digits_raw",
            FSDD,
            BF16,
            minutes=12,
            split="validation",
            train_split=True,
            note="5 epochs.",
        ),
        Item(
            "digits-mel",
            "(b) 64 x 35 log-mel, LSTM outputs averaged over time",
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
            BF16,
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
            "trained only on eSpeak NG voices, official split",
            "words_from_text",
            FSDD,
            minutes=5,
            tested_on="fsdd",
        ),
        Item(
            "digits-neural",
            "trained only on eSpeak NG and Kokoro voices, official split",
            "words_from_text",
            FSDD,
            ("--voices", "[en-us, en, en-gb-x-rp, en-gb-scotland, en-029, en-us-nyc, kokoro:CORPORA/voices/kokoro]"),
            minutes=10,
            tested_on="fsdd",
        ),
    ),
)

PUBLISHED = (COMMANDS, EMOTION, DEEP_SPEECH, RESIDUAL, DIGITS)
