"""Publishes a static Space: a page that contains its model and needs no server.

The Hub hosts static Spaces for every account. If playwright and Chromium are installed, verification opens the
published files in a headless browser and compares its logits with those of PyTorch, which were published with the
model.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np
from huggingface_hub import RepoCard

from hf_speech.common.hub import Repository
from hf_speech.errors import PublishError
from hf_speech.inference import load_model
from hf_speech.publishing.checks.spaces import check_space
from hf_speech.publishing.checks.structure import read_metadata
from hf_speech.publishing.delivery import PublishOptions, PublishResult, check_options, deliver
from hf_speech.publishing.hub.probes import PROBE_FILE, Probes
from hf_speech.publishing.hub.verify import RemoteSnapshot, Verification
from hf_speech.publishing.space import find_examples, find_model, space_tags, verify_space, with_model
from hf_speech.publishing.staging import stage
from hf_speech.publishing.web_page import MODEL, MODULE, build_page, describe_sizes, served

# The largest accepted difference, relative to the largest logit.
TOLERANCE = 1e-3
SECONDS = 300
# JavaScript that runs in the page.
PROGRAM = """async ([module, model, clips, rate]) => {
    const { Classifier, Model, Recognizer } = await import(module);
    const kind = document.body.dataset.task === "audio-classification" ? Classifier : Recognizer;
    const loaded = new kind(await Model.load(model, document.body.dataset.task, { languageModel: false }));
    const answers = {};
    for (const [name, clip] of Object.entries(clips)) {
        const samples = Float32Array.from(clip, (sample) => sample / 32768);
        if (kind === Classifier) answers[name] = Array.from(await loaded.logits(samples, rate));
        else {
            answers[name] = [];
            for await (const { logits } of loaded.logits(samples, rate)) answers[name].push(...logits);
        }
    }
    return answers;
}"""


def publish_static_space(
    repo_id: str,
    *,
    model: str,
    title: str | None = None,
    examples: Path | None = None,
    **publish_options: Unpack[PublishOptions],
) -> PublishResult:
    """Publishes a static Space that contains a model from the Hub.

    Args:
        repo_id: `NAME/SPACE`.
        model: `NAME/MODEL`, or `NAME/MODEL@REVISION`.
        title: The title of the Space; by default the model's name.
        examples: A folder of short example recordings, named after their content.
        **publish_options: See `PublishOptions`.

    Raises:
        PublishError: If the Space must not or cannot be published.
        ModelError: If the model cannot be loaded or exported.
    """
    name, _, revision = model.partition("@")
    space, repository = Repository(repo_id, "space"), Repository(name)
    sounds = None if examples is None else find_examples(examples)
    check_options(**publish_options)
    state = find_model(repository, revision)
    if state.private and publish_options.get("public"):
        raise PublishError(
            f"{name} is private, but a public static Space gives its weights to every visitor: make the model public, "
            "or leave out --public."
        )
    loaded = load_model(name, device="cpu", revision=state.commit)
    with tempfile.TemporaryDirectory(prefix="hf-speech-publish-") as temporary:
        folder = build_page(loaded, Path(temporary) / "space", title=title, examples=sounds)
        publish_options.get("notify", print)(describe_sizes(folder))
        metadata = read_metadata(repository.read_card(state) or "")
        card = RepoCard(with_model(folder, name, title or name.rpartition("/")[2], space_tags(metadata)))
        card.data.license = metadata.get("license") or card.data.license
        staged = stage(folder, Path(temporary) / "staged", repo_id=repo_id, kind="space", card=str(card))
        check_space(staged.folder)
        probes = loaded.find_file(PROBE_FILE)
        return deliver(
            staged,
            space,
            partial(verify_static_space, probes=None if probes is None else Probes.load(probes)),
            space_sdk="static",
            **publish_options,
        )


def verify_static_space(snapshot: RemoteSnapshot, probes: Probes | None) -> Verification:
    """Compares the logits of a downloaded Space in a headless browser with those of PyTorch.

    Args:
        snapshot: The download.
        probes: The probe clips of the model, or None.
    """
    verification = verify_space(snapshot)
    browser = find_chromium()
    differences: tuple[str, ...] = ()
    if probes is None or browser is None:
        missing = "the model has no probe clips" if probes is None else "Chromium is not installed"
        found = f"not opened in a browser ({missing})"
    else:
        try:
            logits = browser_logits(snapshot.folder, probes, browser)
        except ImportError:
            found = "not opened in a browser (pip install playwright)"
        else:
            largest = max(float(np.abs(expected).max()) for expected in probes.logits.values())
            same_shape = all(logits[name].shape == expected.shape for name, expected in probes.logits.items())
            difference = probes.largest_difference(logits) if same_shape else np.inf
            found = f"a headless browser computes PyTorch's logits (largest difference {difference:.1g})"
            if not difference <= TOLERANCE * max(largest, 1.0):
                differences = (f"in a headless browser, the logits differ from PyTorch's by up to {difference:.2g}",)
    return replace(
        verification,
        found=verification.found if differences else (*verification.found, found),
        differences=(*verification.differences, *differences),
    )


def find_chromium() -> str | None:
    """Returns the path of Chromium, or None if it is not installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def browser_logits(folder: Path, probes: Probes, browser: str) -> dict[str, np.ndarray]:
    """Computes the logits of probe clips in a headless browser.

    Args:
        folder: The folder of the page.
        probes: The clips.
        browser: The path of Chromium.

    Raises:
        ImportError: If playwright is not installed.
        PublishError: If the page does not open or cannot run its model.
    """
    from playwright.sync_api import Error, sync_playwright

    clips = {name: clip.tolist() for name, clip in probes.clips.items()}
    try:
        with served(folder) as address, sync_playwright() as driver:
            page = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
            page.goto(address)
            page.locator("body[data-state=ready]").wait_for(timeout=1000 * SECONDS)
            answers = page.evaluate(PROGRAM, [f"./{MODULE}/index.js", f"{MODEL}/", clips, probes.sampling_rate])
    except Error as error:
        reason = str(error).splitlines()[0][:200]
        raise PublishError(f"The Space does not run in a headless browser ({reason}): please report it.") from error
    return {
        name: np.array(answers[name], dtype=np.float32).reshape(-1, *expected.shape[1:])
        for name, expected in probes.logits.items()
    }
