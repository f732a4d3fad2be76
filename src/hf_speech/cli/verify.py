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
    kind: Annotated[Literal["model", "space", "dataset"], typer.Option("--kind", help="Kind of repository.")] = "model",
    run_dir: Annotated[
        Path | None, typer.Option("--run_dir", help="Compare with the logits of the model in this run folder.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust_remote_code", help="Run remote code that differs from this package's.")
    ] = False,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Evaluate the model and compare with the metrics on its card.")
    ] = False,
    corpus: CorpusOption = None,
    split: SplitOption = "test",
) -> None:
    """Download a published model and compare its logits.

    The model is loaded without hf_speech. For a Space, this checks the front matter and the requirements; for a
    dataset, it compares each row with its checksum. With --evaluate, keys of the corpus are further options: --data_dir
    DIR, --holdout_speaker NAME."""
    from hf_speech.publishing.hub.probes import make_probes
    from hf_speech.publishing.hub.verify import downloaded, verify_metrics, verify_model

    if context.args and not evaluate:
        raise HFSpeechError(f"{context.args[0]} is an option of the corpus: add --evaluate, or omit it.")
    name, _, revision = repo.partition("@")
    if kind != "model":
        _verify_other(name, revision or None, kind)
        return
    probes = None if run_dir is None else make_probes(run_dir)
    with downloaded(name, revision or None) as snapshot:
        verifications = [verify_model(snapshot, trust_code=trust_remote_code, against=probes)]
        echo(verifications[0].summary())
        if evaluate:
            from hf_speech.inference import load_model

            prepare_inference()
            report = measure(load_model(snapshot.folder), corpus, split, context.args)
            verifications.append(verify_metrics(snapshot, report.to_dict()))
            echo(verifications[1].summary())
    if not all(verification.ok for verification in verifications):
        raise typer.Exit(1)


def _verify_other(name: str, revision: str | None, kind: str) -> None:
    """Verifies a Space or a dataset."""
    from hf_speech.publishing.corpus import verify_corpus
    from hf_speech.publishing.hub.verify import downloaded
    from hf_speech.publishing.space import verify_space

    with downloaded(name, revision, "space" if kind == "space" else "dataset") as snapshot:
        verification = verify_space(snapshot) if kind == "space" else verify_corpus(snapshot)
    echo(verification.summary())
    if not verification.ok:
        raise typer.Exit(1)
