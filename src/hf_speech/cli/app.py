"""`hf-speech VERB`: one function a verb, no logic.

Options are written with underscores, as in the scripts of transformers; dashes are accepted too. What a user can cause
ends in one sentence, without a traceback. What only one verb needs is imported by that verb.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from hf_speech.cli import experiments, publishing
from hf_speech.errors import HFSpeechError

CONTEXT = {
    "token_normalize_func": lambda token: token.replace("-", "_"),
    "help_option_names": ["--help"],
}
# Verbs that pass what they do not know on to the recipe.
OPEN_CONTEXT = {**CONTEXT, "allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    help="Train, evaluate and use small speech models: a recipe goes in, a published model comes out.",
    context_settings=CONTEXT,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
)


LanguageModel = Annotated[
    Path | None, typer.Option("--language_model", help="ARPA file: beam search instead of the best path.")
]
LMWeight = Annotated[float | None, typer.Option("--lm_weight", help="Weight of the language model (as tuned).")]
WordScore = Annotated[float | None, typer.Option("--word_score", help="Bonus for each word (as tuned).")]
PhoneWeight = Annotated[
    float | None, typer.Option("--phone_weight", help="Weight of the model's phones, if it writes some (as tuned).")
]
BeamSize = Annotated[int | None, typer.Option("--beam_size", min=1, help="Hypotheses kept (as tuned).")]


@app.command(context_settings=OPEN_CONTEXT)
def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe of the package.")] = "digits",
    output_dir: Annotated[Path | None, typer.Option("--output_dir", help="Run folder (runs/NAME).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run folder.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time went.")] = False,
) -> None:
    """Train a recipe, evaluate the model, and write its run folder.

    Every key of the recipe is an option too: --training.learning_rate 1e-3, --model.hidden_size 64,
    --corpus.name fsdd; an option without a dot is a key of the corpus: --data_dir DIR, --holdout_speaker NAME.
    """
    if recipe.startswith("-"):  # An override that stands where the recipe was left out.
        context.args.insert(0, recipe)
        recipe = "digits"
    from hf_speech.training import load_recipe
    from hf_speech.training import train as train_recipe
    from hf_speech.training.preparation import process_state

    loaded = load_recipe(recipe, [*context.args, *(["--training.profile", "true"] if profile else [])])
    result = train_recipe(loaded, output_dir, resume=resume, overwrite=overwrite, command=_command_line())
    if not process_state().is_main_process:  # Another process evaluates and reports.
        return
    use = "classify" if loaded.task.name == "audio-classification" else "transcribe"
    typer.echo(
        f"\n{_reached(result.metrics, loaded.task.best_metric, loaded.corpus.name)}"
        f"   ({result.num_parameters:,} parameters, trained in {result.seconds / 60:.1f} minutes)\n"
        f"The model lies in {result.run_dir}. Next:\n"
        f"  hf-speech {use} {result.run_dir} SOUND_FILE\n"
        f"  hf-speech evaluate {result.run_dir} --split test\n"
        f"  hf-speech train {result.run_dir / 'recipe.yaml'} --name bigger --model.hidden_size 256"
    )


@app.command(context_settings=OPEN_CONTEXT)
def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A run folder or a Hub id.")],
    corpus: Annotated[str | None, typer.Option("--corpus", help="Corpus (the one it was trained on).")] = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "test",
    output: Annotated[
        Path | None, typer.Option("--output", help="JSON file (in MODEL/evaluation, named by the split).")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch_size", min=1, help="Utterances in a batch.")] = 16,
    language_model: LanguageModel = None,
    lm_weight: LMWeight = None,
    word_score: WordScore = None,
    phone_weight: PhoneWeight = None,
    beam_size: BeamSize = None,
) -> None:
    """Measure a model on a split: metrics with intervals, per class and speaker, as JSON, CSV and PNG.

    Further options are keys of the corpus: --data_dir DIR, --holdout_speaker NAME.
    """
    from hf_speech.evaluation import evaluate_model, format_report
    from hf_speech.inference import BeamOptions, load_model
    from hf_speech.inference.decoders import check_phones
    from hf_speech.training import load_corpus

    _prepare_inference()
    loaded = load_model(model)
    source, rows = load_corpus(model, corpus, split, context.args)
    given = {
        "lm_weight": lm_weight,
        "word_score": word_score,
        "phone_weight": phone_weight,
        "beam_size": beam_size,
    }
    if phone_weight:
        check_phones(loaded)
    beam = None if language_model is None else BeamOptions.beside(language_model, **given)
    report = evaluate_model(
        loaded,
        rows,
        corpus=source.name,
        split=split,
        command=_command_line(),
        batch_size=batch_size,
        bad_rows=source.bad_rows,
        beam=beam,
    )
    if output is None:
        folder = Path(model) / "evaluation" if Path(model).is_dir() else Path("evaluation")
        # Named as training names them, so that what was measured twice is on the model card once.
        name = split if corpus is None else f"{source.name}-{split}"
        output = folder / (f"{name}.json" if beam is None else f"{name}-lm.json")
    report.save(output)
    typer.echo(format_report(report))
    typer.echo(f"Written: {output}")


@app.command()
def classify(
    model: Annotated[str, typer.Argument(help="A run folder, a Hub id, or an exported folder.")],
    files: Annotated[list[str], typer.Argument(help="Sound files.")],
    top_k: Annotated[int, typer.Option("--top_k", min=1, help="Labels to print for each file.")] = 3,
    output_format: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Print the likeliest labels of sound files with their probabilities."""
    from hf_speech.inference.onnx_description import is_exported

    if output_format not in ("text", "json"):
        raise typer.BadParameter("choose text or json", param_hint="--format")
    if is_exported(model):
        from hf_speech.inference.onnx import classify_files as classify_exported

        results = classify_exported(model, files, top_k=top_k)
    else:
        from hf_speech.inference import classify_files

        _prepare_inference()
        results = classify_files(model, files, top_k=top_k)
    failures = 0
    for result in results:
        if output_format == "json":
            typer.echo(json.dumps(result, ensure_ascii=False))
        elif "error" not in result:
            labels = "   ".join(f"{entry['label']} {entry['score']:.1%}" for entry in result["labels"])
            typer.echo(f"{result['file']}: {labels}")
        if "error" in result:
            failures += 1
            typer.echo(f"error: {result['error']}", err=True)
    if failures:
        raise typer.Exit(1)


