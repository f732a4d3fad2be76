"""All experiments: the published ones, and more on mixtures, warm starts, pseudo-labels, grammars and keywords."""

from __future__ import annotations

from hf_speech.experiments.adaptation import AdaptationItem
from hf_speech.experiments.enrollment import EnrollmentItem
from hf_speech.experiments.grammars import GrammarItem
from hf_speech.experiments.pseudo_labels import PseudoLabelItem, labels_path
from hf_speech.experiments.published import AN4, ARABIC, FSDD, PUBLISHED, RAVDESS, SPEECHOCEAN
from hf_speech.experiments.suite import RUNS, Experiment, Item

LISTENER = ("--model.dropout", "0.1", "--augmentation.variants", "2")
SMALL_EMOTION = ("--model.hidden_size", "144")
# A folder with two subfolders: train-clean-5 of LibriSpeech and cv-valid-dev of Common Voice.
LISTENING = "listening"


def taught_by_whisper(weight: float, mean_weight: float) -> tuple[str, str]:
    """Returns the option for a teacher that knows speech, but no emotions."""
    options = f"layers: [1, 3], weight: {weight:g}, mean_weight: {mean_weight:g}"
    return "--training.teacher", f"{{model: CORPORA/whisper-tiny.en, {options}}}"


DISTILLED = (
    *(*SMALL_EMOTION, *taught_by_whisper(0.4, 0.7), "--training.num_train_epochs", "25"),
    *("--validation_fraction", "0"),
)
LESS_REGULARIZED = (
    *(*SMALL_EMOTION, *taught_by_whisper(0.5, 0.8), "--model.dropout", "0.1"),
    *("--model.num_time_masks", "1", "--model.num_frequency_masks", "1", "--validation_fraction", "0"),
)


def listener(
    name: str, description: str, mean_weight: float, epochs: int, options: tuple[str, ...], base: str = ""
) -> Item:
    """Returns a training on the states of Whisper alone, without labels."""
    return Item(
        name,
        description,
        "emotion",
        LISTENING,
        (
            *("--corpus.name", "folder", "--name", "listener", *SMALL_EMOTION, *options),
            *(*taught_by_whisper(1, mean_weight), "--training.num_train_epochs", str(epochs)),
            *("--bad_rows", "skip", "--test_fraction", "0", "--validation_fraction", "0.02"),
        ),
        minutes=25,
        split="validation",
        base=base,
        is_labeled=False,
    )


SIX_CLASSES = "labels: {calm: null, surprised: null}"
TWO_CORPORA = Experiment(
    name="two-corpora",
    title="Emotion from two corpora, with a distilled encoder",
    published=(
        "CREMA-D, six classes, audio only: 40.9% by human listeners "
        "([Cao et al. 2014](https://doi.org/10.1109/TAFFC.2014.2336244))."
    ),
    items=(
        listener(
            "emotion-listener-start",
            "base model: predicts states of Whisper tiny.en on 10 h of LibriSpeech and Common Voice, without labels",
            mean_weight=0,
            epochs=10,
            options=LISTENER,
        ),
        listener(
            "emotion-listener",
            "base model: the same, continued with their means over each recording",
            mean_weight=0.7,
            epochs=6,
            options=LISTENER,
            base="emotion-listener-start",
        ),
        listener(
            "emotion-listener-fast",
            "base model: both in one training, without masks and dropout, with four times the learning rate",
            mean_weight=0.9,
            epochs=14,
            options=(
                *("--model.dropout", "0", "--model.num_time_masks", "0", "--model.num_frequency_masks", "0"),
                *("--augmentation.variants", "3", "--augmentation.probability", "0.5"),
                *("--training.learning_rate", "4e-3"),
            ),
        ),
        Item(
            "emotion-distilled",
            "RAVDESS alone, eight classes, five folds by actor",
            "emotion",
            RAVDESS,
            DISTILLED,
            minutes=18,
            folds=5,
            note="The settings were chosen on 6 of these 24 actors: 5, 6, 11, 12, 17 and 18.",
            tuned_on=("05", "06", "11", "12", "17", "18"),
            base="emotion-listener",
        ),
        Item(
            "emotion-ravdess",
            "RAVDESS alone, the six classes of CREMA-D, five folds by actor",
            "emotion",
            ".",
            (
                *("--corpus", f"[{{name: ravdess, weight: 1, {SIX_CLASSES}}}, {{name: crema_d, weight: 0}}]"),
                *DISTILLED,
            ),
            minutes=15,
            folds=5,
            note="The settings were chosen on 6 of the 24 actors.",
            base="emotion-listener",
        ),
        Item(
            "emotion-crema",
            "CREMA-D alone, five folds by actor",
            "emotion",
            ".",
            (
                *("--corpus", f"[{{name: crema_d, weight: 1}}, {{name: ravdess, weight: 0, {SIX_CLASSES}}}]"),
                *(*LESS_REGULARIZED, "--training.learning_rate", "2e-3", "--training.num_train_epochs", "14"),
            ),
            minutes=50,
            folds=5,
            note="The settings were chosen on 17 of the 91 actors, by validation and test of the usual split.",
            base="emotion-listener",
        ),
        Item(
            "emotion-both",
            "both corpora, RAVDESS with its eight classes, five folds by actor",
            "emotion",
            ".",
            (
                *("--corpus", "[{name: ravdess, weight: 3}, {name: crema_d, weight: 5}]"),
                *(*LESS_REGULARIZED, "--training.learning_rate", "4e-3", "--training.num_train_epochs", "12"),
                *("--augmentation.variants", "3"),
            ),
            minutes=60,
            folds=5,
            note="The settings were chosen on 8 of the 24 and 17 of the 91 actors.",
            base="emotion-listener-fast",
        ),
    ),
)

