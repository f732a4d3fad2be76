"""What a card says about a corpus: its title, language, license and where it can be found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from hf_speech.data.corpora import CORPORA
from hf_speech.data.corpora.base import OwnCorpus
from hf_speech.publishing.card.facts import Evaluation, RunFacts

# Where the corpora of this package lie on the Hub, of those that do.
HUB_DATASETS = {
    "an4": "espnet/an4",
    "librispeech": "openslr/librispeech_asr",
    "ljspeech": "keithito/lj_speech",
    "speech_commands": "google/speech_commands",
}


@dataclass(frozen=True)
class CorpusFacts:
    """What is known of a corpus.

    Attributes:
        name: What recipes call it.
        title: Its full name.
        homepage: Where it is described.
        license: Its terms.
        languages: BCP-47 codes of what is spoken.
        dataset: Its name in the card's metadata: on the Hub, if it is there.
        options: The recipe's section about it.
        named: Whether the title is the corpus's own, and not one made of its folder and format.
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
        """The names in the card's metadata."""
        every = [part.dataset for part in self.parts or (self,)]
        return list(dict.fromkeys(name for name in every if name))


def corpus_facts(name: str, options: dict[str, Any], on_the_hub: Mapping[str, Any] | None = None) -> CorpusFacts:
    """What is known of a corpus: the recipe's own words in `options` come first, then the card of its dataset."""
    if entries := options.get("corpora"):
        return _mixture_facts(name, options, [corpus_facts(str(entry["name"]), entry) for entry in entries])
    known = CORPORA.get(name)
    metadata = dict(on_the_hub or {})
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
    if not languages and options.get("voices"):  # eSpeak NG's names: en-us, en-gb-scotland
        languages = sorted({str(voice).partition("-")[0] for voice in options["voices"] if ":" not in str(voice)})
    if spoken := metadata.get("language"):
        languages = [str(code) for code in (spoken if isinstance(spoken, list) else [spoken])]
    license = str(metadata["license"]) if metadata.get("license") else license
    # What the recipe says of a corpus of one's own, beyond the words for its format.
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
    """What to call a corpus without a title: its name on the Hub, or that of a folder or table that it is read from."""
    if not issubclass(CORPORA.get(name, object), OwnCorpus):
        return None
    folder, table = (PurePath(str(options.get(key) or "")) for key in ("data_dir", "train_file"))
    return options.get("dataset") or table.parent.name or folder.name or table.name or None


def _mixture_facts(name: str, options: dict[str, Any], parts: list[CorpusFacts]) -> CorpusFacts:
    """What is known of several corpora: their titles, and the terms and languages of each."""
    titles = list(dict.fromkeys(part.title for part in parts))
    title = " and ".join([", ".join(titles[:-1]), titles[-1]] if len(titles) > 1 else titles)
    licenses = dict.fromkeys(f"{part.license} ({part.title})" for part in parts if part.license)
    languages = list(dict.fromkeys(language for part in parts for language in part.languages))
    license = ", ".join(licenses) or None
    return CorpusFacts(name, title, None, license, languages, None, options, parts=tuple(parts))


def corpus_template(name: str) -> str:
    """Which template of `corpora/` describes a corpus, if it is there: its own, or that of its kind."""
    return "acted_emotions" if hasattr(CORPORA.get(name), "emotions") else name


def trained_on(facts: RunFacts) -> CorpusFacts:
    """The corpus of the recipe, or of the first evaluation where there is no recipe."""
    options = facts.recipe.get("corpus") or {}
    return corpus_facts(str(options.get("name") or facts.main.corpus), options, facts.dataset_metadata)


def measured_on(facts: RunFacts, evaluation: Evaluation) -> CorpusFacts:
    """The corpus of an evaluation."""
    own = trained_on(facts)
    return own if evaluation.corpus == own.name else corpus_facts(str(evaluation.corpus), {})


def _page(dataset: str) -> str:
    return f"https://huggingface.co/datasets/{dataset}"