@app.command()
def transcribe(
    model: Annotated[str, typer.Argument(help="A run folder, a Hub id, or an exported folder.")],
    files: Annotated[list[str], typer.Argument(help="Sound files.")],
    output_format: Annotated[str, typer.Option("--format", help="text, srt, vtt or json.")] = "text",
    output_dir: Annotated[Path | None, typer.Option("--output_dir", help="Write NAME.FORMAT here.")] = None,
    language_model: Annotated[
        Path | None,
        typer.Option("--language_model", help="ARPA file: beam search; 'auto' for the one that the model brings."),
    ] = None,
    lm_weight: LMWeight = None,
    word_score: WordScore = None,
    phone_weight: PhoneWeight = None,
    beam_size: BeamSize = None,
    hot_words: Annotated[
        str | None, typer.Option("--hot_words", help="Words to prefer, such as names: 'MARY,ZIP'.")
    ] = None,
    hot_word_weight: Annotated[
        float | None, typer.Option("--hot_word_weight", help="Bonus for each hot word (5).")
    ] = None,
    nbest: Annotated[int, typer.Option("--nbest", min=1, help="Texts to write with their scores (text and json).")] = 1,
) -> None:
    """Write what is said in sound files of any length: text, subtitles, or words with times and confidences."""
    from hf_speech.inference import Recognizer, choose_decoder, find_language_model, transcribe_files
    from hf_speech.inference.onnx_description import is_exported
    from hf_speech.inference.transcription import FORMATS

    if output_format not in FORMATS:
        raise typer.BadParameter(f"choose {', '.join(FORMATS)}", param_hint="--format")
    if nbest > 1 and output_format in ("srt", "vtt"):
        raise typer.BadParameter("subtitles hold one text: take --format text or json", param_hint="--nbest")
    recognizer: Recognizer
    if is_exported(model):
        from hf_speech.inference.onnx import ExportedModel

        recognizer = ExportedModel(model, task="automatic-speech-recognition")
    else:
        from hf_speech.inference import load_model

        _prepare_inference()
        recognizer = load_model(model, task="automatic-speech-recognition")
    given = {
        "lm_weight": lm_weight,
        "word_score": word_score,
        "phone_weight": phone_weight,
        "beam_size": beam_size,
    }
    decoder = choose_decoder(
        recognizer, language_model, hot_words=hot_words, num_best=nbest, hot_word_weight=hot_word_weight, **given
    )
    if language_model is None and Path(model).is_dir() and find_language_model(recognizer):
        typer.echo(f"note: {model} brings a language model, which --language_model auto would use.", err=True)
    failures = 0
    for transcript in transcribe_files(recognizer, files, decoder=decoder, num_best=nbest):
        if transcript.error is not None:
            failures += 1
            typer.echo(f"error: {transcript.error}", err=True)
            continue
        content = transcript.format(output_format, scores=nbest > 1)
        if output_dir is not None:
            output_dir.mkdir(parents=True, exist_ok=True)
            target = output_dir / f"{Path(transcript.file).stem}.{'txt' if output_format == 'text' else output_format}"
            target.write_text(content, encoding="utf-8")
            typer.echo(f"Written: {target}")
        elif output_format == "text" and len(files) > 1:
            for line in content.splitlines():
                typer.echo(f"{transcript.file}: {line}")
        else:
            typer.echo(content, nl=False)
    if failures:
        raise typer.Exit(1)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A run folder or a Hub id.")],
    output: Annotated[Path, typer.Option("--output", help="Folder to write.")],
    int8: Annotated[bool, typer.Option("--int8/--no_int8", help="Write quantized files, too.")] = True,
) -> None:
    """Write a model as ONNX files, features inside: they run without PyTorch, in browsers and on servers too."""
    from hf_speech.export.exporting import export_model
    from hf_speech.inference import load_model

    _prepare_inference()
    loaded = load_model(model, device="cpu")
    for file in export_model(loaded, output, int8=int8):
        typer.echo(
            f"Written: {file.path}   {file.precision}, {file.size / 1e6:.1f} MB, logits within "
            f"{file.max_difference:.2g} of PyTorch's, which go up to {file.largest_logit:.3g}"
        )
    use = "classify" if loaded.task.name == "audio-classification" else "transcribe"
    typer.echo(f"Next:\n  hf-speech {use} {output} SOUND_FILE")


