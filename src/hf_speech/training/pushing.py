"""`push_to_hub: true` pushes snapshots to a separate branch, without publishing them.

transformers' Trainer pushes to the main branch after every checkpoint, by default to a public repository, with a new
card, weights that do not match the card's metrics, and `training_args.bin`, a pickle. Here, a snapshot is one commit of
weights, configuration files and remote code to the branch `training` (or `hub_revision`) of a private repository. The
published model does not change until `hf-speech publish` replaces it.
"""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi
from tqdm.auto import tqdm
from transformers import Trainer
from transformers.utils.hub import PushInProgress

from hf_speech.common.hub import Repository, local_files
from hf_speech.errors import PublishError

BRANCH = "training"
SNAPSHOT = (
    *(
        "model*.safetensors",
        "*.safetensors.index.json",
        "config.json",
        "preprocessor_config.json",
        "processor_config.json",
    ),
    *("vocab.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "*.py"),
)


class SnapshotPushes(Trainer):
    """A Trainer that pushes snapshots to a branch."""

    push_in_progress: Any = None

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Creates the repository, private unless `hub_private_repo` or `private` is False."""
        if private is None:
            private = self.args.hub_private_repo is not False
        if self.args.hub_model_id is None and Path(self.args.output_dir).name == "checkpoints":
            self.args.hub_model_id = Path(self.args.output_dir).absolute().parent.name
        name = self.args.hub_model_id or ""
        with Repository(name if "/" in name else f"you/{name or 'model'}").readable_errors():
            super().init_hf_repo(token=token, private=private)
        if self.hub_model_id is None:  # Another process has created it.
            return
        state = Repository(str(self.hub_model_id)).fetch_state()
        if state is not None and private and not state.private:
            raise PublishError(
                f"{self.hub_model_id} is public: set training.trainer_options.hub_private_repo to false to make the "
                "snapshots public, or choose another hub_model_id."
            )

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: `hf-speech publish` creates cards from evaluation files."""

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Saves the model and pushes it as a snapshot, with the arguments of `Trainer.push_to_hub`.

        Returns:
            The commit hash, or a `Future` of it if `blocking` is False; None in all processes except the first.
        """
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self._finish_current_push()
        title = commit_message or "End of training"
        branch = revision or self.args.hub_revision or BRANCH
        arguments = (Path(self.args.output_dir), str(self.hub_model_id), branch, title, token or self.args.hub_token)
        return push_snapshot(*arguments) if blocking else HfApi().run_as_future(push_snapshot, *arguments)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Pushes a checkpoint in the background, unless the last push is still running."""
        if not self.is_world_process_zero() or self.args.hub_strategy == "end":
            return
        if self.push_in_progress is not None and not self.push_in_progress.is_done() and not self.args.hub_always_push:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        job = HfApi().run_as_future(
            push_snapshot,
            Path(checkpoint_folder),
            str(self.hub_model_id),
            self.args.hub_revision or BRANCH,
            f"Training in progress, step {self.state.global_step}",
            self.args.hub_token,
        )
        job.add_done_callback(_print_failure)
        self.push_in_progress = PushInProgress([job])


def push_snapshot(folder: Path, name: str, branch: str, title: str, token: str | None = None) -> str:
    """Pushes the model in a folder to a branch, in one commit.

    Returns:
        The latest commit hash of the branch.
    """
    repository, api = Repository(name), HfApi(token=token)
    files = {path.name for pattern in SNAPSHOT for path in folder.glob(pattern)}
    if branch != "main":
        with repository.readable_errors():
            api.create_branch(name, branch=branch, exist_ok=True)
    state = repository.fetch_state(branch)
    if state is None:
        raise PublishError(f"There is no model {name} that this login can access: check hub_model_id.")
    changed = [
        file for file, checksums in local_files(folder, files).items() if not checksums.match(state.files.get(file))
    ]
    if not changed:
        return state.commit
    operations = [CommitOperationAdd(file, str(folder / file)) for file in changed]
    with repository.readable_errors():
        commit = api.create_commit(name, operations, commit_message=title, revision=branch, parent_commit=state.commit)
    return str(commit.oid)


def _print_failure(job: Future[str]) -> None:
    """Prints the error of a failed push; training continues."""
    error = job.exception()
    if error is not None:
        tqdm.write(f"This checkpoint was not pushed: {error}")
