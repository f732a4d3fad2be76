"""Builds a page that runs a model in the visitor's browser, for a static Space.

The page consists of `spaces/static`, the module `web/src`, the runtime from npm, the exported model, and examples. The
files are copied without a build step.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jinja2
import yaml

from hf_speech.common.digests import digest_data, digest_files
from hf_speech.common.files import file_size
from hf_speech.data.corpora import CORPORA, ListedCorpus
from hf_speech.export.exporting import export_model
from hf_speech.inference import LoadedModel
from hf_speech.inference.examples import choose_examples
from hf_speech.inference.onnx_description import FILE, WHOLE
from hf_speech.publishing.assembly import spaces_dir
from hf_speech.publishing.card.corpora import corpus_facts, corpus_template
from hf_speech.publishing.card.templates import corpus_domain
from hf_speech.publishing.web_runtime import FOLDER, runtime_folder, web_dir

# Files that are rendered as templates.
TEMPLATES = ("index.html", "site.webmanifest", "version.js")
MODULE, MODEL, EXAMPLES = "hf-speech", "model", "examples"


def build_page(
    loaded: LoadedModel, folder: Path, *, title: str | None = None, examples: Sequence[Path] | None = None
) -> Path:
    """Writes the page of a model.

    Args:
        loaded: The model, on the CPU.
        folder: The folder to write to, which must not exist.
        title: The title of the page; by default the model's name.
        examples: Short recordings, named after their content; by default those in `spaces/` that suit the model.

    Returns:
        `folder`.

    Raises:
        ModelError: If the model cannot be exported.
        PublishError: If the runtime cannot be downloaded.
    """
    shutil.copytree(spaces_dir() / "static", folder)
    shutil.copytree(web_dir() / "src", folder / MODULE, dirs_exist_ok=True)
    for name in ("runtime.js", "media.js"):  # They replace the module's own files of these names.
        shutil.move(folder / name, folder / MODULE / name)
    shutil.copytree(runtime_folder(), folder / FOLDER)
    _export(loaded, folder / MODEL)
    is_local = Path(loaded.name).expanduser().is_dir()
    name = Path(loaded.name).expanduser().resolve().name if is_local else loaded.name
    facts: dict[str, Any] = {
        "title": title or name.rpartition("/")[2],
        "about": describe(loaded),
        "task": loaded.task.name,
        "model": name,
        "model_url": None if is_local else f"https://huggingface.co/{loaded.name}",
        "sizes": sizes_of(folder),
        "examples": [
            {"file": f"{EXAMPLES}/{name}", "label": label}
            for label, name in _copy_examples(loaded, examples, folder / EXAMPLES).items()
        ],
    }
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    facts["version"] = digest_data(digest_files(files), facts)[:16]
    facts["shell"] = ["./", *(path.name for path in folder.iterdir() if path.suffix in (".js", ".css", ".svg"))]
    for name in TEMPLATES:
        environment = jinja2.Environment(autoescape=name.endswith(".html"), trim_blocks=True, lstrip_blocks=True)
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(environment.from_string(text).render(facts), encoding="utf-8")
    return folder


def sizes_of(folder: Path) -> dict[str, str]:
    """Returns the sizes of a page's model by precision, and of its `language_model`, if it has one."""
    description = json.loads((folder / MODEL / FILE).read_text(encoding="utf-8"))
    sizes = {file["precision"]: file_size(file["bytes"]) for file in description["files"].values()}
    if "language_model" in description:
        sizes["language_model"] = file_size(description["language_model"]["bytes"])
    return sizes


def describe_sizes(folder: Path) -> str:
    """Describes in one sentence what visitors of a page download."""
    sizes = sizes_of(folder)
    extra = f", and a language model of {sizes['language_model']}" if "language_model" in sizes else ""
    return f"Visitors download a model of {sizes['packed']} (optionally {sizes['float32']} in 32 bits){extra}."


