"""The result of an exploration, which the page shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hf_speech.data.reports import InspectionReport
from hf_speech.exploration.examples import Example
from hf_speech.exploration.table import Table

PAGE = "index.html"


@dataclass
class Exploration:
    """What an exploration found and wrote.

    Attributes:
        folder: Where everything lies.
        table: All rows.
        report: What the inspection found.
        examples: What can be looked at and listened to.
        notes: What is to be known beyond the inspection, a sentence each.
        charts: Names of the pictures of the whole corpus.
    """

    folder: Path
    table: Table
    report: InspectionReport
    examples: list[Example] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    charts: list[str] = field(default_factory=list)

    @property
    def page(self) -> Path:
        """The page that shows all of it."""
        return self.folder / PAGE
