"""Publishes a folder with a program and a README.md as a Space, in one commit.

- The variables `MODEL_ID` and `MODEL_REVISION` select the model. The revision is a commit, because the Space runs the
  model's code and a branch could move. The front matter names the model too, so that the Hub links both pages.
- The values of secrets come from environment variables, never from the command line, which histories and process lists
  show.
- Variables are set after the commit: if the commit fails, the old Space keeps running.
- Verification covers everything that needs no build: checksums, front matter, Python syntax, pinned requirements, and
  variables.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from huggingface_hub import HfApi, RepoCard, get_token

from hf_speech.common.hub import Repository, State
from hf_speech.common.text import escape_markdown
from hf_speech.errors import PublishError
from hf_speech.publishing.assembly import assemble_space, shares_common_files
from hf_speech.publishing.checks.spaces import check_space
from hf_speech.publishing.checks.structure import read_metadata
from hf_speech.publishing.checks.upload import CARD
from hf_speech.publishing.delivery import PublishOptions, PublishResult, check_options, deliver, published_state
from hf_speech.publishing.hub.verify import RemoteSnapshot, Verification
from hf_speech.publishing.staging import stage

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_EXAMPLES, MAX_EXAMPLE_BYTES = 12, 2**20
EXAMPLE_SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3")
ZERO_GPU = "zero-a10g"
"""The name of the ZeroGPU hardware on the Hub."""
# The newest versions that ZeroGPU supports: https://huggingface.co/docs/hub/spaces-zerogpu
_ZERO_GPU_PYTHON, _ZERO_GPU_TORCH = "3.12.12", "2.11.0"
_RUNS = frozenset({"RUNNING", "SLEEPING", "PAUSED", "STOPPED"})
_FAILED = frozenset({"BUILD_ERROR", "RUNTIME_ERROR", "CONFIG_ERROR"})


def publish_space(
    folder: Path,
    repo_id: str,
    *,
    model: str,
    title: str | None = None,
    examples: Path | None = None,
    variables: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
    hardware: str | None = None,
    wait: float = 0,
    **publish_options: Unpack[PublishOptions],
) -> PublishResult:
    """Publishes a folder as a Space that demonstrates a model.

    Args:
        folder: The folder with a README.md with front matter, a program and requirements.txt.
        repo_id: `NAME/SPACE`.
        model: `NAME/MODEL`, or `NAME/MODEL@REVISION`.
        title: The title; for the Spaces of this project, the default is the name of the model.
        examples: A folder of short recordings, named after their content, that replace the Space's own examples.
        variables: Further variables of the Space by name.
        secrets: The names of secrets; see `secret_values`.
        hardware: The name of the hardware on the Hub.
        wait: The number of seconds to wait for the build.
        **publish_options: See `PublishOptions`; a pull request does not change variables and secrets.

    Raises:
        PublishError: If the Space must not or cannot be published.
    """
    repository = Repository(repo_id, "space")
    values = secret_values(secrets)
    sounds = [] if examples is None else find_examples(examples)
    read_readme(folder)
    check_options(**publish_options)
    settings, model_card = _select_model(model, variables or {}, values, **publish_options)
    proposed = publish_options.get("create_pr", False)

    def check(snapshot: RemoteSnapshot) -> Verification:
        return verify_space(snapshot, settings=None if proposed else settings, secrets=values)

    with tempfile.TemporaryDirectory(prefix="hf-speech-publish-") as temporary:
        name = settings["MODEL_ID"]
        if shares_common_files(folder):
            title = title or name.rpartition("/")[2]
            settings = {"TITLE": title, **settings}
        card = with_model(folder, name, title, space_tags(read_metadata(model_card)) if title else ())
        folder = assemble_space(folder, Path(temporary) / folder.resolve().name)
        if sounds:
            add_examples(folder, sounds)
        if hardware == ZERO_GPU:
            card = fit_zero_gpu(folder, card)
        staged = stage(folder, Path(temporary) / "staged", repo_id=repo_id, kind="space", card=card)
        check_space(staged.folder)
        done = deliver(
            staged,
            repository,
            check,
            space_sdk=str(read_metadata(card)["sdk"]),
            space_hardware=hardware,
            configure=lambda pushed: set_values(pushed.repository, settings, values, hardware),
            **publish_options,
        )
    if done.pushed is not None and not proposed:
        publish_options.get("notify", print)(_wait_for_build(repository, wait))
    return done


def secret_values(names: Iterable[str]) -> dict[str, str]:
    """Reads the values of secrets from environment variables.

    Args:
        names: `NAME`, or `NAME=VARIABLE` if the variable has another name.
    """
    values = {}
    for assignment in names:
        name, _, variable = assignment.partition("=")
        value = os.environ.get(variable or name)
        if not _NAME.fullmatch(name) or not _NAME.fullmatch(variable or name) or not value:
            raise PublishError(
                f"The secret {name[:40]} has no value: set an environment variable, and pass --secret NAME, or "
                "--secret NAME=VARIABLE if it has another name; never the value itself, which would stay in the "
                "shell history."
            )
        values[name] = value
    return values


def read_readme(folder: Path) -> str:
    """Reads the README.md of a Space.

    Raises:
        PublishError: If there is none, or it is not UTF-8.
    """
    try:
        return (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PublishError(
            f"{folder} has no README.md with the front matter of a Space: give a folder such as spaces/transcribe."
        ) from error


def with_model(folder: Path, model: str, title: str | None = None, tags: Iterable[str] = ()) -> str:
    """Returns the README.md of a Space with the model, title and tags in its front matter.

    Raises:
        PublishError: If there is no README.md, or its metadata cannot be read.
    """
    text = read_readme(folder)
    metadata = read_metadata(text)
    tags = list(dict.fromkeys([*(metadata.get("tags") or []), *tags]))
    if metadata.get("models") == [model] and title is None and tags == (metadata.get("tags") or []):
        return text
    card = RepoCard(text)
    card.data.models = [model]
    if tags:
        card.data.tags = tags
    if title is not None:
        card.data.title = title
        card.text = re.sub(r"^# .*$", lambda _: f"# {escape_markdown(title)}", card.text, count=1, flags=re.MULTILINE)
    return str(card)


def add_examples(folder: Path, sounds: Iterable[Path]) -> None:
    """Replaces the examples of a Space by other recordings."""
    for name in ("examples", "sentences"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "model_examples").mkdir(exist_ok=True)
    for sound in sounds:
        shutil.copyfile(sound, folder / "model_examples" / sound.name)


def fit_zero_gpu(folder: Path, card: str) -> str:
    """Sets the versions of Python and PyTorch to those that ZeroGPU supports.

    Args:
        folder: The folder of the Space, whose requirements.txt is changed.
        card: The README.md.

    Returns:
        The changed README.md.

    Raises:
        PublishError: If the Space does not use Gradio, or has no function with the decorator for GPUs.
    """
    programs = (path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    if read_metadata(card).get("sdk") != "gradio" or not any("spaces.GPU" in program for program in programs):
        raise PublishError(
            "ZeroGPU requires a Gradio Space in which a function has the decorator @spaces.GPU: add it, or choose "
            "other hardware."
        )
    requirements = folder / "requirements.txt"
    if requirements.is_file():
        text = requirements.read_text(encoding="utf-8")
        text = re.sub(r"^torch\s*==\s*\S+", f"torch=={_ZERO_GPU_TORCH}", text, flags=re.MULTILINE)
        requirements.write_text(text, encoding="utf-8")
    changed = RepoCard(card)
    changed.data.python_version = _ZERO_GPU_PYTHON
    return str(changed)


def find_examples(examples: Path) -> list[Path]:
    """Returns the recordings of a folder, sorted by name.

    Raises:
        PublishError: If there are no recordings, too many, or too large ones.
    """
    sounds = sorted(path for path in examples.glob("*") if path.suffix.lower() in EXAMPLE_SUFFIXES and path.is_file())
    if not 0 < len(sounds) <= MAX_EXAMPLES:
        raise PublishError(
            f"{examples} has {len(sounds)} recordings ({', '.join(EXAMPLE_SUFFIXES)}): give a folder with 1 to "
            f"{MAX_EXAMPLES} of them."
        )
    for sound in sounds:
        if sound.stat().st_size > MAX_EXAMPLE_BYTES:
            raise PublishError(f"{sound} is larger than {MAX_EXAMPLE_BYTES // 2**20} MB: choose a shorter example.")
    return sounds


def space_tags(metadata: Mapping[str, Any]) -> list[str]:
    """Returns the task and the tags in the metadata of a model's card, as tags of its Space."""
    return [str(tag) for tag in [metadata.get("pipeline_tag"), *(metadata.get("tags") or [])] if tag]