@app.command(name="build-lm", context_settings=OPEN_CONTEXT)
def build_lm(
    context: typer.Context,
    text: Annotated[Path, typer.Argument(help="Text file, a sentence a line; or a run folder: what it learned from.")],
    output: Annotated[Path, typer.Option("--output", help="ARPA file to write.")] = Path("language_model.arpa"),
    order: Annotated[int, typer.Option("--order", min=1, max=6, help="Longest n-gram.")] = 4,
) -> None:
    """Build an n-gram language model of a text: modified Kneser-Ney, in ARPA format.

    Of a run folder, the text is that of the training transcripts, as the model writes them; further options are keys of
    its corpus: --data_dir DIR.
    """
    from hf_speech.decoding import build_arpa

    if text.is_dir():
        from hf_speech.inference import load_model
        from hf_speech.training import load_corpus

        _prepare_inference()
        loaded = load_model(text, task="automatic-speech-recognition")
        _, rows = load_corpus(text, None, "train", context.args)
        sentences = loaded.task.references(rows, loaded.model.config, loaded.tokenizer)
    elif text.is_file():
        sentences = text.read_text(encoding="utf-8").splitlines()
    else:
        raise HFSpeechError(f"There is no text {text}: give a file with a sentence in each line, or a run folder.")
    summary = build_arpa(sentences, order, output)
    typer.echo(
        f"{summary.order}-grams of {summary.words:,} words in {summary.sentences:,} sentences\nWritten: {output}"
    )


@app.command(name="tune-decoder", context_settings=OPEN_CONTEXT)
def tune_decoder(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A run folder or a Hub id.")],
    language_model: Annotated[Path, typer.Option("--language_model", help="ARPA file.")],
    corpus: Annotated[str | None, typer.Option("--corpus", help="Corpus (the one it was trained on).")] = None,
    beam_size: BeamSize = None,
) -> None:
    """Find the weights of a language model on the validation split, and write them beside it.

    Further options are keys of the corpus: --data_dir DIR.
    """
    from hf_speech.inference import BeamOptions, load_model, tune_beam
    from hf_speech.training import load_corpus

    _prepare_inference()
    loaded = load_model(model, task="automatic-speech-recognition")
    source, rows = load_corpus(model, corpus, "validation", context.args)
    best, tuning = tune_beam(loaded, rows, BeamOptions.beside(language_model, beam_size=beam_size))
    typer.echo(tuning.format_table())
    if best.phone_weight:
        typer.echo(f"These with phone_weight {best.phone_weight:g}.")
    typer.echo(f"Written: {best.save(corpus=source.name, command=_command_line())}")


