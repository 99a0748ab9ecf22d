"""`mlm`: the only part of this package that prints and exits.

Results go to standard output, messages to standard error. Exit codes: 0 all went well; 1 a text cannot be filled or
scored, or a bundle is damaged; 2 the command was called wrongly.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from io import StringIO, TextIOWrapper
from itertools import starmap
from pathlib import Path
from typing import Annotated, Any

import typer

from maskedge.bundle.engine import EngineChoice
from maskedge.cli.attention_files import AttentionFile, Format, check_directory, leftovers, write_attention
from maskedge.cli.attention_view import AttentionView, view_attention
from maskedge.cli.demo import demo
from maskedge.cli.explanation_table import explanation_table
from maskedge.cli.info_table import describe, info_table
from maskedge.cli.messages import (
    FAILURE,
    USAGE_ERROR,
    complain,
    directory_errors,
    fail,
    message_of,
    open_console,
    print_json,
    say,
    show_warning,
)
from maskedge.cli.prompt import COMMANDS, Dialogue, EndOfDialogue
from maskedge.cli.result_tables import fill_table, score_table, scores_table
from maskedge.cli.verification_table import verification_table
from maskedge.cli.version import Version
from maskedge.errors import BundleNotFoundError, EngineError, MaskedgeError, TextError
from maskedge.explanation import Explanation, explain
from maskedge.extras import exit_without_extra
from maskedge.inference.scoring import Method
from maskedge.predictor import Predictor
from maskedge.results import SentenceScore, TextStatus
from maskedge.text_lines import Line, legible

__all__ = ["app", "main"]

IMAGE_SUFFIXES = (".png", ".svg")
LISTED_PICTURES = 6
"""Most pictures of heads whose names fill no terminal."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Texts = Annotated[list[str], typer.Argument(metavar="TEXT", help="Texts; - reads standard input, a text a line.")]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="A bundle's directory or Hub id.", show_default="maskedge's own")
]
Precision = Annotated[
    str | None, typer.Option(help="Which of the bundle's graphs to run.", show_default="the bundle's first")
]
Runtime = Annotated[EngineChoice, typer.Option(help="What runs the graph; auto is the fastest one on this CPU.")]
TopK = Annotated[int, typer.Option("--top-k", "-k", min=1, help="Candidates to show for each mask.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]


def main() -> None:
    """Runs the command line. Errors that a person can act on are one line."""
    sys.stdin = sys.stdin or StringIO()  # None where the caller closed it
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what the terminal cannot show is no reason to end the run
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = show_warning
    try:
        app(prog_name="mlm")
    except MaskedgeError as error:
        fail(error, USAGE_ERROR if isinstance(error, (BundleNotFoundError, EngineError)) else FAILURE)


@app.callback(invoke_without_command=True)
def _prompt(
    context: typer.Context,
    model: Model = None,
    precision: Precision = None,
    runtime: Runtime = "auto",
    top_k: TopK = 5,
    version: Version = False,
) -> None:
    """Fill masks, score sentences, and explain predictions on a plain CPU. Without a command: an interactive prompt."""
    if context.invoked_subcommand is None:
        _converse(Dialogue(lambda path: _load(path, None, runtime), _load(model, precision, runtime), top_k))
    elif (model, precision, runtime, top_k) != (None, None, "auto", 5):
        fail(f"options come after the command: mlm {context.invoked_subcommand} ... --model PATH", USAGE_ERROR)


@app.command()
def fill(
    texts: Texts,
    model: Model = None,
    precision: Precision = None,
    runtime: Runtime = "auto",
    top_k: TopK = 5,
    as_json: Json = False,
) -> None:
    """Fill the masks of texts, written [MASK] or <mask>."""
    predictor, console = _load(model, precision, runtime), open_console()

    def show(answer: Any) -> None:
        console.print(fill_table(answer, predictor.mask_token), "", sep="\n")

    with _usage_errors():
        _answer_all(texts, lambda text: predictor.fill([text], top_k=top_k)[0], show, as_json=as_json)


@app.command()
def score(
    texts: Texts,
    method: Annotated[Method, typer.Option(help="What is masked while a token is asked for.")] = "original",
    model: Model = None,
    precision: Precision = None,
    runtime: Runtime = "auto",
    as_json: Json = False,
) -> None:
    """Score texts without masks: each token's probability given the others, and the text's pseudo-perplexity."""
    predictor = _load(model, precision, runtime)
    scores: list[SentenceScore] = []
    try:
        _answer_all(texts, lambda text: predictor.score([text], method=method)[0], scores.append, as_json=as_json)
    finally:
        if scores:
            open_console().print(scores_table(scores) if _several(texts) else score_table(scores[0]))


@app.command("explain")
def explain_text(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A text; - reads it from standard input.")],
    word: Annotated[str | None, typer.Option("--word", "-w", help="Mask this word of the text.")] = None,
    influence: Annotated[
        bool, typer.Option("--influence", help="Mask each other word in turn: how much does it matter?")
    ] = False,
    image: Annotated[Path | None, typer.Option(help="Draw the explanation too: a PNG or SVG file.")] = None,
    model: Model = None,
    precision: Precision = None,
    runtime: Runtime = "auto",
    top_k: TopK = 5,
    as_json: Json = False,
) -> None:
    """Show every step of a prediction, from the text through tokens and probabilities to the filled text.

    A candidate's logit gap is its logit less the best one's, its share its part of the shown candidates' probability.
    """
    save = _picture_saver(image)
    predictor = _load(model, precision, runtime)
    with _usage_errors():
        explanation = _explain(predictor, _whole_text(text), word, top_k, influence=influence)
    save(explanation)
    if as_json:
        print_json(explanation)
    else:
        open_console().print(explanation_table(explanation))


@app.command()
def attention(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A text; - reads it from standard input.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The directory to write into.")] = Path("attention"),
    layer: Annotated[
        list[int] | None, typer.Option(help="Show this layer, from 1; may be repeated.", show_default="all")
    ] = None,
    head: Annotated[
        list[int] | None, typer.Option(help="Show this head of each layer; may be repeated.", show_default="all")
    ] = None,
    formats: Annotated[
        list[Format], typer.Option("--format", help="Pictures, or a page to explore; may be repeated.")
    ] = [Format.PNG, Format.HTML],  # noqa: B006  Typer copies it
    model: Model = None,
    precision: Precision = None,
    runtime: Runtime = "auto",
    as_json: Json = False,
) -> None:
    """Draw where each attention head looks: a picture a head, a sheet with all of them, and a page to explore.

    The pictures are Attention_Layer1_Head1.png and so on, the sheet is Attention.png, the page Attention.html.
    """
    if any(kind.is_picture for kind in formats):
        _check_matplotlib(f"mlm attention --format {next(kind for kind in formats if kind.is_picture)}")
    with directory_errors(out):
        check_directory(out)
    predictor = _load(model, precision, runtime)
    with _usage_errors():
        view = view_attention(predictor.attend(_whole_text(text)), predictor, layer or [], head or [])
    with directory_errors(out):
        written = _write_attention(view, out, formats, as_json=as_json)
    for note in view.notes:
        say(note)
    if earlier := leftovers(out, written):
        many = f"s of an earlier run are still there, {earlier[0]} among them"
        one = f" of an earlier run is still there: {earlier[0]}"
        say(f"{len(earlier)} file{many if len(earlier) > 1 else one}")


app.command()(demo)


@app.command()
def info(model: Model = None, runtime: Runtime = "auto", as_json: Json = False) -> None:
    """Describe a bundle: what it was made of, its graphs and how they were proved, and this machine."""
    description = describe(_load(model, None, runtime))
    if as_json:
        print_json(description)
    else:
        open_console().print(info_table(description))


@app.command()
def verify(model: Model = None, precision: Precision = None, runtime: Runtime = "auto", as_json: Json = False) -> None:
    """Replay a bundle's golden vectors: does it give on this CPU what it gave where it was made? Exit code 1 if not."""
    predictor = _load(model, precision, runtime)
    rest = [name for name in predictor.bundle.manifest.graphs if name != predictor.precision and precision is None]
    found = [opened.verify() for opened in (predictor, *(_load(model, name, runtime) for name in rest))]
    if as_json:
        for verification in found:
            print_json(asdict(verification) | {"passed": verification.passed, "saturates": verification.saturates})
    else:
        open_console().print(verification_table(predictor.name, len(predictor.bundle.manifest.files), found))
    if not all(verification.passed for verification in found):
        raise typer.Exit(FAILURE)


def _write_attention(view: AttentionView, out: Path, formats: list[Format], *, as_json: bool) -> list[AttentionFile]:
    """Names each file on standard output when it is there; many pictures, in a terminal, are counted instead."""
    written, counted = [], 0
    count = sys.stdout.isatty() and len(view.layers) * len(view.heads) > LISTED_PICTURES
    for file in write_attention(view, out, formats):
        written.append(file)
        if as_json:
            print_json(file)
        elif file.head and count:
            counted += 1
        else:
            sys.stdout.write(f"{file.path}\n")
    if counted:
        say(f"and a picture of each head, {counted} in all")
    return written


def _converse(dialogue: Dialogue) -> None:
    """Answers lines until the end of the input. Ctrl-C gives up a line or an answer, never the prompt."""
    try:
        from maskedge.cli.terminal import line_reader  # takes a while to import, and no command needs it
    except ModuleNotFoundError as error:
        exit_without_extra("mlm", "cli", error)
    words = [command.partition(" ")[0] for command in COMMANDS]
    lines = None if sys.stdin.isatty() else _stdin_lines()
    read = line_reader(lines, _state_directory() / "history", words, lambda: _status(dialogue))
    say("A text with [MASK] is filled, one without is scored; :help shows the commands, Ctrl-D leaves.")
    failed = False
    while True:
        try:
            line = read()
            if line.strip():
                open_console().print(dialogue.answer(line), "", sep="\n")
        except KeyboardInterrupt:
            continue
        except (MaskedgeError, ValueError) as error:
            failed = True
            complain(message_of(error))
        except (EOFError, EndOfDialogue):
            break
    if failed and not sys.stdin.isatty():  # nobody saw the message: a script has to be told
        raise typer.Exit(FAILURE)


def _status(dialogue: Dialogue) -> str:
    predictor = dialogue.predictor
    return f" {predictor.name} · {predictor.precision} · top {dialogue.top_k}"


def _state_directory() -> Path:
    configured = os.environ.get("XDG_STATE_HOME")
    return (Path(configured) if configured else Path("~/.local/state").expanduser()) / "maskedge"


def _load(model: str | None, precision: str | None, runtime: EngineChoice) -> Predictor:
    return Predictor.load(model, precision=precision, engine=runtime)


def _answer_all(
    arguments: Sequence[str], ask: Callable[[str], Any], show: Callable[[Any], None], *, as_json: bool
) -> None:
    """Shows each text's answer as soon as it is there. Exits 1 at the end where a text had none."""
    refused = False
    for number, source in enumerate(_read(arguments), start=1):
        try:
            answer = ask(source.text if isinstance(source, Line) else source)
        except TextError as error:
            refused = True
            complain(f"text {number}: {message_of(error)}" if _several(arguments) else message_of(error))
            if as_json:  # a line for each text: whoever pairs them can count on it
                text = legible(source.content.strip(b"\r\n") if isinstance(source, Line) else source)
                print_json({"status": error.status, "text": text, "message": message_of(error)})
        else:
            show(answer) if not as_json else print_json({"status": TextStatus.OK} | asdict(answer))
    if refused:
        raise typer.Exit(FAILURE)


def _whole_text(argument: str) -> str:
    """The text of the command line; for `-`, standard input's."""
    return argument if argument != "-" else "\n".join(line.text for line in _stdin_lines()).strip()


def _explain(predictor: Predictor, text: str, word: str | None, top_k: int, *, influence: bool) -> Explanation:
    try:
        return explain(predictor, text, word=word, top_k=top_k, influence=influence)
    except TextError as error:
        hint = "; --word masks a word of it" if error.status is TextStatus.NO_MASK else ""
        raise TextError(error.status, message_of(error) + hint) from error


def _read(arguments: Sequence[str]) -> Iterator[str | Line]:
    """The texts of the command line; for `-`, each line of standard input."""
    for argument in arguments:
        if argument == "-":
            yield from _stdin_lines()
        else:
            yield argument


def _stdin_lines() -> Iterator[Line]:
    """As bytes: in which encoding they are taken for text is not the terminal's to say."""
    bytes_read = sys.stdin.buffer if isinstance(sys.stdin, TextIOWrapper) else ()
    return starmap(Line, enumerate(bytes_read, start=1))


def _several(arguments: Sequence[str]) -> bool:
    return len(arguments) > 1 or "-" in arguments


def _picture_saver(image: Path | None) -> Callable[[Explanation], None]:
    """What writes the picture, found before the model is loaded: a wrong name or a missing extra is told at once."""
    if image is None:
        return lambda _: None
    if image.suffix.lower() not in IMAGE_SUFFIXES:
        fail(f"--image takes a name that ends in .png or .svg, not {str(image)!r}", USAGE_ERROR)
    _check_matplotlib("mlm explain --image")
    from maskedge.cli.explanation_picture import save_picture

    def save(explanation: Explanation) -> None:
        try:
            save_picture(explanation, image)
        except OSError as error:
            fail(f"cannot write {image}: {error.strerror}", FAILURE)
        say(f"Wrote {image}")

    return save


def _check_matplotlib(user: str) -> None:
    try:
        import matplotlib  # noqa: F401  a part of a second, and most commands need none
    except ModuleNotFoundError as error:
        exit_without_extra(user, "viz", error)


@contextmanager
def _usage_errors() -> Iterator[None]:
    """An argument that the library refuses is wrong usage."""
    try:
        yield
    except TextError:
        raise
    except ValueError as error:
        fail(error, USAGE_ERROR)