def set_values(
    repository: Repository, variables: Mapping[str, str], secrets: Mapping[str, str], hardware: str | None = None
) -> None:
    """Sets secrets, hardware, and variables that differ, because the Hub restarts the Space for each of them."""
    api = HfApi()
    with repository.readable_errors():
        current = api.get_space_variables(repository.name)
        for name, value in variables.items():
            if name not in current or current[name].value != value:
                api.add_space_variable(repository.name, name, value)
        for name, value in secrets.items():
            api.add_space_secret(repository.name, name, value)
        if hardware is not None:
            api.request_space_hardware(repository.name, hardware)


def verify_space(
    snapshot: RemoteSnapshot, *, settings: Mapping[str, str] | None = None, secrets: Iterable[str] = ()
) -> Verification:
    """Checks a downloaded Space, and its variables and secrets on the Hub if `settings` are given."""
    found, differences = [f"{len(snapshot.state.files)} files match the Hub's checksums"], []
    try:
        check_space(snapshot.folder)
        found.append("front matter complete, requirements pinned")
    except PublishError as error:
        differences.append(str(error).rstrip("."))
    if settings is not None:
        api, repository, secrets = HfApi(), snapshot.repository, list(secrets)
        with repository.readable_errors():
            variables = api.get_space_variables(repository.name)
            set_secrets = set(api.get_space_secrets(repository.name)) if secrets else set()
        for name, value in settings.items():
            if name not in variables or variables[name].value != value:
                differences.append(f"the variable {name} is not {value}")
        differences += [f"the secret {name} is missing" for name in secrets if name not in set_secrets]
        names = [*settings, *(f"{name} (secret)" for name in secrets)]
        found.append(f"{', '.join(names)} are set")
    return Verification(snapshot.repository, snapshot.state.commit, tuple(found), tuple(differences))