@app.command(context_settings=OPEN_CONTEXT)
def explore(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe of the package.")],
    augmented: Annotated[bool, typer.Option("--augmented", help="Show examples as training varies them, too.")] = False,
    output: Annotated[Path | None, typer.Option("--output", help="Folder to write (explored/NAME).")] = None,
    split: Annotated[str, typer.Option("--split", help="Where the examples come from.")] = "train",
    examples: Annotated[
        int | None, typer.Option("--examples", min=1, help="Examples of each class (2); of transcripts in all (8).")
    ] = None,
) -> None:
    """Show a recipe's corpus before training: a table, pictures, examples to listen to, and a page with all of them.

    Every key of the recipe is an option too, as for train: --data_dir DIR, --features.feature_type mfcc.
    """
    from hf_speech.exploration import explore as explore_recipe
    from hf_speech.training import load_recipe

    _prepare_inference()
    exploration = explore_recipe(
        load_recipe(recipe, context.args),
        output,
        augmented=augmented,
        split=split,
        examples=examples,
        command=_command_line(),
    )
    typer.echo(exploration.report)
    for note in exploration.notes:
        typer.echo(f"  note: {note}")
    typer.echo(f"Written: {exploration.page}")


@app.command(context_settings=OPEN_CONTEXT)
def download(
    context: typer.Context,
    corpus: Annotated[str, typer.Argument(help="A corpus, as recipes call it: fsdd, speech_commands, ravdess, ...")],
) -> None:
    """Download and unpack a corpus: resumed where it broke off, verified, and only once.

    Further options are keys of the corpus: --version v0.01. It goes into the cache, $HF_SPEECH_CACHE or else
    ~/.cache/hf_speech, where every recipe finds it.
    """
    from hf_speech.training import load_recipe

    wanted = load_recipe({"corpus": {"name": corpus}}, context.args).corpus
    typer.echo(f"{wanted.title} lies in {wanted.fetch()}; recipes find it there without --data_dir.")


@app.command()
def demo(
    model: Annotated[str, typer.Argument(help="A run folder or a Hub id.")],
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit of a Hub model.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port (the first free one from 7860).")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no_browser", help="Open the browser.")] = True,
    mcp: Annotated[bool, typer.Option("--mcp", help="Be an MCP server, too.")] = False,
) -> None:
    """Try a model in the browser: upload, record, or speak live. The code that comes with the model is run."""
    from hf_speech.demo import run_demo

    _prepare_inference()
    typer.echo(f"Loading {model}")
    run_demo(model, revision=revision, port=port, browser=browser, mcp=mcp)


experiments.register(app, OPEN_CONTEXT)
publishing.register(app, OPEN_CONTEXT)


@app.command()
def version() -> None:
    """Print the versions of this package and of what it stands on."""
    from importlib.metadata import version as installed

    for package in (
        "hf_speech",
        "torch",
        "torchaudio",
        "transformers",
        "datasets",
        "accelerate",
        "huggingface_hub",
    ):
        typer.echo(f"{package} {installed(package)}")


def _prepare_inference() -> None:
    """One thread, the fastest for small recurrences, unless the user chose; no progress bar for loading a few MB."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def _reached(metrics: dict[str, dict[str, float]], metric: str, corpus: str) -> str:
    """How good a trained model is, on the test split if there is one."""
    split = next((name for name in ("test", "validation") if name in metrics), None)
    if split is None:
        return f"Not evaluated: {corpus} has neither a test nor a validation split."
    return f"{metric} on the {split} split of {corpus}: {metrics[split][metric]:.2%}"


def _command_line() -> str:
    """The command as typed, for the record in evaluation files."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; errors a user can remedy end in one sentence and exit status 2."""
    try:
        app(args=arguments, prog_name="hf-speech")
    except HFSpeechError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
