"""Publishes a run folder as a model: loads it, computes its probes, stages it with its card, and uploads it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

from huggingface_hub import metadata_update

from hf_speech.common.hub import Repository
from hf_speech.errors import PublishError
from hf_speech.publishing.checks.secrets import without_secrets
from hf_speech.publishing.checks.structure import read_mapping, read_metadata
from hf_speech.publishing.delivery import PublishOptions, PublishResult, check_options, deliver, published_state
from hf_speech.publishing.hub.probes import PROBE_FILE, keep_if_same, make_probes
from hf_speech.publishing.hub.verify import verify_model
from hf_speech.publishing.staging import check_folder, read_card, stage


def publish(
    run_dir: Path,
    repo_id: str,
    *,
    license: str | None = None,
    card: Path | None = None,
    custom_code: bool = False,
    replaces: str | None = None,
    **options: Unpack[PublishOptions],
) -> PublishResult:
    """Publishes a run folder as a model repository.

    Args:
        run_dir: The run folder.
        repo_id: `NAME/REPO`.
        license: The name of the license on the Hub; None for that of the run folder or the published card.
        card: A file with the card; None to render it from the evaluation files.
        custom_code: Whether remote code may differ from this package's.
        replaces: The repository of an older model, whose card then links to this one.
        **options: See `PublishOptions`.

    Raises:
        PublishError: If the model must not or cannot be published.
        ModelError: If the model cannot be loaded.
    """
    with without_secrets(), tempfile.TemporaryDirectory(prefix="hf-speech-publish-") as temporary:
        run_dir, scratch = Path(run_dir), Path(temporary)
        repository = Repository(repo_id)
        older = None if replaces is None else Repository(replaces)
        check_folder(run_dir)
        own_card = None if card is None else read_card(card)
        check_options(**options)
        probes = make_probes(run_dir)
        state = published_state(repository, **options)
        published_probes = None if state is None else repository.read(PROBE_FILE, state)
        staged = stage(
            run_dir,
            scratch / "staged",
            repo_id=repo_id,
            custom_code=custom_code,
            card=own_card,
            revision=options.get("tag"),
            previous=repository.read_card(state),
            license=license,
            dataset_metadata=_dataset_metadata(run_dir, options.get("notify", print)),
            extra={PROBE_FILE: keep_if_same(probes, published_probes, scratch)},
        )
        done = deliver(
            staged, repository, lambda snapshot: verify_model(snapshot, trust_code=True), since=state, **options
        )
        if older is not None and done.pushed is not None and not options.get("create_pr"):
            link_new_version(older, repo_id)
        return done


def link_new_version(older: Repository, newer: str) -> None:
    """Links the page of an older model to the model that replaces it.

    Raises:
        PublishError: If the older model or its card does not exist, or this login cannot write to it.
    """
    with older.readable_errors():
        metadata_update(older.name, {"new_version": newer}, overwrite=True)


def _dataset_metadata(run_dir: Path, notify: Callable[[str], None]) -> dict[str, Any]:
    """Reads the metadata of the card of the training dataset on the Hub; empty if it cannot be read."""
    corpus = read_mapping(run_dir / "recipe.yaml").get("corpus")
    name = corpus.get("repo") if isinstance(corpus, dict) else None
    if not isinstance(name, str):
        return {}
    try:
        repository = Repository(name, "dataset")
        return read_metadata(repository.read_card(repository.fetch_state()) or "")
    except PublishError as error:
        notify(
            f"The card of the dataset {name} cannot be read ({str(error).rstrip('.')}), so the model card says less "
            "about it."
        )
        return {}
