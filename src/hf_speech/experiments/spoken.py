"""The experiment of a domain that nobody has recorded: a grammar, spoken by synthetic voices, tested on recordings."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from hf_speech.common.fingerprint import LANGUAGE_MODEL
from hf_speech.experiments.runs import RunRecord
from hf_speech.experiments.suite import ExperimentFolders, Item
from hf_speech.inference import BeamOptions, load_model
from hf_speech.training import Recipe
from hf_speech.training.from_text import add_language_model, from_text_recipe


@dataclass(frozen=True)
class FromText(Item):
    """A recognizer of a grammar, tested on recordings with and without the grammar's language model.

    Attributes:
        text: The grammar.
        init_from: The model to start from; a run of the experiments begins with `RUNS/`.
        voices: The voices; their folders begin with `CORPORA/`.
        sentences: Sentences that are drawn from the grammar.
    """

    text: str = ""
    init_from: str = ""
    voices: tuple[str, ...] = ()
    sentences: int = 2000

    def _prepare(self, folders: ExperimentFolders, fold: int | None) -> tuple[Recipe, str]:
        """The recipe of the grammar, and the command that trains it."""
        start = ["--init_from", self.init_from] if self.init_from else []
        words = [self.text, "--recipe", self.recipe, "--sentences", str(self.sentences), *start]
        words += [word for voice in self.voices for word in ("--voices", voice)]
        recipe = from_text_recipe(
            Path(self.text),
            self.recipe,
            init_from=folders.placed(self.init_from) or None,
            voices=[*map(folders.placed, self.voices)],
            sentences=self.sentences,
            overrides=[*map(folders.placed, self.overrides)],
        )
        return recipe, shlex.join(["hf-speech", "from-text", *words, *self.overrides])

    def _train(self, folders: ExperimentFolders, fold: int | None) -> RunRecord:
        """Trains the recognizer and measures it greedily, then with the language model."""
        super()._train(folders, fold)
        run_dir = folders.runs / self.name
        path = run_dir / LANGUAGE_MODEL
        if not BeamOptions.file(path).is_file():
            recipe, command = self._prepare(folders, fold)
            add_language_model(load_model(run_dir, device="cpu"), Path(self.text), recipe, run_dir, command)
        return self._test_on_recordings(folders, run_dir, BeamOptions.beside(path))
