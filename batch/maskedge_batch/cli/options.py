"""The arguments and options of the commands: each written once, with its help."""

from typing import Annotated, Any

import typer

from maskedge.bundle.engine import EngineChoice
from maskedge.inference.scoring import Method
from maskedge_batch.runs.job import EngineName, OnError

__all__ = [
    "Actors",
    "By",
    "ColumnNames",
    "DryRun",
    "Engine",
    "Filter",
    "First",
    "Json",
    "KeptTokens",
    "MemoryBudget",
    "Model",
    "NoTargets",
    "OnErrorOption",
    "Overwrite",
    "Precision",
    "Predictions",
    "ProfileOption",
    "RayAddress",
    "Resume",
    "Revision",
    "Runtime",
    "Sample",
    "ScoringMethod",
    "Seed",
    "ShardRows",
    "SinglePieces",
    "Strict",
    "TargetColumn",
    "TextColumn",
    "Threads",
    "distinct",
    "inputs",
    "output_option",
]


def inputs(kinds: str) -> Any:
    """The argument of a command that reads files of these kinds."""
    places = "directories, quoted globs, s3://...; - is standard input, as JSON lines."
    return typer.Argument(metavar="INPUT", help=f"{kinds}; {places}", show_default=False)


def output_option(what: str, default: str | bool = False) -> Any:
    """Where a command writes what, and where it does so by default; False: there is none."""
    return typer.Option("--output", "-o", help=what, show_default=default)


def distinct(by: list[str] | None) -> tuple[str, ...]:
    """The columns of --by, each once."""
    return tuple(dict.fromkeys(by or ()))


# The model

Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="A bundle's directory, or its id on the Hugging Face Hub.", show_default="maskedge's own"
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a model on the Hub.", show_default=False)]
Precision = Annotated[
    str | None, typer.Option(help="Which of the bundle's graphs.", show_default="the first that this CPU computes")
]
Runtime = Annotated[EngineChoice, typer.Option(help="What runs the graph; auto is the fastest one on this CPU.")]
ScoringMethod = Annotated[
    Method, typer.Option(help="What is masked while a token of a text without masks is predicted.")
]

# What is read

TextColumn = Annotated[str, typer.Option(help="The column with the texts.")]
TargetColumn = Annotated[
    str | None,
    typer.Option(help="The column with the masked words.", show_default="target, where there is such a column"),
]
NoTargets = Annotated[bool, typer.Option("--no-targets", help="No column holds masked words.")]
ColumnNames = Annotated[
    str | None,
    typer.Option(metavar="A,B...", help="Columns to pass on, beside those that are read.", show_default="all"),
]
Filter = Annotated[
    str | None,
    typer.Option("--filter", help="Take only rows for which this is true, as in SQL: \"lang = 'en'\"."),
]
Sample = Annotated[int | None, typer.Option(min=0, help="Take so many rows, chosen at random.")]
Seed = Annotated[int, typer.Option(help="Of --sample: the same rows each time.")]
First = Annotated[int | None, typer.Option("--limit", min=0, help="Take the first so many rows.")]
OnErrorOption = Annotated[
    OnError, typer.Option(help="Whether damaged files and row groups end the job, or are left out and told.")
]

# What is kept of each row, and what is reported

Predictions = Annotated[
    str, typer.Option("--predictions", "--top-k", metavar="N|none", help="Predictions to keep for each mask.")
]
SinglePieces = Annotated[
    bool, typer.Option("--single-piece-targets", help="Set aside the rows whose masked words are not one token.")
]
KeptTokens = Annotated[
    bool, typer.Option("--tokens", help="Keep the log-probability of each token of texts without masks.")
]
By = Annotated[list[str] | None, typer.Option(help="A column to group by; may be given again.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="The figures on standard output as JSON, for machines.")]
Strict = Annotated[bool, typer.Option("--strict", help="End with exit code 3 where rows were set aside.")]

# What is there already

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that are there already.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with an unfinished run; one that is complete is left as it is.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only say what would be done, and how long it would take."),
]

# How it is run

MemoryBudget = Annotated[
    int, typer.Option(min=1, metavar="MB", help="Memory for rows read ahead and scores not yet written.")
]
ProfileOption = Annotated[bool, typer.Option("--profile", help="Say where the time went.")]
Engine = Annotated[EngineName, typer.Option(help="Score in this process, or with the workers of a Ray cluster.")]
RayAddress = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", help="A running cluster.", show_default="one on this machine, for this job"),
]
Actors = Annotated[
    int | None, typer.Option(min=1, help="Workers of a cluster.", show_default="what its CPUs suffice for")
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="Batches the model reads at once, in each worker.", show_default="one a CPU; in workers, 4"
    ),
]
ShardRows = Annotated[int, typer.Option(min=1, help="Rows of a part at most: a stopped run loses less than one part.")]