def find_model(repository: Repository, revision: str) -> State:
    """Returns the state of a model at a revision, or on the main branch if `revision` is empty.

    Raises:
        PublishError: If there is no such model.
    """
    state = repository.fetch_state(revision or None)
    if state is None:
        raise PublishError(f"There is no model {repository.name} that this login can access: publish it first.")
    return state


def _select_model(
    model: str, variables: Mapping[str, str], secrets: Mapping[str, str], **publish_options: Unpack[PublishOptions]
) -> tuple[dict[str, str], str]:
    """Returns the variables of the Space, with the model pinned to a commit, and the model's card."""
    for name in variables:
        if not _NAME.fullmatch(name):
            raise PublishError(f"'{name}' cannot be the name of a variable: write --variable NAME=VALUE.")
        if name in secrets:
            raise PublishError(f"{name} cannot be a variable and a secret: leave out one of them.")
    name, _, revision = model.partition("@")
    repository = Repository(name)
    if publish_options.get("dry_run"):
        state = published_state(repository, **publish_options)
    else:
        state = find_model(repository, revision)
        _check_token(name, state, secrets, **publish_options)
    settings = {"MODEL_ID": name, "MODEL_REVISION": state.commit if state else revision or "unknown", **variables}
    return settings, repository.read_card(state) or ""


def _check_token(
    name: str, state: State, secrets: Mapping[str, str], **publish_options: Unpack[PublishOptions]
) -> None:
    """Rejects a private model without a token for the Space, and warns of a token that can write."""
    if state.private and "HF_TOKEN" not in secrets:
        raise PublishError(
            f"{name} is private, so the Space could not load it: set READ_TOKEN to a token that can read it and pass "
            "--secret HF_TOKEN=READ_TOKEN, or make the model public."
        )
    if secrets.get("HF_TOKEN") == get_token():
        publish_options.get("notify", print)(
            "The Space gets the token that you publish with: a token that can only read is safer."
        )


def _wait_for_build(repository: Repository, wait: float) -> str:
    """Waits for the build of a Space and describes its status in one line."""
    api, until = HfApi(), time.monotonic() + wait
    while True:
        with repository.readable_errors():
            runtime = api.get_space_runtime(repository.name)
        status = str(getattr(runtime.stage, "value", runtime.stage))
        if status in _RUNS | _FAILED or time.monotonic() >= until:
            break
        time.sleep(5)
    if wait and status in _FAILED:  # Without waiting, this may be the status of the previous commit.
        raise PublishError(f"The Space {repository.name} does not run ({status}): read its log at {repository.url}.")
    return f"The Space is {status.lower()}: {repository.url}"


def parse_variables(assignments: Sequence[str]) -> dict[str, str]:
    """Parses `NAME=VALUE` assignments."""
    for assignment in assignments:
        if "=" not in assignment:
            raise PublishError(f"'{assignment}' is not an assignment: write --variable NAME=VALUE.")
    return dict(assignment.split("=", 1) for assignment in assignments)
