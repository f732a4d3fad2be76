"""Publishing a folder with a program and front matter as a Space that is pinned to a model's commit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hub_server import WRITE_TOKEN, HubServer, faults
from hub_server.client import Client, ClientError
from hub_server.faults import Fault

from hf_speech.errors import PublishError
from hf_speech.publishing.checks.spaces import check_space
from hf_speech.publishing.checks.structure import read_metadata
from hf_speech.publishing.space import find_examples, parse_variables, secret_values, with_model

REPOSITORY = Path(__file__).resolve().parents[2]
README = """---
title: A demonstration
sdk: gradio
sdk_version: 6.31.0
python_version: "3.11"
app_file: app.py
models:
- somebody/else
license: apache-2.0
short_description: What a small model hears
---

# A demonstration
"""
PUBLISH = """
from hf_speech.publishing.space import publish_space
lines = []
if "examples" in arguments:
    arguments["examples"] = Path(arguments["examples"])
done = publish_space(Path(folder), repo, notify=lines.append, **arguments)
result = {
    "lines": lines, "card": done.card, "tree": done.tree,
    "changed": done.pushed and done.pushed.changed, "commit": done.pushed and done.pushed.commit,
    "summary": done.verification and done.verification.summary(),
}
"""
SESAME = "open-sesame-4711-and-more"


@pytest.fixture
def demonstration(tmp_path: Path) -> Path:
    """A tiny Space."""
    folder = tmp_path / "demonstration"
    folder.mkdir()
    (folder / "README.md").write_text(README)
    (folder / "app.py").write_text("import gradio\n\nfrom page import TITLE\n\nprint(gradio.__version__, TITLE)\n")
    (folder / "page.py").write_text('TITLE = "A demonstration"\n')
    (folder / "requirements.txt").write_text("# what it needs\ngradio[mcp]==6.31.0\nnumpy==2.4.6  # arrays\n")
    return folder


@pytest.fixture(scope="module")
def model(client: Client) -> str:
    """A model on the Hub, private and with a tag, and its commit."""
    client.run("api.create_repo('ann/heard', private=True)")
    source = "result = api.upload_file(path_or_fileobj=content, path_in_repo='config.json', repo_id='ann/heard').oid"
    commit = client.run(source.replace("content", "b'{}'"))
    client.run("api.create_tag('ann/heard', tag='v1')")
    client.run(source.replace("content", "b'{ }'"))
    return str(commit)


def publish(client: Client, folder: Path, repo: str, **arguments: Any) -> dict[str, Any]:
    arguments = {"model": "ann/heard", "secrets": ["HF_TOKEN"], **arguments}
    return client.run(PUBLISH, folder=str(folder), repo=repo, arguments=arguments, environment={"SESAME": SESAME})


def refused(client: Client, folder: Path, repo: str, **arguments: Any) -> str:
    with pytest.raises(ClientError) as error:
        publish(client, folder, repo, **arguments)
    assert error.value.kind == "PublishError", error.value
    assert SESAME not in str(error.value)
    return error.value.message


def test_publishes_a_space_with_model_and_secrets(
    hub: HubServer, client: Client, demonstration: Path, model: str
) -> None:
    arguments = {"model": "ann/heard@v1", "secrets": ["HF_TOKEN", "SESAME"], "variables": {"CONCURRENCY": "3"}}
    done = publish(client, demonstration, "ann/demo", tag="v1", **arguments)
    space = hub.storage.repository("space", "ann/demo")
    assert space.private
    assert space.state["sdk"] == "gradio"
    assert {name: item["value"] for name, item in space.state["variables"].items()} == {
        "MODEL_ID": "ann/heard",
        "MODEL_REVISION": model,
        "CONCURRENCY": "3",
    }
    assert space.state["secrets"]["SESAME"]["value"] == SESAME
    files = hub.files("space", "ann/demo", "v1")
    assert set(files) == {".gitattributes", "LICENSE", "README.md", "app.py", "page.py", "requirements.txt"}
    assert read_metadata(files["README.md"].decode())["models"] == ["ann/heard"]
    assert read_metadata(files["README.md"].decode())["python_version"] == "3.11"
    assert done["summary"].startswith(f"OK ann/demo@{done['commit']}: ")
    assert "MODEL_ID, MODEL_REVISION, CONCURRENCY, HF_TOKEN (secret), SESAME (secret) are set" in done["summary"]
    assert any("The Space is building" in line for line in done["lines"])
    assert any("the token that you publish with" in line for line in done["lines"])
    assert len(hub.requests("POST", "/api/spaces/ann/demo/commit/")) == 1
    # Neither secret is in a file, the output, or a URL.
    assert not any(secret.encode() in content for content in files.values() for secret in (SESAME, WRITE_TOKEN))
    assert SESAME not in client.printed.read_text() + str(done)
    assert not any(SESAME in entry.path + entry.query for entry in hub.log)
    # The same again: no commit, and no variable is set anew.
    before = len(hub.requests("POST", "/api/spaces/ann/demo/variables"))
    assert publish(client, demonstration, "ann/demo", tag="v1", **arguments)["changed"] is False
    assert len(hub.requests("POST", "/api/spaces/ann/demo/variables")) == before
    # A new revision of the model changes only the variable.
    publish(client, demonstration, "ann/demo", **{**arguments, "model": "ann/heard"})
    assert hub.storage.repository("space", "ann/demo").state["variables"]["MODEL_REVISION"]["value"] != model
    assert len(hub.history("space", "ann/demo")) == 2
    assert hub.unknown() == []
    checked = client.cli("verify", "ann/demo@v1", "--kind", "space")
    assert checked.status == 0, checked.err
    assert "front matter complete, requirements pinned" in checked.out


def test_a_failed_commit_keeps_the_old_space_and_variables(
    hub: HubServer, client: Client, demonstration: Path, model: str
) -> None:
    publish(client, demonstration, "ann/steady", model="ann/heard@v1", verify=False)
    (demonstration / "page.py").write_text('TITLE = "Another"\n')
    old = hub.files("space", "ann/steady"), hub.storage.repository("space", "ann/steady").state["variables"]
    with hub.failing(faults.commit_unavailable()):
        assert "not available now (503" in refused(client, demonstration, "ann/steady")
    assert (hub.files("space", "ann/steady"), hub.storage.repository("space", "ann/steady").state["variables"]) == old
    publish(client, demonstration, "ann/steady", verify=False)
    assert hub.files("space", "ann/steady")["page.py"] == b'TITLE = "Another"\n'


def test_rejects_a_missing_or_unreadable_model(client: Client, hub: HubServer, demonstration: Path, model: str) -> None:
    assert "ann/heard is private" in refused(client, demonstration, "ann/blind", secrets=[])
    assert "There is no model ann/nowhere" in refused(client, demonstration, "ann/blind", model="ann/nowhere")
    assert "no revision v9" in refused(client, demonstration, "ann/blind", model="ann/heard@v9")
    assert "The secret NOWHERE_SET has no value" in refused(
        client, demonstration, "ann/blind", secrets=["HF_TOKEN", "NOWHERE_SET"]
    )
    assert not hub.exists("space", "ann/blind")


def test_a_pull_request_does_not_change_variables(
    hub: HubServer, client: Client, demonstration: Path, model: str
) -> None:
    publish(client, demonstration, "ann/asked", model="ann/heard@v1", verify=False)
    (demonstration / "page.py").write_text('TITLE = "Another"\n')
    done = publish(client, demonstration, "ann/asked", create_pr=True)
    assert any("Proposed as" in line for line in done["lines"])
    state = hub.storage.repository("space", "ann/asked").state
    assert state["variables"]["MODEL_REVISION"]["value"] == model
    assert b"Another" not in hub.files("space", "ann/asked")["page.py"]


def test_a_dry_run_uploads_nothing(hub: HubServer, client: Client, demonstration: Path) -> None:
    before = len([entry for entry in hub.log if entry.method in ("POST", "PUT", "DELETE")])
    done = publish(client, demonstration, "ann/dry", dry_run=True)
    assert "app.py" in done["tree"]
    assert "ann/heard" in done["card"]
    assert len([entry for entry in hub.log if entry.method in ("POST", "PUT", "DELETE")]) == before


def test_the_space_links_its_model(hub: HubServer, client: Client, model: str, tmp_path: Path) -> None:
    """Title, tags and examples fit the model, and the required files are included."""
    card = "---\\npipeline_tag: audio-classification\\ntags: [lstm, dogs]\\n---\\n# Dogs"
    client.run("api.create_repo('ann/dogs')")
    client.run(f"api.upload_file(path_or_fileobj=b'{card}', path_in_repo='README.md', repo_id='ann/dogs')")
    (tmp_path / "sounds").mkdir()
    example = REPOSITORY / "spaces" / "classify" / "examples" / "two.flac"
    for name in ("a small dog.flac", "notes.txt"):
        (tmp_path / "sounds" / name).write_bytes(example.read_bytes())
    folder = REPOSITORY / "spaces" / "classify"
    options = {"model": "ann/dogs", "secrets": [], "examples": str(tmp_path / "sounds")}
    publish(client, folder, "ann/barks", title="Which dog barks?", **options)
    files = hub.files("space", "ann/barks")
    assert [name for name in files if "examples" in name] == ["model_examples/a small dog.flac"]
    assert {"serving.py", "page.css", "hf_speech/common/text.py"} <= set(files)
    front = read_metadata(files["README.md"].decode())
    assert front["title"] == "Which dog barks?"
    assert {"lstm", "dogs", "audio-classification", "mcp-server"} <= set(front["tags"])
    assert "\n# Which dog barks?\n" in files["README.md"].decode()
    variables = hub.storage.repository("space", "ann/barks").state["variables"]
    assert variables["TITLE"]["value"] == "Which dog barks?"
    publish(client, folder, "ann/barks2", model="ann/dogs", secrets=[])
    assert read_metadata(hub.files("space", "ann/barks2")["README.md"].decode())["title"] == "dogs"


def test_limits_examples(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="has 0 recordings"):
        find_examples(tmp_path)
    (tmp_path / "a.wav").write_bytes(bytes(2**20 + 1))
    with pytest.raises(PublishError, match="larger than 1 MB"):
        find_examples(tmp_path)


def test_suggests_alternatives_for_free_accounts(
    hub: HubServer, client: Client, demonstration: Path, model: str
) -> None:
    unpaid = Fault("POST", "/api/repos/create", "answer", times=2, status=402, message="Subscribe to PRO to host it.")
    with hub.failing(unpaid):
        with pytest.raises(ClientError) as refused:
            publish(client, demonstration, "ann/unpaid")
        for way in ("only (Subscribe to PRO to host it)", "--static", "--hardware zero-a10g", "hf-speech demo"):
            assert way in str(refused.value)
        source = "from hf_speech.common.hub import Repository\nwith Repository('ann/unpaid').readable_errors():\n    "
        with pytest.raises(ClientError, match="requires a paid plan for the model ann/unpaid"):
            client.run(f"{source}api.create_repo('ann/unpaid')")


@pytest.mark.parametrize("name", ["transcribe", "classify"])
def test_publishes_a_space_for_zero_gpu(hub: HubServer, client: Client, model: str, name: str) -> None:
    done = publish(client, REPOSITORY / "spaces" / name, f"ann/zero-{name}", hardware="zero-a10g")
    assert done["summary"].startswith("OK ")
    created = [json.loads(entry.body) for entry in hub.requests("POST", "/api/repos/create")]
    assert [each["hardware"] for each in created if each["name"] == f"zero-{name}"] == ["zero-a10g"]
    files = hub.files("space", f"ann/zero-{name}")
    assert read_metadata(files["README.md"].decode())["python_version"] == "3.12.12"
    assert "torch==2.11.0" in files["requirements.txt"].decode().splitlines()
    assert b"import spaces" in files["zero_gpu.py"]


def test_zero_gpu_needs_a_decorated_function(client: Client, demonstration: Path, model: str) -> None:
    with pytest.raises(ClientError, match="a function has the decorator"):
        publish(client, demonstration, "ann/zero", hardware="zero-a10g")


@pytest.mark.parametrize("name", ["transcribe", "classify"])
def test_publishes_the_spaces_of_this_project(hub: HubServer, client: Client, model: str, name: str) -> None:
    folder = REPOSITORY / "spaces" / name
    if not (folder / "README.md").is_file():
        pytest.skip(f"there is no Space {name} yet")
    done = publish(client, folder, f"ann/{name}")
    assert done["summary"].startswith("OK ")
    assert {"app.py", "README.md", "requirements.txt", "LICENSE"} <= set(hub.files("space", f"ann/{name}"))


@pytest.mark.parametrize(
    ("line", "replacement", "message"),
    [
        ("title: A demonstration\n", "", "has no title"),
        ("license: apache-2.0\n", "", "has no license"),
        ("sdk_version: 6.31.0\n", "", "has no sdk_version"),
        ('python_version: "3.11"\n', "", "has no python_version"),
        ('"3.11"', "3.11", "reads as a number: write it as '3.11'"),
        ("app_file: app.py\n", "", "has no app_file"),
        ("app.py", "main.py", "names the app_file main.py, which does not exist"),
        ("short_description: What a small model hears\n", "", "has no short_description"),
        ("What a small model hears", "x" * 61, "short_description of 61 characters: shorten it to 60"),
        ("models:\n- somebody/else\n", "", "has no models"),
        ("sdk: gradio", "sdk: streamlit", "has sdk: streamlit: use one of gradio, docker, static"),
        ("license:", "colorFrom: mauve\nlicense:", "has colorFrom: mauve: use one of red"),
        ("6.31.0", "6.30.0", "requires gradio 6.31.0, but its sdk_version is 6.30.0"),
    ],
)
def test_rejects_incomplete_front_matter(demonstration: Path, line: str, replacement: str, message: str) -> None:
    check_space(demonstration)
    text = (demonstration / "README.md").read_text()
    assert line in text
    (demonstration / "README.md").write_text(text.replace(line, replacement, 1))
    with pytest.raises(PublishError, match=re.escape(message)):
        check_space(demonstration)


@pytest.mark.parametrize("line", ["torch", "torch>=2.11", "torch==2.*", "git+https://example.org/torch", "-r more.txt"])
def test_rejects_unpinned_requirements(demonstration: Path, line: str) -> None:
    with (demonstration / "requirements.txt").open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(PublishError, match=r"does not pin the version of .*: write NAME==VERSION"):
        check_space(demonstration)


def test_rejects_programs_with_syntax_errors(demonstration: Path) -> None:
    (demonstration / "page.py").write_text("TITLE = \n")
    with pytest.raises(PublishError, match=r"page\.py is not Python"):
        check_space(demonstration)


def test_adds_the_model_to_the_front_matter(demonstration: Path, tmp_path: Path) -> None:
    text = with_model(demonstration, "ann/heard")
    assert read_metadata(text)["models"] == ["ann/heard"]
    assert text.endswith("\n# A demonstration\n")
    assert with_model(demonstration, "somebody/else") == README
    with pytest.raises(PublishError, match=r"has no README\.md with the front matter of a Space"):
        with_model(tmp_path, "ann/heard")


def test_secrets_come_only_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESAME", SESAME)
    assert secret_values(["SESAME"]) == {"SESAME": SESAME}
    assert secret_values(["KEY=SESAME"]) == {"KEY": SESAME}
    with pytest.raises(PublishError, match="never the value itself") as refusal:
        secret_values([f"SESAME={SESAME}"])
    assert SESAME not in str(refusal.value)


def test_variables_need_a_name_and_a_value() -> None:
    assert parse_variables(["A=1", "B=x=y"]) == {"A": "1", "B": "x=y"}
    with pytest.raises(PublishError, match="write --variable NAME=VALUE"):
        parse_variables(["A"])
