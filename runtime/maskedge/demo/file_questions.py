"""What happens when a visitor brings a file: events of Gradio's, which knows who asks and when they leave."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from maskedge.demo import views
from maskedge.demo.answers import Refusal
from maskedge.demo.limits import KEPT_SECONDS, MAX_ROWS
from maskedge.demo.models import Model
from maskedge.demo.scored_files import FileScorer, ScoredFile

__all__ = ["FileQuestions"]


@dataclass(frozen=True, slots=True)
class FileQuestions:
    """What visitors ask of files, each of their own only."""

    models: dict[str, Model]
    scorer: FileScorer

    def score_file(
        self, upload: str | None, lines: str, column: str, model: str, request: gr.Request
    ) -> tuple[Any, ...]:
        """A file's figures, its scores and report to download, no upload any more, and a button to remove the rest."""
        visitor = _visitor(request)
        self.scorer.remove(visitor)
        try:
            found = self._scored(visitor, upload, lines, column, self.models[model])
        except Refusal as refusal:
            return views.notice(str(refusal), error=True), _hidden(), None, _hidden()
        figures = views.scored_file_view(found.figures, MAX_ROWS if found.limited else None, KEPT_SECONDS // 60)
        results = gr.update(value=[str(path) for path in found.files], visible=True)
        return figures, results, None, gr.update(visible=True)

    def remove(self, request: gr.Request) -> tuple[Any, ...]:
        """A visitor's files are gone."""
        self.scorer.remove(_visitor(request))
        return views.notice("Your files are removed."), gr.update(value=None, visible=False), _hidden()

    def leave(self, request: gr.Request) -> None:
        """A visitor closed the page."""
        self.scorer.remove(_visitor(request))

    def _scored(self, visitor: str, upload: str | None, lines: str, column: str, model: Model) -> ScoredFile:
        if upload:
            return self.scorer.score_file(visitor, Path(upload), column, model)
        if lines.strip():
            return self.scorer.score_lines(visitor, lines, model)
        raise Refusal("Choose a file, or paste some lines.")


def _hidden() -> dict[str, Any]:
    return gr.update(visible=False)


def _visitor(request: gr.Request) -> str:
    return str(request.session_hash)
