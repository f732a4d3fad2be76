"""Damaged lists and tables for a folder with a few recordings: encodings, quotation marks, columns, layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from fuzz.mutations import mutate_bytes, mutate_json
from hf_speech.data import inspect_corpus, make_corpus
from hf_speech.errors import HFSpeechError

RATE = 8000
CLASSES, COUNT = ("no", "yes"), 6
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252")
NAMES = ("path", "label", "text", "speaker", "split", "offset", "duration", "file", " Path", "", "text")
CELLS = (
    "a",
    "",
    " ",
    '"',
    'say "x"',
    "one\ntwo",
    "007",
    "1e999",
    "NaN",
    "-1",
    "é",
    "e\u0301",
    "\0",
    "../..",
    "x" * 5000,
)
DELIMITERS = (",", ";", "\t", "|", "\\t", "||", "", '"', "a", None)


class Tables:
    """Cases with damaged lists and tables.

    Args:
        folder: The folder for recordings and tables.

    Attributes:
        declared: The only error that may reject a corpus.
    """

    declared = HFSpeechError

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tables"
        rng = np.random.default_rng(0)
        self.files = [f"{name}/{index}.wav" for name in CLASSES for index in range(COUNT)]
        for file in self.files:
            path = self.root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.1, RATE), RATE)

    def run(self, rng: Random) -> None:
        """Runs a case: loads and inspects a corpus with a damaged list or table.

        Raises:
            HFSpeechError: If the corpus is rejected.
        """
        for path in self.root.glob("*.*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        kind = rng.choice(("list", "delimited", "delimited", "json", "kaldi"))
        if kind == "list":
            name = rng.choice(("testing_list.txt", "validation_list.txt", "test_list.txt"))
            lines = [self._spell(file, rng) for file in rng.sample(self.files, rng.randint(1, 6))]
            corpus = make_corpus("folder", **self._options(rng))
            (self.root / name).write_bytes(self._encode("\n".join(lines) + "\n", rng))
        elif kind == "kaldi":
            data = self.root / "data.train"
            data.mkdir(exist_ok=True)
            tables = {"wav.scp": "../{1}", "text": "word {0}", "utt2spk": "s{0}", "segments": "u{0} 0.1 0.9"}
            for name, form in tables.items():
                lines = [f"u{index} {form.format(index, file)}" for index, file in enumerate(self.files)]
                content = "\n".join(lines) + "\n"
                damaged = self._encode(content, rng) if rng.random() < 0.3 else content.encode()
                (data / name).write_bytes(damaged)
            corpus = make_corpus("kaldi", train_dir="data.train", test_dir=None, **self._options(rng))
        else:
            suffix = rng.choice((".csv", ".tsv", ".txt") if kind == "delimited" else (".jsonl", ".json"))
            content = self._table(rng) if kind == "delimited" else self._json(rng)
            (self.root / f"all{suffix}").write_bytes(self._encode(content, rng))
            options = {"train_file": f"all{suffix}"} | self._options(rng)
            if rng.random() < 0.2:
                options["delimiter"] = rng.choice(DELIMITERS)
            if rng.random() < 0.1:
                options["path_format"] = rng.choice(("{}", "{}.wav", "{x}", "{}/{}", "{", "{0!r}", "{:9}"))
            for option in ("text_column", "speaker_column", "split_column", "label_column"):
                if rng.random() < 0.2:
                    options[option] = rng.choice(NAMES)
            corpus = make_corpus("csv", **options)
        rows = corpus.load()
        inspect_corpus(rows, corpus, RATE)

    def _options(self, rng: Random) -> dict[str, object]:
        return {"data_dir": str(self.root), "bad_rows": rng.choice(("refuse", "skip"))}

    def _spell(self, file: str, rng: Random) -> str:
        return rng.choice(
            (file, f"./{file}", file.replace("/", "\\"), file.replace(".wav", ".flac"), file[:-4], "gone")
        )

    def _encode(self, text: str, rng: Random) -> bytes:
        if rng.random() < 0.3:
            text = text.replace("\n", rng.choice(("\r\n", "\r", "\n\n")))
        content = text.encode(rng.choice(ENCODINGS), errors="replace")
        return mutate_bytes(content, rng) if rng.random() < 0.3 else content

    def _rows(self, rng: Random) -> list[dict[str, object]]:
        names = ["path", "label", *rng.sample(NAMES, rng.randint(0, 3))]
        rows = []
        for file in self.files:
            row: dict[str, object] = dict.fromkeys(names, "x") | {"path": file, "label": file.split("/")[0]}
            if rng.random() < 0.2:
                row[rng.choice(names)] = rng.choice(CELLS)
            rows.append(row)
        return rows

    def _table(self, rng: Random) -> str:
        rows = self._rows(rng)
        delimiter = rng.choice((",", ",", "\t", ";"))
        lines = [delimiter.join(rows[0]), *(delimiter.join(map(str, row.values())) for row in rows)]
        if rng.random() < 0.2:
            lines[rng.randrange(len(lines))] += rng.choice(('"', delimiter, ',"', '""'))
        return "\n".join(lines) + "\n"

    def _json(self, rng: Random) -> str:
        rows = self._rows(rng)
        if rng.random() < 0.2:
            rows[0][rng.choice(NAMES)] = rng.choice((None, 1.5, True, [1], {"a": 1}, float("nan")))
        if rng.random() < 0.3:
            return mutate_json(json.dumps(rows), rng)
        lines = [json.dumps(row) for row in rows]
        return "\n".join(mutate_json(line, rng) if rng.random() < 0.1 else line for line in lines)
