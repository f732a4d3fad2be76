"""Invalid values for the options of all commands: numbers out of range, impossible file names, folders as files."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import soundfile
import typer

from fuzz.folders import SAMPLING_RATE
from hf_speech.cli.app import app, main
from hf_speech.training import load_recipe

RECIPE = """
task: audio-classification
corpus:
  {name: csv, train_file: FOLDER/clips.csv, label_column: label, validation_fraction: 0.25, test_fraction: 0.25}
features: {sampling_rate: 8000, num_mel_bins: 16, hop_length: 80, win_length: 200, normalization: none}
augmentation: {noise_snr: [20, 40]}
model: {hidden_size: 8, num_hidden_layers: 1}
training: {max_steps: 1, per_device_train_batch_size: 4, dataloader_num_workers: 0}
"""

NUMBERS = (
    *("0", "-1", "1", "2", "0.5", "-0.5", "1e-320", "1e308", "-1e308", "nan", "inf", "-inf", "100000", "1000000000"),
    *("2147483648", "-2147483649", "9223372036854775808", "340282366920938463463374607431768211456"),
)
NO_NUMBERS = ("9" * 5000, "1e400", "0x10", "1_000", "1,5", "1e", "--1", "٣", "½", "1 2", "01", "1.0.0", "-0", "NaN")
LISTS = ("[]", "[0, 0]", "[1, 0]", "[-1, 1]", "[nan, 1]", "[1, inf]", "[0.5]", "[1, 2, 3]", "[a, b]", "[1e9, 1e9]")
WORDS = (
    *("", " ", "\t", "\n", "-", "--", "none", "null", "~", "true", "False", "yes", "{}", "[" * 200, "{" * 2000),
    *("a: b", "- a", "&a [*a]", "*a", "!!python/object:os.system x", "!!int x", "%", "@", "`", "'", '"', "\\"),
    *("\x1b[2J", "é", "e\u0301", "\u202e", "\ud800", "💥", "a" * 300, "a" * 5000, "a/" * 3000, "x" * 255, "../.."),
    *("a,b", "a=b", "a:b", "${HOME}", "%s", "{0}", "CON", "1..2", "2..1:log", "someone/model@x", "a@b@c"),
)
PATHS = (
    *(".", "..", "/", "/dev/null", "/dev/full", "/proc/self/mem", "/proc/nothing", "/root/\x01", "~nobody/x"),
    *("FOLDER", "FOLDER/clips.csv", "FOLDER/clips.csv/x", "FOLDER/loop", "FOLDER/loop/x", "FOLDER/locked/x"),
    *("FOLDER/empty", "FOLDER/fifo"),
)

# A command line of each verb that works. What a case draws is put behind it, and then the last value counts.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "train": ("FOLDER/classes.yaml", "--output_dir", "FOLDER/out/run", "--overwrite"),
    "evaluate": ("FOLDER/classifier", "--corpus", "csv", "--train_file", "FOLDER/clips.csv", "--label_column", "label"),
    "classify": ("FOLDER/classifier", "FOLDER/0.wav"),
    "transcribe": ("FOLDER/recognizer", "FOLDER/0.wav"),
    "listen": ("FOLDER/recognizer", "FOLDER/0.wav"),
    "export": ("FOLDER/classifier", "--output", "FOLDER/out/onnx", "--no_int8"),
    "build-lm": ("FOLDER/text.txt", "--output", "FOLDER/out/lm.arpa"),
    "tune-decoder": ("FOLDER/recognizer", "--language_model", "FOLDER/lm.arpa", "--corpus", "csv"),
    "tune-detector": ("FOLDER/recognizer", "--corpus", "csv"),
    "explore": ("FOLDER/classes.yaml", "--output", "FOLDER/out/explored"),
    "download": ("folder",),
    "demo": ("FOLDER/classifier", "--no_browser"),
    "compare": ("FOLDER/classes.yaml", "--over", "model.hidden_size=4", "--output_dir", "FOLDER/out/compare"),
    "search": ("FOLDER/classes.yaml", "--over", "model.hidden_size=4", "--trials", "1", "--output_dir", "FOLDER/out/s"),
    "experiments": ("--list",),
    "publish": ("FOLDER/classifier", "--repo_id", "someone/model", "--dry_run"),
    "verify": ("someone/model",),
    "publish-space": ("FOLDER/space", "--repo_id", "someone/space", "--model", "someone/model", "--dry_run"),
    "publish-corpus": ("csv", "--train_file", "FOLDER/clips.csv", "--repo_id", "someone/data", "--license", "mit"),
    "version": (),
}
# Commands with recipe keys as options.
OPEN = ("train", "explore", "compare", "search")
CORPUS_KEYS = ("evaluate", "download", "publish-corpus", "tune-decoder")


class RefusedError(Exception):
    """Raised with the error message of a command."""


class Options:
    """Cases with invalid option values.

    Args:
        models: A folder with the model folders of `make_models`.

    Attributes:
        declared: The only error that may end a command.
    """

    declared = RefusedError

    def __init__(self, models: Path) -> None:
        self.folder = models
        rng = np.random.default_rng(0)
        rows = []
        for number in range(16):
            pitch = 300 if number % 2 else 1200
            time = np.arange(SAMPLING_RATE // 3) / SAMPLING_RATE
            sound = 0.3 * np.sin(2 * np.pi * pitch * time) + rng.normal(0, 0.01, time.shape)
            soundfile.write(models / f"{number}.wav", sound, SAMPLING_RATE)
            rows.append(f"{number}.wav,{'low' if number % 2 else 'high'},{'a b' if number % 2 else 'c'}\n")
        (models / "clips.csv").write_text("path,label,text\n" + "".join(rows), encoding="utf-8")
        (models / "text.txt").write_text("a b c\nb c\n" * 20, encoding="utf-8")
        (models / "classes.yaml").write_text(RECIPE.replace("FOLDER", str(models)), encoding="utf-8")
        (models / "empty").mkdir(exist_ok=True)
        (models / "space").mkdir(exist_ok=True)
        (models / "locked").mkdir(mode=0o500, exist_ok=True)
        if not (models / "loop").is_symlink():
            (models / "loop").symlink_to("loop")
            os.mkfifo(models / "fifo")
        values = load_recipe(models / "classes.yaml").values
        self.keys = {
            f"--{section}.{key}": default
            for section, keys in values.items()
            if isinstance(keys, dict)
            for key, default in keys.items()
        } | {"--name": "", "--task": ""}
        self.options = {str(command.name): list(_options(command)) for command in app.registered_commands}

    def command(self, rng: Random) -> list[str]:
        """Returns a command line with one or two invalid values."""
        verb = rng.choice(("train", "train", "train", *COMMANDS))
        words = [verb, *COMMANDS[verb]]
        for _ in range(rng.choice((1, 1, 2))):
            names = self.options[verb]
            if verb in OPEN and rng.random() < 0.8:
                names = list(self.keys)
            elif verb in CORPUS_KEYS and rng.random() < 0.5:
                names = [key for key in self.keys if key.startswith("--corpus.")]
            if not names or rng.random() < 0.1:
                words[rng.randrange(len(words))] = self.value(rng)
            else:
                name = rng.choice(names)
                words += [name, self.value(rng, self.keys.get(name))]
        return [word.replace("FOLDER", str(self.folder)) for word in words]

    def value(self, rng: Random, default: Any = None) -> str:
        """Returns an invalid value, usually of the right type."""
        kinds = [NUMBERS, NO_NUMBERS, LISTS, WORDS, PATHS]
        if isinstance(default, int | float):
            kinds += [NUMBERS] * 6
        elif isinstance(default, list):
            kinds += [LISTS] * 6
        return rng.choice(rng.choice(kinds))

    def run(self, rng: Random) -> None:
        """Runs a case: a command line in this process.

        Raises:
            RefusedError: With the error message, if it is rejected.
        """
        words = self.command(rng)
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        (self.folder / "out").mkdir()
        output, errors, code = io.StringIO(), io.StringIO(), None
        try:
            with _elsewhere(self.folder / "out"), redirect_stderr(errors), redirect_stdout(output):
                main(words)
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            error.add_note(f"hf-speech {words}")
            raise
        if code:
            said = [line for line in errors.getvalue().splitlines() if line.lower().startswith("error: ")]
            if not said:
                raise AssertionError(f"exit status {code} without a sentence: {words} {errors.getvalue()[-500:]}")
            raise RefusedError(said[-1] if said[-1].endswith((".", "?")) else f"{said[-1]}.")


def _options(command: Any) -> Iterator[str]:
    """Returns the options of a command that take a value."""
    for parameter in typer.main.get_command_from_info(
        command, pretty_exceptions_short=False, rich_markup_mode=None
    ).params:
        if parameter.param_type_name == "option" and not getattr(parameter, "is_flag", False):
            yield parameter.opts[0]


@contextmanager
def _elsewhere(folder: Path) -> Iterator[None]:
    """Runs a command line in a folder; it ends successfully before it would start a demo or loader processes.

    The arguments of this process are not recorded.
    """

    def refuse(*_: Any) -> None:
        raise SystemExit(0)

    loading = "torch.utils.data.dataloader._MultiProcessingDataLoaderIter"
    with chdir(folder), patch("os.execve", refuse), patch(loading, refuse), patch("sys.argv", ["hf-speech"]):
        yield
