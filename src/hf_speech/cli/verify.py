"""`hf-speech verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hf_speech.cli.options import CorpusOption, SplitOption
from hf_speech.cli.process import measure, prepare_inference
from hf_speech.common.console import echo
from hf_speech.errors import HFSpeechError


def verify(
    context: typer.Context,
    repo: Annotated[str, typer.Argument(help="OWNER/NAME@REVISION; without @, the main branch.", show_default=False)],
    kind: Annotated[Literal["model", "space", "dataset"], typer.Option("--kind", help="What it is.")] = "model",
    run_dir: Annotated[
        Path | None, typer.Option("--run_dir", help="Compare with the logits of this run folder.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust_remote_code", help="Run code that differs from this package's own.")
    ] = False,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Evaluate the model again and compare with the metrics on its card.")
    ] = False,
    corpus: CorpusOption = None,
    split: SplitOption = "test",
) -> None:
    """Download a published model and compare its logits.

    The model is loaded without hf_speech. For a Space, this checks the front matter and the requirements; for a data
    set, it compares each row with its checksum. With --evaluate, further options are keys of the corpus: --data_dir
    DIR, --holdout_speaker NAME."""
    from hf_speech.publishing.hub.probes import make_probes
    from hf_speech.publishing.hub.verify import downloaded, verify_figures, verify_model

    if context.args and not evaluate:
        raise HFSpeechError(f"{context.args[0]} is an option of the corpus: pass --evaluate too, or leave it out.")
    name, _, revision = repo.partition("@")
    if kind != "model":
        _verify_other(name, revision or None, kind)
        return
    against = None if run_dir is None else make_probes(run_dir)
    with downloaded(name, revision or None) as snapshot:
        found = [verify_model(snapshot, trust_code=trust_remote_code, against=against)]
        echo(found[0].summary())
        if evaluate:
            from hf_speech.inference import load_model

            prepare_inference()
            report = measure(load_model(snapshot.folder), corpus, split, context.args)
            found.append(verify_figures(snapshot, report.to_dict()))
            echo(found[1].summary())
    if not all(verification.ok for verification in found):
        raise typer.Exit(1)


def _verify_other(name: str, revision: str | None, kind: str) -> None:
    """Verifies a Space or a dataset."""
    from hf_speech.publishing.corpus import verify_corpus
    from hf_speech.publishing.hub.verify import downloaded
    from hf_speech.publishing.space import verify_space

    with downloaded(name, revision, "space" if kind == "space" else "dataset") as snapshot:
        found = verify_space(snapshot) if kind == "space" else verify_corpus(snapshot)
    echo(found.summary())
    if not found.ok:
        raise typer.Exit(1)
