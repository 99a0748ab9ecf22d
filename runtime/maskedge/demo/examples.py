"""Sentences to begin with."""

from dataclasses import dataclass

__all__ = ["EXAMPLES", "SURPRISING", "Example"]


@dataclass(frozen=True, slots=True)
class Example:
    """A sentence to fill."""

    text: str
    word: str
    """The word of it that is masked, where it first stands."""
    model: str | None = None
    """The name of the one model that it is for; None for any."""

    @property
    def title(self) -> str:
        """The sentence with a gap."""
        return self.text.replace(self.word, "____", 1)


EXAMPLES = (
    Example("He opened the door and walked into the room.", "door"),
    Example("The keys to the cabinet are on the table.", "are"),
    Example("The river flows into the sea.", "sea"),
    Example("He won the gold medal at the Olympic Games.", "gold"),
    Example(
        "This model creates a super relationships between the words to predict what word", "creates", "one-sentence"
    ),
)
SURPRISING = "The children were playing chess with a purple elephant."
"""A sentence to score."""
