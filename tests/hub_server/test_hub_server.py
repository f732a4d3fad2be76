"""The loopback Hub, on which other tests rely, behaves as the real client expects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_server import OTHER_TOKEN, READ_TOKEN, WRITE_TOKEN, HubServer, faults
from hub_server.client import Client, ClientError

COMMIT = """
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
operations = [CommitOperationAdd(path, content.encode("latin-1")) for path, content in files.items()]
operations += [CommitOperationDelete(path) for path in gone]
info = api.create_commit(repo, operations, commit_message=title, parent_commit=parent)
result = info.oid
"""


@pytest.fixture(scope="module", params=["without Xet", "with Xet"])
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    xet = request.param == "with Xet"
    with HubServer(tmp_path_factory.mktemp("hub"), xet=xet, multipart_bytes=100_000) as server:
        yield server


@pytest.fixture(scope="module")
def client(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client(hub, tmp_path_factory.mktemp("home")) as process:
        yield process


def commit(client: Client, repo: str, files: dict[str, bytes], **options: object) -> str:
    values = {"title": "change", "parent": None, "gone": []} | options
    content = {path: data.decode("latin-1") for path, data in files.items()}
    return client.run(COMMIT, repo=repo, files=content, **values)


def make(client: Client, repo: str, **options: object) -> str:
    return client.run("result = str(api.create_repo(repo, **options))", repo=repo, options={"private": True} | options)


def test_creates_a_repository(hub: HubServer, client: Client) -> None:
    assert client.run("result = api.whoami()['name']") == "ann"
    assert make(client, "ann/life") == f"{hub.url}/ann/life"
    with pytest.raises(ClientError, match="409"):
        make(client, "ann/life")
    assert make(client, "ann/life", exist_ok=True) == f"{hub.url}/ann/life"
    source = "api.update_repo_settings('ann/life', private=False); result = api.model_info('ann/life').private"
    assert client.run("result = api.model_info('ann/life').private") is True
    assert client.run(source) is False


def test_files_are_downloaded_unchanged(hub: HubServer, client: Client, tmp_path: Path) -> None:
    make(client, "ann/files")
    sent = {
        "README.md": b"---\nlicense: mit\n---\n# Files\n",
        "model.safetensors": os.urandom(250_000),  # In three parts without Xet.
        "deep/er/data.txt": "ä and others".encode(),
    }
    oid = commit(client, "ann/files", sent)
    assert {path: hub.files("model", "ann/files")[path] for path in sent} == sent
    source = """