FINE_TUNING = Experiment(
    name="fine-tuning",
    title="Starting from a model",
    published="nothing comparable; all rows are measured here.",
    items=(
        Item(
            "warm-english",
            "base model: eight English words of mini Speech Commands",
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
            "a tenth of Arabic Speech Commands, from the English base model",
            "arabic_commands",
            ARABIC,
            ("--train_fraction", "0.1"),
            minutes=6,
            base="warm-english",
        ),
        Item(
            "warm-speechocean762",
            "speechocean762, from the ten-hour pretrained/english (for random weights, see Residual CNN above)",
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
        AdaptationItem(
            "one-voice",
            "adapting to a new speaker: each FSDD speaker held out in turn (settings revised once, after george)",
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


def pseudo_labeled(name: str, description: str, teacher: str) -> PseudoLabelItem:
    """Returns a training on AN4 with transcripts for a fifth of the recordings and a teacher's labels for the rest."""
    labels = labels_path(name)
    table = f"{{name: csv, data_dir: {labels.parent}, train_file: {labels.name}, text_column: text, "
    return PseudoLabelItem(
        name,
        description,
        "an4",
        ".",
        (
            *("--corpus", f"[{{name: an4, train_fraction: 0.2}}, {table}{TRAINING_ONLY}}}]"),
            # The corpus's own dictionary lacks words that occur only in a teacher's labels.
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
    published="nothing comparable; all rows are measured here.",
    items=(
        Item(
            "an4-fifth",
            "AN4, only the transcribed fifth of its training recordings",
            "an4",
            AN4,
            ("--train_fraction", "0.2", "--validation_fraction", "0", "--text.lexicon", "cmudict"),
            minutes=15,
        ),
        pseudo_labeled(
            "an4-taught", "plus labels by pretrained/an4, which was trained on all transcripts", "pretrained/an4"
        ),
        pseudo_labeled("an4-second-round", "plus labels by the model of the row above", "an4-taught"),
        pseudo_labeled("an4-self-taught", "plus labels by the model of the first row", "an4-fifth"),
    ),
)

NO_WORKERS = ("--training.dataloader_num_workers", "0")
WAKE_WORDS = "wake-word-benchmark/audio"
SPEECH = "[CORPORA/LibriSpeech/train-clean-5, CORPORA/noise/train]"
OTHER_NEGATIVES = (
    *("--validation_negatives", "[CORPORA/LibriSpeech/dev-clean, CORPORA/noise/validation]"),
    *("--test_negatives", "[CORPORA/LibriSpeech/test-clean, CORPORA/noise/test]"),
)
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
            "eight commands in separate clips, test speakers not in training",
            "mini_speech_commands",
            "mini_speech_commands",
            NO_WORKERS,
            minutes=12,
        ),
        Item(
            "wake-words-start",
            "base model: six wake words in short clips (LibriSpeech/some: 8 speakers of train-clean-5)",
            "wake_words",
            WAKE_WORDS,
            (
                *("--name", "start", "--train_negatives", "[CORPORA/LibriSpeech/some, CORPORA/noise/train]"),
                *("--validation_negatives", "[CORPORA/noise/validation]", "--negative_seconds", "3"),
                *("--clip_copies", "2", "--augmentation.probability", "1", "--augmentation.speed", "null"),
                *("--augmentation.context_folders", "[CORPORA/noise/train]", "--augmentation.noise_snr", "null"),
                *("--augmentation.context_before", "[0.0, 0.1]", "--augmentation.context_after", "[0.1, 0.2]"),
                *("--model.num_time_masks", "0", "--training.num_train_epochs", "8", *NO_WORKERS),
                *("--training.weight_averaging", "0.95"),
            ),
            minutes=2,
            split="validation",
        ),
        Item(
            "wake-words",
            "one detector of six wake words in 5.5 hours of audio; miss rate at 0.5 false alarms per hour in total",
            "wake_words",
            WAKE_WORDS,
            (
                *("--train_negatives", SPEECH, "--augmentation.context_folders", SPEECH),
                *("--augmentation.noise_folder", "CORPORA/noise/train"),
                *(*OTHER_NEGATIVES, "--init_statistics", "refit", *NO_WORKERS),
            ),
            minutes=30,
            note=(
                "The noise is [ESC-10](https://github.com/karolpiczak/ESC-10): folds 1 to 3 for training, 4 for "
                'validation, 5 for the test. 14 damaged recordings of "alexa" were removed. The benchmark does not '
                "name its speakers."
            ),
            base="wake-words-start",
        ),
        EnrollmentItem(
            "new-keywords",
            "new keywords from ten recordings, by the phones of pretrained/english-streaming",
            "wake_words",
            WAKE_WORDS,
            ("--train_negatives", SPEECH, *OTHER_NEGATIVES),
            minutes=10,
            base="pretrained/english-streaming",
            note=(
                'Settings were chosen on "computer" and "jarvis". The recognizer was trained on the speech that the '
                "classifiers and thresholds come from (train-clean-5 and dev-clean), but not on test-clean. Its "
                'training transcripts contain "computer" five times, and the other keywords never. The benchmark does '
                "not name its speakers, so some may be both in the ten recordings and in the others."
            ),
        ),
    ),
)

NEURAL_VOICES = ("piper:CORPORA/voices/piper", "kokoro:CORPORA/voices/kokoro")
UNRECORDED = Experiment(
    name="unrecorded",
    title="From text alone",
    published=(
        "nothing comparable. For digits trained on synthetic voices only, see Spoken digits; for AN4 trained on its "
        "own recordings, see Deep Speech 2."
    ),
    items=(
        GrammarItem(
            "an4-grammar",
            "AN4 from a grammar, synthetic voices and audiobooks, without any of its recordings",
            "examples/an4.yaml",
            AN4,
            ("--corpus.1.data_dir", "CORPORA/pieces"),
            minutes=30,
            tested_on="an4",
            text="examples/an4.jsgf",
            init_from=f"{RUNS}/english_pieces",
            voices=(
                *("en-us", "en-us-nyc", "en-gb-scotland", "en-029"),
                *NEURAL_VOICES,
            ),
            sentences=1000,
            note="Starts from runs/english_pieces of docs/english.md, trained on ten hours of LibriSpeech.",
        ),
        GrammarItem(
            "digits-grammar",
            "spoken digits from a grammar and synthetic voices, without a recording of them",
            "examples/digits.yaml",
            FSDD,
            minutes=30,
            tested_on="fsdd",
            test_options={"transcripts": True},
            text="examples/digits.jsgf",
            init_from="pretrained/english",
            voices=(
                *("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc"),
                *NEURAL_VOICES,
            ),
            note="The settings were chosen on 300 clips of the training split.",
        ),
    ),
)

EXPERIMENTS = (*PUBLISHED, TWO_CORPORA, FINE_TUNING, TEACHER, UNRECORDED, KEYWORDS)
