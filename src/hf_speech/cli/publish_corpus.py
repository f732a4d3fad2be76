"""`hf-speech publish-corpus`."""

from __future__ import annotations

from typing import Annotated

import typer

from hf_speech.cli import options
from hf_speech.cli.publish import report_published
from hf_speech.common.console import echo


def publish_corpus(
    context: typer.Context,
    corpus: Annotated[
        str, typer.Argument(help="Name of the corpus in recipes: folder, csv, fsdd, ...", show_default=False)
    ],
    repo_id: options.RepoIdOption,
    license: Annotated[str, typer.Option("--license", help="Hub identifier of the recordings' license.")],
    language: Annotated[
        list[str] | None, typer.Option("--language", help="Language code, such as en; may be repeated.")
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Title of the card.")] = None,
    public: options.PublicOption = False,
    tag: options.TagOption = None,
    create_pr: options.CreatePROption = False,
    message: options.MessageOption = None,
    dry_run: options.DryRunOption = False,
    verify: options.VerifyOption = True,
) -> None:
    """Publish a corpus as a dataset on the Hub.

    Writes Parquet files and a card. Keys of the corpus are further options: --data_dir DIR, --speaker_pattern PATTERN.
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
        notify=echo,
    )
    report_published(done)
