"""The facts about a corpus on a card: its title, languages, license and homepage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from hf_speech.data.corpora import CORPORA
from hf_speech.data.corpora.base import UserCorpus
from hf_speech.publishing.card.facts import Evaluation, RunFacts

# Corpora of this package that are on the Hub.
HUB_DATASETS = {
    "an4": "espnet/an4",
    "librispeech": "openslr/librispeech_asr",
    "ljspeech": "keithito/lj_speech",
    "speech_commands": "google/speech_commands",
}


@dataclass(frozen=True)
class CorpusFacts:
    """The facts about a corpus.

    Attributes:
        name: Its name in recipes.
        title: Its full name.
        homepage: Its homepage.
        license: Its license or terms of use.
        languages: BCP-47 codes of the spoken languages.
        dataset: Its name in the card's metadata, the one on the Hub if it is there.
        options: The corpus section of the recipe.
        named: Whether it has a title of its own, rather than one made of its folder and format.
        parts: The corpora of a mixture.
    """

    name: str
    title: str
    homepage: str | None
    license: str | None
    languages: list[str]
    dataset: str | None
    options: dict[str, Any]
    named: bool = True
    parts: tuple[CorpusFacts, ...] = ()

    @property
    def datasets(self) -> list[str]:
        """The dataset names for the card's metadata."""
        names = [part.dataset for part in self.parts or (self,)]
        return list(dict.fromkeys(name for name in names if name))


def corpus_facts(name: str, options: dict[str, Any], hub_metadata: Mapping[str, Any] | None = None) -> CorpusFacts:
    """Collects the facts about a corpus.

    Args:
        name: Its name in recipes.
        options: The corpus section of the recipe, which takes precedence.
        hub_metadata: The metadata of the dataset's card on the Hub.
    """
    if entries := options.get("corpora"):
        return _mixture_facts(name, options, [corpus_facts(str(entry["name"]), entry) for entry in entries])
    known = CORPORA.get(name)
    metadata = dict(hub_metadata or {})
    homepage = getattr(known, "homepage", None)
    title = getattr(known, "title", name)
    dataset = HUB_DATASETS.get(name, name if homepage else None)
    named = homepage is not None
    languages = [language] if (language := getattr(known, "language", None)) else []
    license = getattr(known, "license", None)
    if options.get("repo"):
        dataset = str(options["repo"])
        title, homepage, named = str(metadata.get("pretty_name") or dataset), _page(dataset), True
    elif own := _own_name(name, options):
        title = f"{own} ({title})"
    if not languages and options.get("voices"):  # Named as in eSpeak NG: en-us, en-gb-scotland.
        languages = sorted({str(voice).partition("-")[0] for voice in options["voices"] if ":" not in str(voice)})
    if spoken := metadata.get("language"):
        languages = [str(code) for code in (spoken if isinstance(spoken, list) else [spoken])]
    license = str(metadata["license"]) if metadata.get("license") else license
    # For a user's own corpus, the facts in the recipe.
    if options.get("title") not in (None, "", getattr(known, "title", None)):
        title, named = str(options["title"]), True
    if options.get("language"):
        languages = [code for code in re.split(r"[\s,]+", str(options["language"])) if code]
    license = str(options["license"]) if options.get("license") else license
    if options.get("dataset"):
        dataset = str(options["dataset"])
        homepage = _page(dataset)
    homepage = str(options["homepage"]) if options.get("homepage") else homepage
    return CorpusFacts(name, title, homepage, license, languages, dataset, options, named)


def _own_name(name: str, options: Mapping[str, Any]) -> str | None:
    """Names a user's own corpus by its dataset on the Hub, or by its folder or table."""
    if not issubclass(CORPORA.get(name, object), UserCorpus):
        return None
    folder, table = (PurePath(str(options.get(key) or "")) for key in ("data_dir", "train_file"))
    return options.get("dataset") or table.parent.name or folder.name or table.name or None


def _mixture_facts(name: str, options: dict[str, Any], parts: list[CorpusFacts]) -> CorpusFacts:
    """Combines the facts about several corpora."""
    titles = list(dict.fromkeys(part.title for part in parts))
    title = " and ".join([", ".join(titles[:-1]), titles[-1]] if len(titles) > 1 else titles)
    licenses = dict.fromkeys(f"{part.license} ({part.title})" for part in parts if part.license)
    languages = list(dict.fromkeys(language for part in parts for language in part.languages))
    license = ", ".join(licenses) or None
    return CorpusFacts(name, title, None, license, languages, None, options, parts=tuple(parts))


def corpus_template(corpus: CorpusFacts) -> str:
    """Returns the name of the template in `corpora/` for a corpus or a mixture; the template may not exist."""
    if all(hasattr(CORPORA.get(part.name), "emotions") for part in corpus.parts or [corpus]):
        return "acted_emotions"
    return corpus.name


def trained_on(facts: RunFacts) -> CorpusFacts:
    """Returns the corpus of the recipe, or of the first evaluation if there is no recipe."""
    options = facts.recipe.get("corpus") or {}
    return corpus_facts(str(options.get("name") or facts.main.corpus), options, facts.dataset_metadata)


def measured_on(facts: RunFacts, evaluation: Evaluation) -> CorpusFacts:
    """Returns the corpus of an evaluation."""
    training_corpus = trained_on(facts)
    return training_corpus if evaluation.corpus == training_corpus.name else corpus_facts(str(evaluation.corpus), {})


def _page(dataset: str) -> str:
    return f"https://huggingface.co/datasets/{dataset}"