def _export(loaded: LoadedModel, folder: Path) -> None:
    """Exports the model in the precisions that visitors can choose."""
    export_model(loaded, folder, int8=False, packed=True)
    description = json.loads((folder / FILE).read_text(encoding="utf-8"))
    if description["states"]:  # The streaming model makes the one for whole recordings redundant.
        for name in [name for name in description["files"] if name.startswith(WHOLE)]:
            (folder / name).unlink()
            del description["files"][name]
    # Rounding differences vary from run to run, but the page must be reproducible.
    for file in description["files"].values():
        del file["max_difference"], file["largest_logit"]
    (folder / FILE).write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(loaded: LoadedModel) -> str:
    """Describes a model to visitors in two or three sentences."""
    if loaded.task.verb == "classify":
        sentences = [f"Tells {len(loaded.labels)} classes of sounds apart: {_list(loaded.labels)}."]
    elif loaded.task.verb == "listen":
        sentences = [f"Listens for {_list(loaded.labels[1:])}."]
    else:
        sentences = ["Writes what you say."]
    recipe = loaded.find_file("recipe.yaml")
    corpus = corpus_title(recipe)
    if corpus is not None:
        domain = _domain(_corpus_section(recipe))
        sentences.append(f"It was trained on {corpus}{f': {domain}' if domain else ''}.")
    if (share := _word_error_rate(loaded)) is not None:
        sentences.append(f"On its test recordings, {100 * share:.0f} of 100 words were wrong.")
    return " ".join(sentences)


def _word_error_rate(loaded: LoadedModel) -> float | None:
    """Reads the word error rate on the test split, with the language model if there is one."""
    for name in ("test-lm.json", "test.json") if loaded.task.verb == "transcribe" else ():
        if (path := loaded.find_file(f"evaluation/{name}")) is not None:
            with suppress(OSError, ValueError, LookupError, TypeError):
                return float(json.loads(path.read_text(encoding="utf-8"))["metrics"]["wer"])
    return None


def _list(labels: Sequence[str]) -> str:
    return ", ".join(labels) if len(labels) <= 12 else f"{', '.join(labels[:8])} and {len(labels) - 8} more"


def corpus_title(recipe: Path | None) -> str | None:
    """Returns the title of the corpus in a recipe, or the titles of several; None for a user's own corpus."""
    options = _corpus_section(recipe)
    with suppress(LookupError, TypeError, ValueError, AttributeError):
        if options.get("corpora"):
            titles = [part.title for part in corpus_facts("mixture", options).parts]
            *titles, last = dict.fromkeys(re.split(r"[,(]", title)[0].strip() for title in titles)
            return f"{', '.join(titles)} and {last}" if titles else last
        corpus = CORPORA[options["name"]]
        return None if issubclass(corpus, ListedCorpus) and corpus.homepage is None else corpus.title
    return None


def _domain(options: dict[str, Any]) -> str | None:
    """Returns the short description of the speech in the corpus of a recipe, if it has one."""
    with suppress(LookupError, TypeError, ValueError, AttributeError):
        return corpus_domain(corpus_template(corpus_facts(str(options.get("name")), options)))
    return None


def _corpus_section(recipe: Path | None) -> dict[str, Any]:
    """Reads the corpus section of a recipe; empty if there is none."""
    with suppress(OSError, ValueError, TypeError, LookupError, RecursionError, yaml.YAMLError):
        section = yaml.safe_load(recipe.read_text(encoding="utf-8"))["corpus"] if recipe is not None else None
        return section if isinstance(section, dict) else {}
    return {}


def _copy_examples(loaded: LoadedModel, examples: Sequence[Path] | None, target: Path) -> dict[str, str]:
    """Copies examples under names that need no escapes in a URL; returns these names by the examples' labels."""
    target.mkdir()
    if examples is None:
        recognizer = loaded if loaded.task.verb == "transcribe" else None
        space = spaces_dir() / loaded.task.space if loaded.task.space else None
        examples = [] if space is None else choose_examples(space, loaded.labels, recognizer)
    names = {path.stem: f"{index}{path.suffix.lower()}" for index, path in enumerate(examples)}
    for path in examples:
        shutil.copyfile(path, target / names[path.stem])
    return names


@contextmanager
def served(folder: Path, port: int = 0) -> Iterator[str]:
    """Serves a folder on this machine until the context ends.

    Args:
        folder: The folder.
        port: The port; 0 for a free one.

    Yields:
        The address.
    """
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        kinds = {".js": "text/javascript", ".mjs": "text/javascript", ".webmanifest": "application/manifest+json"}
        return kinds.get(Path(path).suffix) or super().guess_type(path)

    def log_message(self, format: str, *args: Any) -> None:
        pass
