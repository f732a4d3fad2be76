"""Tests of `hf-speech build-lm`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hf_speech.cli.app import main
from hf_speech.decoding import NgramModel


def build(text: Path, output: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["build-lm", str(text), "--output", str(output), "--order", "2", *words])
    return int(exit_.value.code or 0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_detects_the_encoding_of_text(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "text.txt").write_bytes("YES\r\nGRÜN YES\r\n".encode(encoding))
    assert build(tmp_path / "text.txt", tmp_path / "lm.arpa") == 0
    assert NgramModel.load(tmp_path / "lm.arpa").vocabulary == {"YES", "GRÜN"}


@pytest.mark.parametrize("content", ["GRÜN\n".encode("cp1252"), "YES\n".encode("utf-16-le"), b"\xff\xfeY\0E"])
def test_one_sentence_error_for_other_encodings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    assert build(tmp_path / "text.txt", tmp_path / "lm.arpa") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "text.txt is not text" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "lm.arpa").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_reads_text_from_a_pipe(tmp_path: Path, encoding: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text.txt").write_bytes("YES\nGRÜN YES\n".encode(encoding))
    with subprocess.Popen("cat text.txt > pipe", shell=True, cwd=tmp_path):
        assert build(tmp_path / "pipe", tmp_path / "lm.arpa") == 0
    assert NgramModel.load(tmp_path / "lm.arpa").vocabulary == {"YES", "GRÜN"}


@pytest.mark.parametrize(
    ("output", "words", "message"),
    [
        ("text.txt", [], "has to end in .arpa or .ngram"),
        ("lm.arpa.gz", [], "has to end in .arpa or .ngram"),
        ("lm.arpa", ["--ordr", "3"], "--ordr is an option of the corpus of a run folder"),
        ("lm.arpa", ["--data_dir", "x"], "--data_dir is an option of the corpus of a run folder"),
    ],
)
def test_refuses_other_outputs_and_unknown_options(
    tmp_path: Path, output: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text("YES\n")
    assert build(tmp_path / "text.txt", tmp_path / output, *words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "text.txt").read_text() == "YES\n"


def test_splits_and_normalizes_a_folder_of_books(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "books" / "author").mkdir(parents=True)
    (tmp_path / "books" / "one.txt").write_text('He said: "Go!" We went. Mr. 5 stayed,\nand so did _she_.\n')
    (tmp_path / "books" / "author" / "two.md").write_text("# A title\nGo home.\n")
    (tmp_path / "books" / "cover.jpg").write_bytes(b"\xff\xd8")
    output = tmp_path / "lm.arpa"
    assert build(tmp_path / "books", output, "--normalizer", "english", "--spell_numbers") == 0
    assert "16 words in 7 sentences" in capsys.readouterr().out
    model = NgramModel.load(output)
    words = "he said go we went mr five stayed and so did she a title home"
    assert " ".join(sorted(model.vocabulary)) == " ".join(sorted(words.split()))
    assert model.log_prob("home", ["go"]) > model.log_prob("home", ["we"])


def test_prunes_models_and_leaves_out_held_out_transcripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, output = tmp_path / "text.txt", tmp_path / "lm.arpa"
    text.write_text("a b c d e f g h\n" + "a b\n" * 20)
    assert build(text, output, "--max_words", "3", "--min_counts", "1,2", "--entropy_threshold", "1e-9") == 0
    assert NgramModel.load(output).vocabulary == {"a", "b", "c"}
    (tmp_path / "test.txt").write_text("a b c d e f g h\n")
    assert build(text, tmp_path / "other.arpa", "--held_out", str(tmp_path / "test.txt")) == 2
    assert "All text is from the books of the held-out transcripts" in capsys.readouterr().err
    text.write_text("a b c d e f g h\n" + "x y\n" * 2000)
    assert build(text, tmp_path / "rest.arpa", "--held_out", str(tmp_path / "test.txt")) == 0
    assert "Left out because of the held-out transcripts: 1,001 sentences" in capsys.readouterr().out
    for words in (["--min_counts", "1,x"], ["--min_counts", "1,0"], ["--entropy_threshold", "nan"]):
        assert build(text, tmp_path / "other.arpa", *words) == 2
    assert not (tmp_path / "other.arpa").exists()


def test_builds_a_character_model_for_a_language_without_spaces(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("今天好\n天天\n", encoding="utf-8")
    assert build(tmp_path / "text.txt", tmp_path / "lm.arpa", "--characters") == 0
    assert NgramModel.load(tmp_path / "lm.arpa").is_of_characters
    assert NgramModel.load(tmp_path / "lm.arpa").vocabulary == {"今", "天", "好"}


def test_rejects_impossible_orders_by_option_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text("one two three four five six\n")
    assert build(tmp_path / "text.txt", tmp_path / "lm.arpa", "--order", "6") == 0
    for order in ("0", "7"):
        assert build(tmp_path / "text.txt", tmp_path / "other.arpa", "--order", order) == 2
        assert "--order" in capsys.readouterr().err
    assert not (tmp_path / "other.arpa").exists()


def test_one_sentence_error_for_folders_without_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(tmp_path, tmp_path / "lm.arpa") == 2
    assert "has no .txt or .md files" in capsys.readouterr().err
    assert build(tmp_path / "none", tmp_path / "lm.arpa") == 2
    assert "There is no text" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train.csv", "train.JSONL", "talk.srt", "other.arpa"])
def test_rejects_files_of_other_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Both as text and as held-out transcripts, where paths and times would count as words."""
    (tmp_path / name).write_text("path,text\na.wav,hello world\n")
    (tmp_path / "text.txt").write_text("hello world\n")
    assert build(tmp_path / name, tmp_path / "lm.arpa") == 2
    assert f"{name} is not plain text" in capsys.readouterr().err
    assert build(tmp_path / "text.txt", tmp_path / "lm.arpa", "--held_out", str(tmp_path / name)) == 2
    assert f"{name} is not plain text" in capsys.readouterr().err
    assert not (tmp_path / "lm.arpa").exists()