from huggingface_hub import snapshot_download
folder = Path(snapshot_download("ann/files", revision=revision, cache_dir=cache))
result = {str(p.relative_to(folder)): p.read_bytes().decode("latin-1") for p in folder.rglob("*") if p.is_file()}
"""
    received = client.run(source, revision=oid, cache=str(tmp_path))
    assert {path: received[path].encode("latin-1") for path in sent} == sent
    assert ".gitattributes" in received
    listed = client.run(
        "found = api.get_paths_info('ann/files', ['README.md', 'model.safetensors', 'deep']); "
        "result = [[f.path, f.size, f.lfs and f.lfs.sha256, f.xet_hash] for f in found if hasattr(f, 'size')]"
    )
    assert [entry[0] for entry in listed] == ["README.md", "model.safetensors"]
    assert (listed[1][3] is not None) == (hub.app.xet is not None)
    if hub.app.xet is None:
        assert len(hub.requests("PUT", "^/large/")) == 3
        assert len(hub.requests("GET", "^/cdn/")) == 1
    assert not any(entry.authorization for entry in hub.requests("PUT", "^/large/") + hub.requests("GET", "^/cdn/"))
    # Another client, without Xet, gets them too.
    assert client.run(
        "from huggingface_hub import HfFileSystem; result = HfFileSystem().read_text('ann/files/deep/er/data.txt')"
    )
    assert hub.unknown() == []


def test_history_and_refs(hub: HubServer, client: Client) -> None:
    make(client, "ann/history")
    first = commit(client, "ann/history", {"a.txt": b"one"}, title="first")
    second = commit(client, "ann/history", {"b.txt": b"two"}, title="second", gone=["a.txt"], parent=first)
    client.run("api.create_tag('ann/history', tag='v1', revision=first)", first=first)
    assert hub.history("model", "ann/history") == ["second", "first", "initial commit"]
    titles = client.run("result = [c.title for c in api.list_repo_commits('ann/history')]")
    assert titles == hub.history("model", "ann/history")
    assert client.run("result = api.list_repo_files('ann/history', revision='v1')") == [".gitattributes", "a.txt"]
    assert client.run("result = api.list_repo_files('ann/history')") == [".gitattributes", "b.txt"]
    refs = client.run("r = api.list_repo_refs('ann/history'); result = [[x.name, x.target_commit] for x in r.tags]")
    assert refs == [["v1", first]]
    with pytest.raises(ClientError, match="409"):
        client.run("api.create_tag('ann/history', tag='v1', revision=second)", second=second)
    with pytest.raises(ClientError, match="412"):
        commit(client, "ann/history", {"c.txt": b"three"}, parent=first)
    # Existing files make no commit.
    assert commit(client, "ann/history", {"b.txt": b"two"}) == second
    assert len(hub.history("model", "ann/history")) == 3


@pytest.mark.parametrize(
    ("token", "repo", "expected"),
    [
        (READ_TOKEN, "ann/rights", "403"),
        (OTHER_TOKEN, "ann/rights", "RepositoryNotFoundError"),
        (None, "ann/rights", "RepositoryNotFoundError"),
        ("hf_wrong", "ann/rights", "Invalid credentials"),
        (OTHER_TOKEN, "band/rights", ""),
    ],
)
def test_checks_write_permissions(client: Client, token: str | None, repo: str, expected: str) -> None:
    make(client, repo, exist_ok=True)
    source = COMMIT.replace("create_commit(", "create_commit(token=token, repo_id=").replace(
        "repo, ", "repo, operations="
    )
    values = {"repo": repo, "files": {"a.txt": "one"}, "gone": [], "title": "t", "parent": None}
    token_value = False if token is None else token
    if not expected:
        assert client.run(source, token=token_value, **values)
        return
    with pytest.raises(ClientError) as refused:
        client.run(source, token=token_value, **values)
    assert expected in str(refused.value)


def test_rejects_a_card_with_bad_metadata(client: Client) -> None:
    make(client, "ann/card")
    with pytest.raises(ClientError, match="Invalid metadata"):
        commit(client, "ann/card", {"README.md": b"---\nlicense: [\n---\n"})
    make(client, "ann/space", repo_type="space", space_sdk="gradio")
    with pytest.raises(ClientError, match="60 characters"):
        client.run(
            "api.upload_file(path_or_fileobj=card.encode(), path_in_repo='README.md', repo_id='ann/space', "
            "repo_type='space')",
            card=f"---\nsdk: gradio\nshort_description: {'x' * 61}\n---\n",
        )


def test_a_space_has_secrets_that_cannot_be_read(hub: HubServer, client: Client) -> None:
    make(client, "ann/demo", repo_type="space", space_sdk="gradio")
    client.run(
        "api.add_space_secret('ann/demo', 'KEY', 'open sesame'); api.add_space_variable('ann/demo', 'MODEL', 'ann/x')"
    )
    assert client.run("result = list(api.get_space_secrets('ann/demo'))") == ["KEY"]
    assert client.run("result = api.get_space_variables('ann/demo')['MODEL'].value") == "ann/x"
    assert "open sesame" not in client.run("result = str(api.get_space_secrets('ann/demo')['KEY'])")
    assert client.run("result = api.get_space_runtime('ann/demo').stage") == "NO_APP_FILE"
    assert hub.unknown() == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.commit_unavailable, "HfHubHTTPError"),
        (faults.commit_disk_full, "HfHubHTTPError"),
        (faults.commit_answer_lost, "RemoteProtocolError"),
        (faults.upload_disk_full, "RuntimeError"),
        (faults.upload_corrupted, "RuntimeError"),
    ],
)
def test_errors_that_the_client_does_not_retry(hub: HubServer, client: Client, fault, kind: str) -> None:
    if hub.app.xet is not None and "upload" in fault.__name__:
        pytest.skip("with Xet no PUT is sent")
    repo, content = f"ann/{fault.__name__}", os.urandom(5000)
    make(client, repo)
    with hub.failing(fault()), pytest.raises(ClientError) as error:
        commit(client, repo, {"model.safetensors": content})
    assert error.value.kind == kind
    assert ("model.safetensors" in hub.files("model", repo)) == (fault is faults.commit_answer_lost)
    commit(client, repo, {"model.safetensors": content})
    assert hub.files("model", repo)["model.safetensors"] == content


@pytest.mark.parametrize("fault", [faults.upload_error, faults.upload_cut, faults.xet_token_error])
def test_errors_that_the_client_retries(hub: HubServer, client: Client, fault) -> None:
    if ("upload" in fault.__name__) == (hub.app.xet is not None):
        pytest.skip("the other way of uploading")
    repo = f"ann/{fault.__name__}"
    make(client, repo)
    client.waits  # noqa: B018 - forgets those before
    with hub.failing(fault(times=1 if fault is faults.xet_token_error else 2)):
        commit(client, repo, {"model.safetensors": os.urandom(6000)})
    assert client.waits == ([] if hub.app.xet is not None else [1, 2])  # hf_xet has its own retries.
    assert "model.safetensors" in hub.files("model", repo)


def test_a_corrupted_download_has_the_right_size_and_another_content(
    hub: HubServer, client: Client, tmp_path: Path
) -> None:
    """huggingface_hub compares only sizes, so it does not detect this."""
    if hub.app.xet is not None:
        pytest.skip("Xet storage checks what it reads")
    make(client, "ann/corrupted")
    content = os.urandom(5000)
    commit(client, "ann/corrupted", {"model.safetensors": content})
    source = """
from huggingface_hub import hf_hub_download
result = hf_hub_download("ann/corrupted", "model.safetensors", cache_dir=cache)
"""
    with hub.failing(faults.download_corrupted()):
        received = Path(client.run(source, cache=str(tmp_path))).read_bytes()
    assert len(received) == len(content)
    assert received != content


def test_records_all_requests(hub: HubServer, client: Client) -> None:
    make(client, "ann/remembered")
    with hub.failing(faults.commit_unavailable()), pytest.raises(ClientError):
        commit(client, "ann/remembered", {"a.txt": b"a small secret", "b.safetensors": b"a large secret" * 50})
    assert hub.was_sent(b"a small secret")
    assert hub.was_sent(b"a large secret" * 50)
    assert not hub.was_sent(b"another secret")


def test_clients_do_not_print_the_token(hub: HubServer, client: Client) -> None:
    with pytest.raises(ClientError) as error:
        commit(client, "ann/nowhere", {"a.txt": b"one"})
    assert WRITE_TOKEN not in str(error.value)
    assert WRITE_TOKEN not in client.printed.read_text()
