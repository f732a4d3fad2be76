"""Arguments and options shared by several verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def standard_input(name: str) -> str:
    """Returns the path of an argument that is a file, or - for standard input."""
    return "/dev/stdin" if name == "-" else name


ModelArgument = Annotated[str, typer.Argument(help="A run folder or a Hub id.", show_default=False)]
AnyModelArgument = Annotated[
    str, typer.Argument(help="A run folder, a Hub id, or the folder of an exported model.", show_default=False)
]
RecipeArgument = Annotated[
    str, typer.Argument(help="A YAML file, or the name of a built-in recipe.", show_default=False)
]
FilesArgument = Annotated[
    list[str],
    typer.Argument(
        help="Sound files; - for one in standard input.",
        show_default=False,
        metavar="files",
        parser=standard_input,
    ),
]
CorpusOption = Annotated[str | None, typer.Option("--corpus", help="Corpus to use instead of the training corpus.")]
SplitOption = Annotated[str, typer.Option("--split", help="train, validation, test, or all.")]
NoiseFolderOption = Annotated[
    str | None, typer.Option("--noise_folder", help="Folder of noise to add to every recording.")
]
NoiseSNROption = Annotated[
    float | None,
    typer.Option(
        "--noise_snr", min=-100, max=200, help="Signal-to-noise ratio of --noise_folder in dB.", show_default="10"
    ),
]


def snr_of_noise(folder: str | None, snr: float | None) -> float:
    """Returns the signal-to-noise ratio of the noise in dB.

    Raises:
        BadParameter: If a ratio is given without noise.
    """
    if folder is None and snr is not None:
        raise typer.BadParameter("there is no noise without --noise_folder", param_hint="--noise_snr")
    return 10.0 if snr is None else snr


# Decoding with a language model. Omitted weights come from the file that tune-decoder wrote next to the language model.
LanguageModelOption = Annotated[
    Path | None, typer.Option("--language_model", help="ARPA file: decode with a beam search instead of greedily.")
]
LMWeightOption = Annotated[float | None, typer.Option("--lm_weight", help="Weight of the language model.")]
WordScoreOption = Annotated[float | None, typer.Option("--word_score", help="Bonus for each word.")]
PhoneWeightOption = Annotated[
    float | None, typer.Option("--phone_weight", help="Weight of the phones, for models that predict them.")
]
BeamSizeOption = Annotated[int | None, typer.Option("--beam_size", min=1, help="Number of hypotheses to keep.")]

# Comparisons and searches.
OverOption = Annotated[list[str], typer.Option("--over", help="KEY=VALUE,VALUE,...; may be repeated.")]
TableDirOption = Annotated[Path | None, typer.Option("--output_dir", help="Folder for the run folders and the table.")]

# Publishing.
RepoIdOption = Annotated[str, typer.Option("--repo_id", help="Hub repository OWNER/NAME that you can write to.")]
PublicOption = Annotated[bool, typer.Option("--public", help="Make the repository public; by default, it is private.")]
TagOption = Annotated[str | None, typer.Option("--tag", help="Tag for the commit, such as v1.0.")]
CreatePROption = Annotated[bool, typer.Option("--create_pr", help="Open a pull request instead of committing.")]
MessageOption = Annotated[str | None, typer.Option("--message", help="Title of the commit.")]
DryRunOption = Annotated[bool, typer.Option("--dry_run", help="Show the files and the card without uploading.")]
VerifyOption = Annotated[
    bool, typer.Option("--verify/--no_verify", help="Download the commit and compare it with the uploaded files.")
]
