"""Finds the license of a publication and its text, which is always included.

The license comes from the user's option, the LICENSE file of the run folder, or the card on the Hub, in this order.
The default is Apache-2.0, the license of the remote code in every model.
"""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from hf_speech.errors import PublishError

FILE = "LICENSE"
CODE_FILE = "LICENSE-CODE"
CODE_LICENSE = "apache-2.0"
# Names that the Hub accepts beyond those of SPDX.
_HUB_NAMES = frozenset(
    {"other", "openrail", "openrail++", "bigscience-openrail-m", "creativeml-openrail-m", "bigcode-openrail-m"}
    | {"cc", "pddl", "bsd", "gpl", "lgpl", "llama2", "llama3", "gemma", "c-uda"}
)
_PATTERNS = (
    ("apache-2.0", r"Apache License\s+Version 2\.0"),
    ("mit", r"Permission is hereby granted, free of charge"),
    ("bsd-3-clause", r"Redistribution and use in source and binary forms.*Neither the name"),
    ("bsd-2-clause", r"Redistribution and use in source and binary forms"),
    ("cc0-1.0", r"CC0 1\.0 Universal"),
    ("cc-by-nc-sa-4.0", r"Attribution-NonCommercial-ShareAlike 4\.0"),
    ("cc-by-nc-nd-4.0", r"Attribution-NonCommercial-NoDerivatives 4\.0"),
    ("cc-by-nc-4.0", r"Attribution-NonCommercial 4\.0"),
    ("cc-by-sa-4.0", r"Attribution-ShareAlike 4\.0"),
    ("cc-by-nd-4.0", r"Attribution-NoDerivatives 4\.0"),
    ("cc-by-4.0", r"Attribution 4\.0 International"),
    ("agpl-3.0", r"GNU AFFERO GENERAL PUBLIC LICENSE\s+Version 3"),
    ("lgpl-3.0", r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version 3"),
    ("gpl-3.0", r"GNU GENERAL PUBLIC LICENSE\s+Version 3"),
    ("gpl-2.0", r"GNU GENERAL PUBLIC LICENSE\s+Version 2"),
    ("mpl-2.0", r"Mozilla Public License,? [Vv]ersion 2\.0"),
)


@dataclass(frozen=True)
class License:
    """A license.

    Attributes:
        name: Its name on the Hub, `other` for a license without one.
        title: The title of a license named `other`, else None.
        text: Its text.
    """

    name: str
    title: str | None
    text: str


def find_license(folder: Path, given: str | None = None, previous: str | None = None) -> License:
    """Finds the license of a folder.

    Args:
        folder: The folder, which may contain a LICENSE file.
        given: The name that the user gives.
        previous: The name on the card on the Hub.

    Raises:
        PublishError: If the name is unknown, the file is empty or of another license, or the text is missing.
    """
    path = folder / FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    if text is not None and not text.strip():
        raise PublishError(f"{path} is empty: write the license into it or remove it.")
    recognized = None if text is None else recognize(text)
    if given is not None:
        check_name(given)
        if recognized not in (None, "other", given) and given != "other":
            raise PublishError(f"{path} is the text of {recognized}, not of {given}: correct one of them.")
    name = given or recognized or previous or CODE_LICENSE
    if text is None:
        if name != CODE_LICENSE:
            raise PublishError(f"The text of the license {name} is missing: save it as {path}.")
        text = code_license_text()
    return License(name, _title(text) if name == "other" else None, text)


def check_name(name: str) -> None:
    """Rejects names of licenses that neither SPDX nor the Hub knows."""
    if name in _HUB_NAMES:
        return
    try:
        known = name == name.lower() and bool(canonicalize_license_expression(name)) and " " not in name
    except InvalidLicenseExpression:
        known = False
    if not known:
        raise PublishError(
            f"There is no license {name!r}: give its SPDX name in lower case, such as apache-2.0, mit or cc-by-4.0, "
            "or other."
        )


def recognize(text: str) -> str:
    """Returns the name of a license on the Hub by its text, or `other` if no pattern matches."""
    return next((name for name, pattern in _PATTERNS if re.search(pattern, text, re.DOTALL)), "other")


def code_license_text() -> str:
    """Returns the text of the license of this package, which is that of the remote code."""
    try:
        text = importlib.metadata.distribution(__name__.partition(".")[0]).read_text("licenses/LICENSE")
    except importlib.metadata.PackageNotFoundError:
        text = None
    checkout = Path(__file__).resolve().parents[4] / FILE
    if text is None and checkout.is_file():
        text = checkout.read_text(encoding="utf-8")
    if text is None:
        raise PublishError("The installation of hf_speech lacks its LICENSE file: install the package again.")
    return text


def _title(text: str) -> str:
    """Makes a title from the first line of a license."""
    first = next(line.strip() for line in text.splitlines() if line.strip())
    return re.sub(r"[^a-z0-9.]+", "-", first.lower()).strip("-")[:60] or "see-license"
