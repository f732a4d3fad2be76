"""An experiment without recordings: trains on a grammar spoken by synthetic voices, and tests on real recordings."""

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
class GrammarItem(Item):
    """A recognizer for a grammar, tested on recordings with and without the grammar's language model.

    Attributes:
        text: The grammar file.
        init_from: The model to start from; the path of another experiment's run begins with `runs/experiments/`.
        voices: The voices; paths of downloaded ones begin with `CORPORA/`.
        sentences: Number of sentences to draw from the grammar.
    """

    text: str = ""
    init_from: str = ""
    voices: tuple[str, ...] = ()
    sentences: int = 2000

    def _prepare(self, folders: ExperimentFolders, fold: int | None) -> tuple[Recipe, str]:
        """Returns the recipe for the grammar, and the command that trains it."""
        init_from = ["--init_from", self.init_from] if self.init_from else []
        arguments = [self.text, "--recipe", self.recipe, "--sentences", str(self.sentences), *init_from]
        arguments += [argument for voice in self.voices for argument in ("--voices", voice)]
        recipe = from_text_recipe(
            Path(self.text),
            self.recipe,
            init_from=folders.resolve(self.init_from) or None,
            voices=[*map(folders.resolve, self.voices)],
            sentences=self.sentences,
            overrides=[*map(folders.resolve, self.overrides)],
        )
        return recipe, shlex.join(["hf-speech", "from-text", *arguments, *self.overrides])

    def _train(self, folders: ExperimentFolders, fold: int | None) -> RunRecord:
        """Trains the recognizer, and evaluates it by greedy decoding and with the language model."""
        super()._train(folders, fold)
        run_dir = folders.runs / self.name
        path = run_dir / LANGUAGE_MODEL
        if not BeamOptions.file(path).is_file():
            recipe, command = self._prepare(folders, fold)
            add_language_model(load_model(run_dir, device="cpu"), Path(self.text), recipe, run_dir, command)
        return self._test_on_recordings(folders, run_dir, BeamOptions.beside(path))
