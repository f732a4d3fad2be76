"""The verbs of `hf-speech` that speak to the Hub: publish, verify, publish-space, publish-corpus. No logic either.

They stand apart from `cli` for their number of options; `cli` takes them in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

RepoId = Annotated[str, typer.Option("--repo_id", help="NAME/REPO on the Hub, NAME being your login.")]
Public = Annotated[bool, typer.Option("--public", help="Let everybody see it; otherwise it is private.")]
Tag = Annotated[str | None, typer.Option("--tag", help="Tag for the commit, such as v1.")]
CreatePR = Annotated[bool, typer.Option("--create_pr", help="Open a pull request instead of committing.")]
Message = Annotated[str | None, typer.Option("--message", help="Title of the commit.")]
DryRun = Annotated[bool, typer.Option("--dry_run", help="Show files and card; send nothing.")]
Verify = Annotated[bool, typer.Option("--verify/--no_verify", help="Download the commit again and compare.")]


def publish(
    run_dir: Annotated[Path, typer.Argument(help="A run folder.")],
    repo_id: RepoId,
    public: Public = False,
    tag: Tag = None,
    create_pr: CreatePR = False,
    message: Message = None,
    license: Annotated[
        str | None, typer.Option("--license", help="The Hub's name of the license (what LICENSE says, or apache-2.0).")
    ] = None,
    card: Annotated[Path | None, typer.Option("--card", help="A card of your own instead of the rendered one.")] = None,
    dry_run: DryRun = False,
    verify: Verify = True,
) -> None:
    """Publish a run folder as a model: checked, in one commit, private, and loaded back by its sha.

    The token is the one of `hf auth login` or HF_TOKEN. Running the command again finishes what was interrupted.
    """
    from hf_speech.cli.app import _prepare_inference
    from hf_speech.publishing.model import publish as publish_run

    _prepare_inference()
    done = publish_run(
        run_dir,
        repo_id,
        public=public,
        tag=tag,
        create_pr=create_pr,
        message=message,
        license=license,
        card=card,
        dry_run=dry_run,
        verify=verify,
        tell=typer.echo,
    )
    _report(done)
    if done.pushed is not None:
        typer.echo(f"Anybody who may see it can check it: hf-speech verify {repo_id}@{done.pushed.commit}")


def verify(
    context: typer.Context,
    repo: Annotated[str, typer.Argument(help="NAME/REPO@REVISION; without @ the main branch.")],
    kind: Annotated[str, typer.Option("--kind", help="model, space or dataset.")] = "model",
    run_dir: Annotated[
        Path | None, typer.Option("--run_dir", help="Compare with the logits of this folder (those it brings).")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust_remote_code", help="Run code that is not this package's own.")
    ] = False,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Evaluate it again, and compare with the card's figures.")
    ] = False,
    corpus: Annotated[str | None, typer.Option("--corpus", help="Corpus (the one it was trained on).")] = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "test",
) -> None:
    """Download a published model, load it without hf_speech, and compare what it computes.

    Of a Space, the front matter and requirements are looked at; of a data set, every row is compared with its checksum.
    With --evaluate, further options are keys of the corpus: --data_dir DIR, --holdout_speaker NAME.
    """
    from hf_speech.cli.app import _command_line, _prepare_inference
    from hf_speech.errors import HFSpeechError
    from hf_speech.publishing.hub.probes import make_probes
    from hf_speech.publishing.hub.verify import downloaded, verify_figures, verify_model

    if context.args and not evaluate:
        raise HFSpeechError(f"{context.args[0]} is an option of the corpus: pass --evaluate too, or leave it out.")
    if kind not in ("model", "space", "dataset"):
        raise typer.BadParameter("choose model, space or dataset", param_hint="--kind")
    name, _, revision = repo.partition("@")
    if kind != "model":
        _verify_other(name, revision or None, kind)
        return
    against = None if run_dir is None else make_probes(run_dir)
    with downloaded(name, revision or None) as copy:
        found = [verify_model(copy, trust_code=trust_remote_code, against=against)]
        typer.echo(found[0].summary())
        if evaluate:
            from hf_speech.evaluation import evaluate_model
            from hf_speech.inference import load_model
            from hf_speech.training import load_corpus

            _prepare_inference()
            source, rows = load_corpus(copy.folder, corpus, split, context.args)
            loaded = load_model(copy.folder)
            report = evaluate_model(
                loaded, rows, corpus=source.name, split=split, command=_command_line(), bad_rows=source.bad_rows
            )
            found.append(verify_figures(copy, report.to_dict()))
            typer.echo(found[1].summary())
    if not all(verification.ok for verification in found):
        raise typer.Exit(1)


def _verify_other(name: str, revision: str | None, kind: str) -> None:
    """Verifies a Space or a data set."""
    from hf_speech.publishing.corpus import verify_corpus
    from hf_speech.publishing.hub.verify import downloaded
    from hf_speech.publishing.space import verify_space

    with downloaded(name, revision, "space" if kind == "space" else "dataset") as copy:
        found = verify_space(copy) if kind == "space" else verify_corpus(copy)
    typer.echo(found.summary())
    if not found.ok:
        raise typer.Exit(1)


def publish_space(
    folder: Annotated[Path, typer.Argument(help="A Space, such as spaces/transcribe.")],
    repo_id: RepoId,
    model: Annotated[str, typer.Option("--model", help="NAME/MODEL, or NAME/MODEL@REVISION.")],
    variable: Annotated[list[str] | None, typer.Option("--variable", help="NAME=VALUE; may be given again.")] = None,
    secret: Annotated[
        list[str] | None, typer.Option("--secret", help="NAME, or NAME=VARIABLE; may be given again.")
    ] = None,
    hardware: Annotated[str | None, typer.Option("--hardware", help="Such as cpu-upgrade.")] = None,
    public: Public = False,
    tag: Tag = None,
    create_pr: CreatePR = False,
    message: Message = None,
    dry_run: DryRun = False,
    verify: Verify = True,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait for the Hub to have built it.")] = 0,
) -> None:
    """Publish a folder as a Space that shows a model, pinned to the model's commit.

    The value of a secret is that of the environment variable NAME or VARIABLE here: --secret HF_TOKEN=READ_TOKEN lets
    the Space load a private model.
    """
    from hf_speech.publishing.space import parse_variables
    from hf_speech.publishing.space import publish_space as publish_folder

    done = publish_folder(
        folder,
        repo_id,
        model=model,
        variables=parse_variables(variable or []),
        secrets=secret or [],
        hardware=hardware,
        public=public,
        tag=tag,
        create_pr=create_pr,
        message=message,
        dry_run=dry_run,
        verify=verify,
        wait=wait,
        tell=typer.echo,
    )
    _report(done)


def publish_corpus(
    context: typer.Context,
    corpus: Annotated[str, typer.Argument(help="A corpus, as recipes name it: folder, csv, fsdd, synthetic, ...")],
    repo_id: RepoId,
    license: Annotated[str, typer.Option("--license", help="The Hub's name of the recordings' license.")],
    language: Annotated[list[str] | None, typer.Option("--language", help="Such as en; may be given again.")] = None,
    title: Annotated[str | None, typer.Option("--title", help="What the card calls it.")] = None,
    public: Public = False,
    tag: Tag = None,
    create_pr: CreatePR = False,
    message: Message = None,
    dry_run: DryRun = False,
    verify: Verify = True,
) -> None:
    """Publish a corpus as a data set: Parquet files and a card.

    Further options are keys of the corpus: --data_dir DIR, --speaker_pattern PATTERN.
    """
    from hf_speech.publishing.corpus import publish_corpus as publish_rows
    from hf_speech.training import load_recipe

    recipe = load_recipe({"corpus": {"name": corpus}}, context.args)
    done = publish_rows(
        recipe.corpus,
        repo_id,
        license=license,
        languages=language or [],
        title=title,
        options=recipe.values["corpus"],
        public=public,
        tag=tag,
        create_pr=create_pr,
        message=message,
        dry_run=dry_run,
        verify=verify,
        tell=typer.echo,
    )
    _report(done)


def _report(done: Any) -> None:
    """The end of what was told: files and card of a dry run, or what is on the Hub now."""
    if done.pushed is None:
        typer.echo(f"{done.tree}\n\n{done.card}\nNothing was sent: this was a dry run.")
        return
    if done.verification is not None:
        typer.echo(done.verification.summary())
    seen = "private" if done.pushed.private else "public"
    typer.echo(f"{done.pushed.pull_request or done.pushed.repository.url} ({seen})")


def register(app: typer.Typer, open_context: dict[str, Any]) -> None:
    """Adds the verbs to an application.

    Args:
        app: The application.
        open_context: Settings of verbs that take a corpus's keys.
    """
    app.command()(publish)
    app.command(context_settings=open_context)(verify)
    app.command(name="publish-space")(publish_space)
    app.command(name="publish-corpus", context_settings=open_context)(publish_corpus)


__all__ = ["register"]
