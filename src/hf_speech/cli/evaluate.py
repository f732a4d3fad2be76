"""`hf-speech evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_speech.cli import options
from hf_speech.cli.process import measure, prepare_inference
from hf_speech.common.console import echo


def evaluate(
    context: typer.Context,
    model: options.ModelArgument,
    corpus: options.CorpusOption = None,
    split: options.SplitOption = "test",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", dir_okay=False, help="JSON file to write.", show_default="MODEL/evaluation/SPLIT.json"
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch_size", min=1, max=65536, help="Utterances per batch.")] = 16,
    language_model: options.LanguageModelOption = None,
    lm_weight: options.LMWeightOption = None,
    word_score: options.WordScoreOption = None,
    phone_weight: options.PhoneWeightOption = None,
    beam_size: options.BeamSizeOption = None,
    noise_folder: options.NoiseFolderOption = None,
    noise_snr: options.NoiseSNROption = None,
    reverberation: Annotated[
        float | None,
        typer.Option(
            "--reverberation", min=0.01, max=20, help="Simulate a room with this reverberation time in seconds."
        ),
    ] = None,
    telephone: Annotated[bool, typer.Option("--telephone", help="Simulate a telephone line: 8 kHz, μ-law.")] = False,
) -> None:
    """Measure a model on a split of a corpus.

    Writes metrics with confidence intervals, overall and per class and speaker, as JSON, CSV and PNG. Keys of the
    corpus are further options: --data_dir DIR, --test_file FILE, --holdout_speaker NAME. Use --split all for a folder
    or table without splits.
    """
    from hf_speech.data.augmentation import Conditions
    from hf_speech.evaluation import format_report
    from hf_speech.evaluation.report import check_destination
    from hf_speech.inference import BeamOptions, load_model
    from hf_speech.inference.decoders import check_phones

    if output is not None:
        check_destination(output)
    snr = options.snr_of_noise(noise_folder, noise_snr)
    prepare_inference()
    loaded = load_model(model)
    given = {"lm_weight": lm_weight, "word_score": word_score, "phone_weight": phone_weight, "beam_size": beam_size}
    if phone_weight:
        check_phones(loaded)
    beam = None
    if language_model is not None or any(value is not None for value in given.values()):
        beam = BeamOptions.beside(language_model, **given)
    conditions = Conditions(reverberation, noise_folder, snr, telephone)
    report = measure(loaded, corpus, split, context.args, batch_size=batch_size, beam=beam, conditions=conditions)
    if output is None:
        folder = Path(model) / "evaluation" if Path(model).is_dir() else Path("evaluation")
        # Training uses the same file names, so that measuring a split again replaces its entry on the model card.
        name = split if corpus is None else f"{report.corpus}-{split}"
        name += "" if reverberation is None else f"-{reverberation:g}s"
        name += "" if noise_folder is None else f"-{snr:g}dB"
        name += "-telephone" if telephone else ""
        name += "" if beam is None else "-beam" if language_model is None else "-lm"
        output = folder / f"{name}.json"
    report.save(output)
    echo(format_report(report))
    if split == "all" and corpus is None and not context.args:
        echo("note: --split all includes the utterances that the model was trained on.")
    echo(f"Written: {output}")
