"""Other answers of the Hub: permissions, unexpected answers, and foreign commits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_server import OTHER_TOKEN, READ_TOKEN, HubServer
from hub_server.client import Client, ClientError
from hub_server.faults import Fault

PUSH = """
from hf_speech.common.hub import Repository
from hf_speech.publishing.hub.push import finish, push
pushed = finish(push(Path(folder), Repository(repo), public=public, tag=tag), public=public, tag=tag)
result = {"private": pushed.private, "reference": pushed.reference, "commit": pushed.commit}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "staged"
    path.mkdir()
    (path / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    (path / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    return path


def push(client: Client, folder: Path, repo: str, *, token: str | None = None, **options: Any) -> dict[str, Any]:
    environment = {} if token is None else {"HF_TOKEN": token}
    values = {"public": False, "tag": None} | options
    return client.run(PUSH, folder=str(folder), repo=repo, environment=environment, **values)


def refused(client: Client, folder: Path, repo: str, **options: Any) -> str:
    with pytest.raises(ClientError) as error:
        push(client, folder, repo, **options)
    assert error.value.kind == "PublishError", error.value
    assert "\n" not in error.value.message
    return error.value.message


def bob(hub: HubServer, repo: str) -> Callable[[], object]:
    """Adds a commit by Bob directly to the storage."""

    def commit() -> None:
        repository = hub.storage.repository("model", repo)
        files = {**repository.files("main"), "unseen.py": hub.storage.keep(b"print('unseen')")}
        repository.commit("refs/heads/main", files, title="bob was here", author="bob")

    return commit


@pytest.mark.parametrize("where", ["/settings$", "/tag/"])
def test_does_not_publish_a_foreign_commit(hub: HubServer, client: Client, folder: Path, where: str) -> None:
    repo = f"ann/opened{len(where)}"
    method = "PUT" if "settings" in where else "POST"
    with hub.failing(Fault(method, where, "first", first=bob(hub, repo))):
        message = refused(client, folder, repo, public=True, tag="v1.0")
    assert "unseen.py" in hub.files("model", repo)
    assert hub.storage.repository("model", repo).private
    assert "'bob was here'" in message
    assert "private" in message
    # The same command again replaces that commit, verifies, and opens.
    assert push(client, folder, repo, public=True)["private"] is False
    assert "unseen.py" not in hub.files("model", repo)


def test_detects_a_commit_before_making_the_repository_public(hub: HubServer, client: Client, folder: Path) -> None:
    source = PUSH.replace("pushed = finish(push(", "pushed = push(").replace(
        "public=public, tag=tag), public=public, tag=tag)", "public=public, tag=tag)"
    )
    values = {"folder": str(folder), "repo": "ann/before", "public": True, "tag": None}
    client.run(source, **values)
    bob(hub, "ann/before")()
    commits = len(hub.requests("PUT", "/settings"))
    finish = """
from hf_speech.common.hub import Repository
from hf_speech.publishing.hub.push import PushResult, finish
finish(PushResult(Repository("ann/before"), commit, True, True), public=True)
"""
    with pytest.raises(ClientError, match="was verified, so it stays private"):
        client.run(finish, commit="0" * 40)
    assert len(hub.requests("PUT", "/settings")) == commits


def test_output_names_the_tag(client: Client, folder: Path) -> None:
    assert push(client, folder, "ann/tagged", tag="v1.0")["reference"] == "ann/tagged@v1.0"
    pushed = push(client, folder, "ann/untagged")
    assert pushed["reference"] == f"ann/untagged@{pushed['commit']}"


@pytest.mark.parametrize(
    ("token", "repo", "who"),
    [
        (None, "somebody/x", "you are logged in as ann and may write to ann"),
        (OTHER_TOKEN, "ann/wrong", "you are logged in as bob and may write to bob"),
        (READ_TOKEN, "ann/wrong", "you are logged in as ann with a read-only token"),
    ],
)
def test_the_error_for_a_wrong_owner_names_the_login(
    client: Client, folder: Path, token: str | None, repo: str, who: str
) -> None:
    message = refused(client, folder, repo, token=token)
    assert who in message
    assert message.startswith(f"This login may not write to {repo}")


@pytest.mark.parametrize("path", [r"^/api/models/ann/odd$", r"^/api/models/ann/odd/refs$"])
def test_one_sentence_error_for_unexpected_answers(hub: HubServer, client: Client, path: str) -> None:
    client.run("api.create_repo('ann/odd', exist_ok=True)")
    source = "from hf_speech.common.hub import Repository\nRepository('ann/odd').fetch_state()"
    odd = Fault("GET", path, "answer", status=200, message="another shape")
    with hub.failing(odd), pytest.raises(ClientError, match="sent an unexpected response") as error:
        client.run(source)
    assert error.value.kind == "PublishError"


def test_one_sentence_error_for_a_conflict_without_an_address(hub: HubServer, client: Client, folder: Path) -> None:
    with hub.failing(Fault("POST", "/api/repos/create", "answer", status=409, message="exists")):
        assert refused(client, folder, "ann/conflict").endswith(".")
