"""`hf-speech publish-space`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_speech.cli import options
from hf_speech.cli.publish import report_published
from hf_speech.common.console import echo

if TYPE_CHECKING:
    from hf_speech.publishing.delivery import PublishOptions


def publish_space(
    repo_id: options.RepoIdOption,
    model: Annotated[str, typer.Option("--model", help="OWNER/MODEL, or OWNER/MODEL@REVISION.")],
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of the Space, such as spaces/transcribe; omit it with --static.", show_default=False
        ),
    ] = None,
    static: Annotated[
        bool, typer.Option("--static", help="Publish a page that runs the model in the browser, free on the Hub.")
    ] = False,
    title: Annotated[
        str | None, typer.Option("--title", help="Title of the Space.", show_default="the model's name")
    ] = None,
    examples: Annotated[
        Path | None, typer.Option("--examples", help="Folder of short recordings named after their content.")
    ] = None,
    variable: Annotated[list[str] | None, typer.Option("--variable", help="NAME=VALUE; may be repeated.")] = None,
    secret: Annotated[
        list[str] | None, typer.Option("--secret", help="NAME, or NAME=VARIABLE; may be repeated.")
    ] = None,
    hardware: Annotated[
        str | None, typer.Option("--hardware", help="Hub hardware, such as cpu-upgrade, or zero-a10g for ZeroGPU.")
    ] = None,
    public: options.PublicOption = False,
    tag: options.TagOption = None,
    create_pr: options.CreatePROption = False,
    message: options.MessageOption = None,
    dry_run: options.DryRunOption = False,
    verify: options.VerifyOption = True,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait until the Hub has built the Space.")] = 0,
) -> None:
    """Publish a demo of a model as a Space.

    The demo is a folder with a program or, with --static, a page that runs the model in the browser. The Space is
    pinned to the current commit of the model. A secret takes its value from the local environment variable NAME or
    VARIABLE: --secret HF_TOKEN=READ_TOKEN lets the Space load a private model."""
    from hf_speech.publishing.space import parse_variables
    from hf_speech.publishing.space import publish_space as publish_folder
    from hf_speech.publishing.static_space import publish_static_space

    delivery: PublishOptions = {
        "public": public,
        "tag": tag,
        "create_pr": create_pr,
        "message": message,
        "dry_run": dry_run,
        "verify": verify,
        "notify": echo,
    }
    if static:
        if folder or variable or secret or hardware:
            raise typer.BadParameter("A static Space has no folder, variables, secrets or hardware: omit them.")
        report_published(publish_static_space(repo_id, model=model, title=title, examples=examples, **delivery))
        return
    if folder is None:
        raise typer.BadParameter("Give a folder such as spaces/transcribe, or --static.")
    done = publish_folder(
        folder,
        repo_id,
        model=model,
        title=title,
        examples=examples,
        variables=parse_variables(variable or []),
        secrets=secret or [],
        hardware=hardware,
        wait=wait,
        **delivery,
    )
    report_published(done)
