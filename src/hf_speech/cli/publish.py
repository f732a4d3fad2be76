"""`hf-speech publish`, and the final report that all publishing verbs print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hf_speech.cli import options
from hf_speech.cli.process import prepare_inference
from hf_speech.common.console import echo


def publish(
    run_dir: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    repo_id: options.RepoIdOption,
    public: options.PublicOption = False,
    tag: options.TagOption = None,
    create_pr: options.CreatePROption = False,
    message: options.MessageOption = None,
    license: Annotated[
        str | None,
        typer.Option(
            "--license",
            help="License identifier of the Hub.",
            show_default="that of the LICENSE file, or apache-2.0",
        ),
    ] = None,
    card: Annotated[Path | None, typer.Option("--card", help="Model card to use instead of the generated one.")] = None,
    custom_code: Annotated[
        bool, typer.Option("--custom_code", help="Upload remote code that differs from this package's.")
    ] = False,
    replaces: Annotated[
        str | None, typer.Option("--replaces", help="OWNER/MODEL that this model replaces; its page will link here.")
    ] = None,
    dry_run: options.DryRunOption = False,
    verify: options.VerifyOption = True,
) -> None:
    """Publish a run folder as a model on the Hub.

    Checks the folder, uploads it in one commit to a private repository, and loads the model back from that commit. The
    token comes from `hf auth login` or HF_TOKEN. After an interruption, run the same command again."""
    from hf_speech.publishing.model import publish as publish_run

    prepare_inference()
    done = publish_run(
        run_dir,
        repo_id,
        public=public,
        tag=tag,
        create_pr=create_pr,
        message=message,
        license=license,
        card=card,
        custom_code=custom_code,
        replaces=replaces,
        dry_run=dry_run,
        verify=verify,
        notify=echo,
    )
    report_published(done)
    if done.pushed is not None:
        echo(f"Anyone with access can verify it: hf-speech verify {done.pushed.reference}")


def report_published(done: Any) -> None:
    """Prints the files and the card of a dry run, or the address of the published repository."""
    if done.pushed is None:
        echo(f"{done.tree}\n\n{done.card}\nNothing was sent: this was a dry run.")
        return
    if done.verification is not None:
        echo(done.verification.summary())
    visibility = "private" if done.pushed.private else "public"
    echo(f"{done.pushed.pull_request or done.pushed.repository.url} ({visibility})")
