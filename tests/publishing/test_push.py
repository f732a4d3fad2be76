"""An upload is one commit or none, whatever fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_server import OTHER_TOKEN, READ_TOKEN, WRITE_TOKEN, HubServer, faults
from hub_server.client import Client, ClientError
from hub_server.faults import Fault

from hf_speech.errors import PublishError
from hf_speech.publishing.hub.push import check_tag_name

Place = tuple[HubServer, Client]

PUSH = """
from hf_speech.common.hub import Repository
from hf_speech.publishing.hub.push import finish, push

folder = Path(folder)
pushed = push(folder, Repository(repo, kind), public=public, tag=tag, **options)
if not options.get("create_pr"):
    pushed = finish(pushed, public=public, tag=tag)
result = {**vars(pushed), "repository": pushed.repository.name}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A staged folder with large and regular files."""
    path = tmp_path / "staged"
    (path / "evaluation").mkdir(parents=True)
    (path / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    (path / "config.json").write_text('{"architectures": ["SpeechLSTM"]}\n')
    (path / "model.safetensors").write_bytes(bytes(range(256)) * 40 + str(tmp_path).encode())
    (path / "evaluation" / "probes.safetensors").write_bytes(bytes(100) + str(tmp_path).encode())
    (path / "evaluation" / "test.json").write_text("{}\n")
    return path


def push(client: Client, folder: Path, repo: str, *, token: str | None = WRITE_TOKEN, **options: Any) -> dict[str, Any]:
    values = {
        name: options.pop(name, default) for name, default in (("public", False), ("tag", None), ("kind", "model"))
    }
    environment = {"HF_TOKEN": token}
    return client.run(PUSH, folder=str(folder), repo=repo, options=options, environment=environment, **values)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def published(hub: HubServer, repo: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
    files = hub.files(kind, repo, revision)
    return {path: content for path, content in files.items() if path != ".gitattributes"}


def refused(client: Client, folder: Path, repo: str, **options: Any) -> str:
    """Returns the one-sentence error of a push."""
    with pytest.raises(ClientError) as error:
        push(client, folder, repo, **options)
    assert error.value.kind == "PublishError", error.value
    assert "\n" not in error.value.message
    assert WRITE_TOKEN not in error.value.message
    return error.value.message


def test_a_folder_becomes_one_private_commit(place: Place, folder: Path) -> None:
    hub, client = place
    pushed = push(client, folder, "ann/one", tag="v1", message="Here it is")
    assert published(hub, "ann/one") == contents(folder)
    assert hub.history("model", "ann/one") == ["Here it is", "initial commit"]
    repository = hub.storage.repository("model", "ann/one")
    assert repository.private
    assert pushed["private"] is True
    assert pushed["changed"] is True
    assert repository.refs["refs/heads/main"] == repository.refs["refs/tags/v1"] == pushed["commit"]
    commits = hub.requests("POST", "/api/models/ann/one/commit/")
    assert len(commits) == 1
    assert b"parentCommit" in commits[0].body
    assert hub.unknown() == []


def test_no_commit_without_changes(place: Place, folder: Path) -> None:
    hub, client = place
    first = push(client, folder, "ann/same")
    sent = len(hub.requests("POST", "/commit/")), len(hub.requests("PUT", ""))
    again = push(client, folder, "ann/same")
    assert again["commit"] == first["commit"]
    assert again["changed"] is False
    assert (len(hub.requests("POST", "/commit/")), len(hub.requests("PUT", ""))) == sent
    # Now with a tag: still no commit.
    assert push(client, folder, "ann/same", tag="v1")["commit"] == first["commit"]
    assert len(hub.history("model", "ann/same")) == 2


def test_deletes_files_that_were_removed_from_the_folder(place: Place, folder: Path) -> None:
    hub, client = place
    push(client, folder, "ann/less", tag="v1")
    (folder / "evaluation" / "test.json").unlink()
    (folder / "config.json").write_text("{}")
    pushed = push(client, folder, "ann/less", tag="v2")
    assert pushed["removed"] == ["evaluation/test.json"]
    assert pushed["added"] == ["config.json"]
    assert published(hub, "ann/less") == contents(folder)
    assert ".gitattributes" in hub.files("model", "ann/less")
    assert "evaluation/test.json" in hub.files("model", "ann/less", "v1")


def test_an_older_model_links_to_the_newer_one(hub: HubServer, client: Client, folder: Path) -> None:
    push(client, folder, "ann/older")
    link = "from hf_speech.publishing.model import link_new_version\nfrom hf_speech.common.hub import Repository\n"
    for newer in ("ann/newer", "ann/newest"):
        client.run(f"{link}link_new_version(Repository('ann/older'), newer)", newer=newer)
        assert f"new_version: {newer}\n" in hub.files("model", "ann/older")["README.md"].decode()
    with pytest.raises(ClientError, match="no model ann/nowhere"):
        client.run(f"{link}link_new_version(Repository('ann/nowhere'), 'ann/newer')")


def test_keeps_results_of_others(hub: HubServer, client: Client, folder: Path) -> None:
    (folder / ".eval_results").mkdir()
    (folder / ".eval_results" / "open_asr_leaderboard.yaml").write_text("- value: 7.37\n")
    push(client, folder, "ann/judged")
    upload = "api.upload_file(path_or_fileobj=b'[]', path_in_repo='.eval_results/other.yaml', repo_id='ann/judged')"
    client.run(upload)
    shutil.rmtree(folder / ".eval_results")
    pushed = push(client, folder, "ann/judged")
    assert pushed["removed"] == [".eval_results/open_asr_leaderboard.yaml"]
    assert ".eval_results/other.yaml" in hub.files("model", "ann/judged")


def test_writes_to_a_public_repository_only_on_request(hub: HubServer, client: Client, folder: Path) -> None:
    client.run("api.create_repo('ann/open')")  # Public, the default of huggingface_hub.
    before = len(hub.log)
    assert "pass --public" in refused(client, folder, "ann/open")
    assert not any(entry.method in ("POST", "PUT") for entry in hub.log[before:])
    assert push(client, folder, "ann/open", public=True)["private"] is False


def test_makes_a_repository_public_last(hub: HubServer, client: Client, folder: Path) -> None:
    before = len(hub.log)
    assert push(client, folder, "ann/opened", public=True, tag="v1")["private"] is False
    assert not hub.storage.repository("model", "ann/opened").private
    steps = [entry.path for entry in hub.log[before:] if entry.method in ("POST", "PUT")]
    commit, tag, settings = (
        next(i for i, path in enumerate(steps) if part in path) for part in ("/commit/", "/tag/", "/settings")
    )
    assert commit < tag < settings
    assert b'"private"' in next(entry.body for entry in hub.log[before:] if entry.path == "/api/repos/create")


def test_uploads_nothing_before_the_repository_is_private(hub: HubServer, client: Client, folder: Path) -> None:
    hub.app.ignores_privacy = True
    try:
        assert push(client, folder, "ann/privacy")["private"] is True
        assert hub.storage.repository("model", "ann/privacy").private
        steps = [f"{entry.method} {entry.path}" for entry in hub.log if "ann/privacy" in entry.path]
        assert steps.index("PUT /api/models/ann/privacy/settings") < steps.index(
            "POST /api/models/ann/privacy/commit/main"
        )
        with hub.failing(Fault("PUT", "/settings", "answer", status=200, message="")):
            assert "could not be made private, so nothing was sent" in refused(client, folder, "ann/exposed")
    finally:
        hub.app.ignores_privacy = False
    assert list(hub.files("model", "ann/exposed")) == [".gitattributes"]


def test_a_tag_never_moves(hub: HubServer, client: Client, folder: Path) -> None:
    push(client, folder, "ann/tags", tag="v1.9")
    assert push(client, folder, "ann/tags", tag="v1.9")["changed"] is False
    (folder / "config.json").write_text("{}")
    before = len(hub.requests("POST", "/commit/"))
    assert "choose another, such as v1.10" in refused(client, folder, "ann/tags", tag="v1.9")
    assert "cannot be a tag" in refused(client, folder, "ann/tags", tag="one two")
    assert len(hub.requests("POST", "/commit/")) == before


def test_a_pull_request_does_not_change_the_main_branch(place: Place, folder: Path) -> None:
    hub, client = place
    assert "leave out --create_pr" in refused(client, folder, "ann/proposal", create_pr=True)
    assert not hub.exists("model", "ann/proposal")
    push(client, folder, "ann/proposal")
    (folder / "config.json").write_text('{"better": true}')
    pushed = push(client, folder, "ann/proposal", create_pr=True)
    assert pushed["pull_request"] == f"{hub.url}/ann/proposal/discussions/1"
    assert published(hub, "ann/proposal", "refs/pr/1") == contents(folder)
    assert b"better" not in published(hub, "ann/proposal")["config.json"]
    # Repeating it does not open a second one.
    again = push(client, folder, "ann/proposal", create_pr=True)
    assert again["pull_request"] == pushed["pull_request"]
    assert again["changed"] is False
    assert len(hub.storage.repository("model", "ann/proposal").state["discussions"]) == 1
    assert "A pull request cannot be tagged" in refused(client, folder, "ann/proposal", create_pr=True, tag="v2")


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"token": READ_TOKEN}, "use a token with write access"),
        ({"token": OTHER_TOKEN}, "use a token with write access"),
        ({"token": None}, "run hf auth login, or set HF_TOKEN"),
        ({"token": "hf_notatoken"}, "run hf auth login, or set HF_TOKEN"),
    ],
)
def test_does_nothing_without_write_permission(
    hub: HubServer, client: Client, folder: Path, options: dict[str, Any], remedy: str
) -> None:
    assert remedy in refused(client, folder, "ann/forbidden", **options)
    assert not hub.exists("model", "ann/forbidden")


def test_rejects_a_read_only_login(hub: HubServer, client: Client, folder: Path) -> None:
    push(client, folder, "ann/readable")
    (folder / "config.json").write_text("{}")
    assert "use a token with write access" in refused(client, folder, "ann/readable", token=READ_TOKEN)
    assert len(hub.history("model", "ann/readable")) == 2


def test_checks_names_and_offline_mode(client: Client, folder: Path) -> None:
    assert "write OWNER/NAME" in refused(client, folder, "nameless")
    source = "import huggingface_hub.constants as c; c.HF_HUB_OFFLINE = True"
    client.run(source)
    try:
        assert "HF_HUB_OFFLINE" in refused(client, folder, "ann/offline")
    finally:
        client.run(source.replace("True", "False"))


def _somebody(hub: HubServer, repo: str) -> Callable[[], object]:
    """Adds a commit by Bob directly to the storage."""

    def do() -> None:
        repository = hub.storage.repository("model", repo)
        files = {**repository.files("main"), "bob.txt": hub.storage.keep(b"hello")}
        repository.commit("refs/heads/main", files, title="bob was here", author="bob")

    return do


ALWAYS = -1
FAULTS: dict[str, tuple[Callable[..., Fault], dict[str, Any], str]] = {
    "503 on the commit": (faults.commit_unavailable, {}, "not available now (503"),
    "429 with Retry-After": (faults.rate_limited, {"seconds": 77}, "wait 77 seconds and run the same command again"),
    "no space for the commit": (faults.commit_disk_full, {}, "has no space left"),
    "500 on every PUT": (faults.upload_error, {"times": ALWAYS}, "not available now (500"),
    "the connection cut in every PUT": (faults.upload_cut, {"times": ALWAYS}, "check the network"),
    "no space for a large file": (faults.upload_disk_full, {"times": ALWAYS}, "has no space left"),
    "a large file damaged on its way": (faults.upload_corrupted, {}, "arrived at the Hub damaged"),
    "no way to Xet storage": (faults.xet_token_error, {"times": ALWAYS}, "run the same command again"),
}
OF_PUT = {name for name, (make, _, _) in FAULTS.items() if make.__name__.startswith("upload")}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("there_before", [False, True], ids=["first", "second"])
def test_a_failure_leaves_the_old_or_the_new_state(place: Place, folder: Path, name: str, there_before: bool) -> None:
    """A first or second publication fails as a whole with a remedy, and the same command finishes it."""
    hub, client = place
    make, options, remedy = FAULTS[name]
    if (hub.app.xet is not None and name in OF_PUT) or (hub.app.xet is None and "Xet" in name):
        pytest.skip("this client uploads the other way")
    if hub.app.xet is not None and there_before:
        pytest.skip("what was there before makes no difference to the way of uploading")
    repo = f"ann/fault-{list(FAULTS).index(name)}-{there_before}"
    if there_before:
        push(client, folder, repo, tag="v1")
        (folder / "model.safetensors").write_bytes(b"better weights" * 500 + repo.encode())
    old = published(hub, repo) if there_before else {}
    with hub.failing(make(**options)):
        message = refused(client, folder, repo, tag="v2")
    assert remedy in message
    assert (published(hub, repo) if hub.exists("model", repo) else {}) == old
    assert "refs/tags/v2" not in hub.storage.repository("model", repo).refs
    pushed = push(client, folder, repo, tag="v2")
    assert pushed["changed"] is True
    assert published(hub, repo) == published(hub, repo, "v2") == contents(folder)
    assert len(hub.history("model", repo)) == 2 + there_before


def test_continues_an_interrupted_upload(hub: HubServer, client: Client, folder: Path) -> None:
    """The upload of the second of two large files fails: the second run uploads only this one."""
    with hub.failing(faults.upload_cut(times=ALWAYS, skip=1)):
        refused(client, folder, "ann/resumed")
    whole = len([entry for entry in hub.requests("PUT", "^/large/") if entry.status == 200])
    push(client, folder, "ann/resumed")
    assert len([entry for entry in hub.requests("PUT", "^/large/") if entry.status == 200]) == whole + 1
    assert published(hub, "ann/resumed") == contents(folder)


def test_the_client_retries(hub: HubServer, client: Client, folder: Path) -> None:
    client.waits  # noqa: B018 - forgets those before
    with hub.failing(faults.upload_error(times=2), faults.upload_cut()):
        assert push(client, folder, "ann/patient")["changed"] is True
    assert client.waits
    assert published(hub, "ann/patient") == contents(folder)


def test_a_lost_response_is_not_a_failure(place: Place, folder: Path) -> None:
    hub, client = place
    with hub.failing(faults.commit_answer_lost()):
        pushed = push(client, folder, "ann/lost", tag="v1")
    assert published(hub, "ann/lost", "v1") == contents(folder)
    assert hub.storage.repository("model", "ann/lost").refs["refs/heads/main"] == pushed["commit"]
    assert len(hub.history("model", "ann/lost")) == 2


def test_does_not_overwrite_other_commits(place: Place, folder: Path) -> None:
    hub, client = place
    push(client, folder, "ann/shared")
    (folder / "config.json").write_text('{"mine": true}')
    with hub.failing(faults.somebody_commits_first(_somebody(hub, "ann/shared"))):
        message = refused(client, folder, "ann/shared")
    assert "ann/shared was changed in the meantime" in message
    assert hub.history("model", "ann/shared")[0] == "bob was here"
    assert b"mine" not in published(hub, "ann/shared")["config.json"]
    push(client, folder, "ann/shared")
    assert published(hub, "ann/shared") == contents(folder)


SINCE = """
from hf_speech.common.hub import Repository
from hf_speech.publishing.hub.push import push
repository = Repository("ann/older")
seen = repository.fetch_state()
api.upload_file(path_or_fileobj=b"by hand", path_in_repo="README.md", repo_id="ann/older")
push(Path(folder), repository, since=seen)
"""


def test_rejects_a_folder_older_than_a_remote_change(hub: HubServer, client: Client, folder: Path) -> None:
    """The card is based on the one on the Hub, so later changes there would be lost."""
    push(client, folder, "ann/older")
    with pytest.raises(ClientError, match="ann/older was changed in the meantime"):
        client.run(SINCE, folder=str(folder))
    assert published(hub, "ann/older")["README.md"] == b"by hand"


def test_detects_a_commit_that_differs_from_the_upload(hub: HubServer, client: Client, folder: Path) -> None:
    """A foreign commit just after ours is in the main branch, but ours is verified by its SHA."""
    push(client, folder, "ann/checked")
    (folder / "config.json").write_text("{}")

    def spoil() -> None:
        original = hub.storage.keep

        def keep(content: bytes) -> dict[str, Any]:
            return original(content + b" " if content == b"{}" else content)

        hub.storage.keep = keep  # type: ignore[method-assign]

    try:
        with hub.failing(faults.somebody_commits_first(spoil)):
            assert "differs from the files that were sent (config.json" in refused(client, folder, "ann/checked")
    finally:
        del hub.storage.keep
    push(client, folder, "ann/checked")
    assert published(hub, "ann/checked") == contents(folder)


def test_rejects_a_bad_card_before_uploading(hub: HubServer, client: Client, folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    before = len(hub.requests("PUT", ""))
    message = refused(client, folder, "ann/metadata")
    assert "rejected the metadata in the README.md of the model ann/metadata (YAML is invalid" in message
    assert len(hub.requests("PUT", "")) == before
    assert published(hub, "ann/metadata") == {}


def test_the_token_is_never_shown(hub: HubServer, client: Client, folder: Path) -> None:
    # Other tests may have sent it on purpose: the log is the whole session's.
    before = sum(WRITE_TOKEN.encode() in received for received in hub.received())
    push(client, folder, "ann/silent")
    assert WRITE_TOKEN not in client.printed.read_text()
    assert not any(WRITE_TOKEN.encode() in path.read_bytes() for path in client.home.rglob("*") if path.is_file())
    assert sum(WRITE_TOKEN.encode() in received for received in hub.received()) == before


@pytest.mark.parametrize("tag", ["", "x" * 200, "a b\n", "v1..2", ".v1", "v1.lock", "v1.", "a~b", "-x", "v1\n"])
def test_rejects_invalid_tags(tag: str) -> None:
    with pytest.raises(PublishError, match="cannot be a tag"):
        check_tag_name(tag)


@pytest.mark.parametrize("tag", [None, "v1", "v1.0", "2026-11-29", "1.0.0-rc.1+cpu"])
def test_accepts_valid_tags(tag: str | None) -> None:
    check_tag_name(tag)
