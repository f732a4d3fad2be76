"""Static Spaces: publishing from the command line, and opening the published files."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile
from hub_server import HubServer
from hub_server.client import Client

from hf_speech.data.cache import cache_dir
from hf_speech.errors import PublishError
from hf_speech.publishing import web_page
from hf_speech.publishing.checks import executables
from hf_speech.publishing.checks.formats import format_error
from hf_speech.publishing.checks.structure import read_metadata
from hf_speech.publishing.checks.upload import Upload
from hf_speech.publishing.static_space import find_chromium
from hf_speech.publishing.web_page import build_page, describe_sizes, served
from hf_speech.publishing.web_runtime import WASM, runtime_folder, web_dir

PRETRAINED = Path(__file__).resolve().parents[2] / "pretrained"
ADDRESS = re.compile(r"https?://(?!127\.0\.0\.1)[\w.-]+")


@pytest.fixture(scope="module")
def runtime() -> Path:
    """The downloaded npm packages."""
    try:
        return runtime_folder()
    except PublishError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("model", "kept"), [("an4-streaming", "stream"), ("fsdd-digits", "model")])
def test_writes_the_files_of_a_static_page(runtime: Path, tmp_path: Path, model: str, kept: str) -> None:
    from hf_speech.inference import load_model

    page = build_page(load_model(PRETRAINED / model, "cpu"), tmp_path / "page", title='A & "B"')
    description = json.loads((page / "model" / "export.json").read_text())
    files = {path.name for path in (page / "model").iterdir()}
    assert set(description["files"]) == {f"{kept}.onnx", f"{kept}_packed.onnx"}
    language_model = description.get("language_model", {"file": "export.json"})
    assert files == {"export.json", language_model["file"], *description["files"]}
    for name, facts in [
        *description["files"].items(),
        *([(language_model["file"], language_model)] * (len(files) > 3)),
    ]:
        content = (page / "model" / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (facts["bytes"], facts["sha256"])
    packed, whole = (description["files"][f"{kept}{suffix}.onnx"]["bytes"] for suffix in ("_packed", ""))
    assert packed < 0.55 * whole
    html = (page / "index.html").read_text()
    assert ("and a language model of 49." in describe_sizes(page)) == (model == "an4-streaming")
    assert ("Use the language model (49." in html) == (model == "an4-streaming")
    assert "<h1>A &amp; &#34;B&#34;</h1>" in html
    assert json.loads((page / "site.webmanifest").read_text())["name"] == 'A & "B"'
    assert {path.name for path in (page / "examples").iterdir()} == {"0.flac", "1.flac", "2.flac"}
    assert (">seven</button>" if kept == "model" else ">pittsburgh spelled</button>") in html
    # Every referenced file exists, and none is on another server.
    for path in [*page.glob("*.js"), *page.glob("hf-speech/*.js"), page / "index.html", page / "page.css"]:
        text = path.read_text()
        assert ADDRESS.findall(text) == [], path
        for name in re.findall(r'(?:from|src=|href=)\s*"((?:\./|\.\./|\w)[\w./-]+)"', text):
            assert (path.parent / name).is_file(), (path, name)
    shell = json.loads((page / "version.js").read_text().partition("SHELL = ")[2].rstrip(";\n"))
    assert all((page / name).exists() for name in shell)


@pytest.mark.parametrize(
    ("model", "about"),
    [
        (
            "english",
            r"on LibriSpeech, .* and AN4\. On its test recordings, \d+ of 100 words were wrong",
        ),
        (
            "an4",
            r"on AN4 \(CMU Census\): names, .* in American English\. On its .* of 100 words",
        ),
        ("fsdd-digits", r"trained on Free Spoken Digit Dataset: single English digits\.$"),
        ("emotion", r"on RAVDESS and CREMA-D: a few sentences, spoken by actors who were asked for an emotion\.$"),
    ],
)
def test_the_page_describes_its_model(model: str, about: str) -> None:
    from hf_speech.inference import load_model

    loaded = load_model(PRETRAINED / model, "cpu")
    assert re.search(about, web_page.describe(loaded)), web_page.describe(loaded)


def test_the_runtime_matches_the_lock_file(runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packages = json.loads((web_dir() / "package-lock.json").read_text())["packages"]
    assert packages["node_modules/onnxruntime-web"]["version"] in runtime.name
    assert not any("resolved" in package for package in packages.values())
    assert {path.name for path in runtime.iterdir()} == {WASM, "ort.wasm.bundle.min.mjs", "mediabunny.min.mjs"}
    # A registry that has something else: nothing is kept.
    archive = (
        tmp_path
        / "npm"
        / "onnxruntime-web"
        / "-"
        / f"onnxruntime-web-{packages['node_modules/onnxruntime-web']['version']}.tgz"
    )
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"something else")
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", (tmp_path / "npm").as_uri())
    with pytest.raises(PublishError, match="differs from the lock file"):
        runtime_folder()
    archive.unlink()
    with pytest.raises(PublishError, match="check the connection, or set NPM_CONFIG_REGISTRY"):
        runtime_folder()
    assert not any(path.is_dir() for path in (tmp_path / "cache" / "web").iterdir())


def test_publishes_only_exported_models_and_the_locked_runtime(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\x08\x07")
    assert format_error(tmp_path / "a.onnx") == "it is not an exported model"
    (tmp_path / "vendor").mkdir()
    for name in ("mediabunny.min.mjs", WASM):
        shutil.copyfile(runtime / name, tmp_path / "vendor" / name)
    upload = Upload(tmp_path, "space")
    assert [path.name for path in upload.files()] == ["a.onnx"]
    (tmp_path / "vendor" / WASM).open("ab").write(b"more")
    (tmp_path / "vendor" / "mediabunny.min.mjs").rename(tmp_path / "mediabunny.min.mjs")
    assert [path.name for path in upload.files()] == ["a.onnx", "mediabunny.min.mjs", WASM]
    with pytest.raises(PublishError, match="WebAssembly"):
        executables.check(upload)


def answer_in_browser(executable: str, folder: Path, sound: Path) -> str:
    """Opens a page in Chromium, chooses a sound, and returns the text or the most probable class."""
    api = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright, which is missing")
    with served(folder) as address, api.sync_playwright() as driver:
        page = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"]).new_page()
        page.goto(address)
        page.locator("body[data-state=ready]").wait_for()
        page.locator("#file").set_input_files(sound)
        page.locator("#words button, #bars li").first.wait_for()
        page.locator("#player").wait_for()
        words = page.locator("#words button").all_inner_texts()
        bars = page.locator("#bars li").all_inner_texts()
    return " ".join(word.strip() for word in words) or bars[0].split()[0]


@pytest.mark.slow
def test_publishes_a_trained_model_as_a_static_page(
    hub: HubServer,
    client: Client,
    runtime: Path,
    tones_run: Path,
    beeps_run: Path,
    make_tone: Any,
    make_beeps: Any,
    tmp_path: Path,
) -> None:
    environment: dict[str, Any] = {"HF_SPEECH_CACHE": str(cache_dir())}
    cases = (
        ("ringing", tones_run, make_tone(0.5, 1200.0, sampling_rate=8000, amplitude=0.3), "high"),
        ("beeping", beeps_run, make_beeps("abc cab ba", 8000), "abc cab ba"),
    )
    for name, run, sound, answer in cases:
        folder = shutil.copytree(run, tmp_path / name)
        done = client.cli("publish", folder, "--repo_id", f"ann/{name}", "--no-verify")
        assert done.status == 0, done.err
        words = ["publish-space", "--static", "--model", f"ann/{name}", "--repo_id", f"ann/{name}-page"]
        done = client.cli(*words, environment=environment)
        assert done.status == 0, done.err
        assert "Visitors download a model of " in done.out
        if executable := find_chromium():
            assert "a headless browser computes PyTorch's logits" in done.out
        space = hub.storage.repository("space", f"ann/{name}-page")
        assert space.private
        assert space.state["sdk"] == "static"
        files = hub.files("space", f"ann/{name}-page")
        assert files["vendor/" + WASM] == (runtime / WASM).read_bytes()
        assert {"index.html", "hf-speech/index.js", "model/export.json", "service-worker.js"} <= set(files)
        card = read_metadata(files["README.md"].decode())
        assert (card["sdk"], card["models"], card["title"]) == ("static", [f"ann/{name}"], name)
        assert f"https://huggingface.co/ann/{name}" in files["index.html"].decode()
        for path, content in files.items():
            (tmp_path / f"{name}-page" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f"{name}-page" / path).write_bytes(content)
        soundfile.write(tmp_path / f"{name}.wav", sound, 8000)
        if executable:
            assert answer_in_browser(executable, tmp_path / f"{name}-page", tmp_path / f"{name}.wav") == answer
        again = client.cli(*words, "--no-verify", environment=environment)
        assert "no commit was made" in again.out, again.out + again.err
    refused = client.cli(*words, "--public", environment=environment)
    assert "gives its weights to every visitor" in refused.err
    assert "omit them" in client.cli(*words, "--variable", "A=B", environment=environment).err
