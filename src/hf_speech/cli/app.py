"""The command line `hf-speech VERB`: registers the verbs, one file each, and prints errors as one sentence.

Options use underscores, like the scripts of transformers; dashes are accepted too. Each verb imports its dependencies
inside its function, so that `hf-speech --help` loads neither PyTorch nor transformers.
"""

from __future__ import annotations

import inspect
import os
import re
import signal
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer

from hf_speech.common.console import echo, use_utf8
from hf_speech.common.files import describe_os_error
from hf_speech.errors import HFSpeechError, PreemptedError

# Each verb is a module of this folder with a function of the same name. `hf-speech --help` lists them in this order.
VERBS = (
    "train",
    "adapt",
    "from_text",
    "evaluate",
    "classify",
    "transcribe",
    "label",
    "align",
    "listen",
    "segments",
    "export",
    "build_lm",
    "tune_decoder",
    "tune_detector",
    "explore",
    "download",
    "demo",
    "serve",
    "compare",
    "search",
    "experiments",
    "publish",
    "verify",
    "publish_space",
    "publish_corpus",
    "version",
)

CONTEXT: dict[str, Any] = {
    "token_normalize_func": lambda token: token.replace("-", "_"),
    "help_option_names": ["-h", "--help"],
}
# A verb with a `context` parameter also accepts the keys of a recipe as options.
OPEN_CONTEXT = {**CONTEXT, "allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    help="Train, evaluate, run and publish small speech models.",
    context_settings=CONTEXT,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Plain text prints fast and keeps an error on one line.
    no_args_is_help=True,
    add_completion=False,
)


def _print_version(requested: bool) -> None:
    """Prints the version and exits."""
    if requested:
        from hf_speech import __version__

        echo(f"hf_speech {__version__}")
        raise typer.Exit


@app.callback()
def global_options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train, evaluate, run and publish small speech models."""


for _verb in VERBS:
    _module = import_module(f"hf_speech.cli.{_verb}")
    _function, _class = getattr(_module, _verb), getattr(_module, "COMMAND_CLASS", None)
    _settings = OPEN_CONTEXT if "context" in inspect.signature(_function).parameters else CONTEXT
    app.command(name=_verb.replace("_", "-"), cls=_class, context_settings=_settings)(_function)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; errors that a user can fix print one sentence and exit with 2, or 75 after preemption."""
    use_utf8()
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # No progress bars in files and pipes.
    try:
        app(args=arguments, prog_name="hf-speech")
    except HFSpeechError as error:
        if isinstance(error, PreemptedError):  # A repeated signal must not change the exit status.
            from hf_speech.training.preemption import SIGNALS

            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
        _fail(str(error), error.exit_status)
    except OSError as error:
        _fail(describe_os_error(error))
    except RecursionError:
        _fail("The input is nested too deeply: flatten it.")
    except MemoryError:
        _fail("Out of memory: use smaller batches, shorter recordings or a smaller model.")


def _fail(sentence: str, status: int = 2) -> NoReturn:
    """Prints an error and exits. Further lines are indented, so that a file name with a line break cannot fake one."""
    shortened = re.sub(r"\S{300,}", lambda match: f"{match[0][:100]}...", sentence)
    echo(f"error: {shortened}".replace("\n", "\n  "), error=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
