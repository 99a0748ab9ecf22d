"""The interactive prompt, without its terminal: what each line is answered with."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import RenderableType
from rich.text import Text

from maskedge.cli.result_tables import fill_table, score_table
from maskedge.cli.tables import QUIET, labelled
from maskedge.predictor import Predictor

__all__ = ["COMMANDS", "Dialogue", "EndOfDialogue"]

COMMANDS = {
    ":topk N": "show N candidates for each mask",
    ":model PATH": "use another bundle",
    ":help": "show this",
    ":quit": "leave, as exit and Ctrl-D do",
}
LEAVING = ("exit", "quit")
"""What people type who look for the way out; as texts they are not worth a score."""
HELP = {
    "a text with [MASK]": "is filled",
    "a text without": "is scored: each token is masked in turn",
    **COMMANDS,
}


class EndOfDialogue(Exception):  # noqa: N818 - it is no error
    """The line asks to leave."""


@dataclass(slots=True)
class Dialogue:
    """What the prompt remembers from one line to the next."""

    load: Callable[[str], Predictor]
    """Opens a bundle."""
    predictor: Predictor
    top_k: int

    def answer(self, line: str) -> RenderableType:
        """What to show for a line. Raises MaskedgeError or ValueError for one that cannot be answered, and
        EndOfDialogue."""
        line = line.strip()
        if line in LEAVING:
            raise EndOfDialogue
        return self._command(line) if line.startswith(":") else self._predict(line)

    def _predict(self, text: str) -> RenderableType:
        if not self.predictor.encode(text).mask_positions:
            return score_table(self.predictor.score([text])[0])
        (fill,) = self.predictor.fill([text], top_k=self.top_k)
        return fill_table(fill, self.predictor.mask_token)

    def _command(self, line: str) -> RenderableType:
        name, _, argument = line.partition(" ")
        match name:
            case ":topk":
                return self._set_top_k(argument.strip())
            case ":model":
                return self._set_model(argument.strip())
            case ":help":
                return labelled(HELP.items())
            case ":quit":
                raise EndOfDialogue
        raise ValueError(f"there is no command {name}; there are: {', '.join(COMMANDS)}")

    def _set_top_k(self, argument: str) -> Text:
        limit = self.predictor.bundle.manifest.vocab_size
        if not (argument.isdecimal() and 1 <= int(argument) <= limit):
            raise ValueError(f":topk takes a whole number from 1 to {limit}, not {argument!r}")
        self.top_k = int(argument)
        return Text(f"{self.top_k} candidates for each mask", style=QUIET)

    def _set_model(self, argument: str) -> Text:
        if not argument:
            raise ValueError(":model takes a bundle's path")
        self.predictor = self.load(argument)
        return Text(f"{self.predictor.name}, {self.predictor.precision}", style=QUIET)
