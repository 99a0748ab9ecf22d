"""`mlm attention`: its pictures against the weights that they show, its files, and its way with the command line."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pexpect
import pytest
from PIL import Image

from maskedge import Attention, Predictor
from maskedge.cli.attention_colours import DARK, LIGHT, Ramp
from maskedge.cli.attention_files import Format, write_attention
from maskedge.cli.attention_picture import HeadPictures
from maskedge.cli.attention_view import AttentionView, view_attention
from maskedge.cli.drawing import drawing, save_figure

pytestmark = pytest.mark.slow

RunMlm = Callable[..., Any]

TEXT = "The [MASK] flows from the sea."
HEADS = [f"Attention_Layer{layer}_Head{head}" for layer in (1, 2) for head in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def attention(predictor: Predictor) -> Attention:
    return predictor.attend(TEXT)


@pytest.fixture(scope="module")
def view(attention: Attention, predictor: Predictor) -> AttentionView:
    return view_attention(attention, predictor, [], [])


@pytest.fixture(scope="module")
def directory(view: AttentionView, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that can be made of the view."""
    path = tmp_path_factory.mktemp("attention")
    list(write_attention(view, path, list(Format)))
    return path


def attention_of(length: int, mask: int | None, predictor: Predictor) -> Attention:
    """Of a text of some length, each token of which looks at all alike."""
    ids = [5] * length
    if mask is not None:
        ids[mask] = predictor.encoder.mask_id
    weights = np.full((2, 4, length, length), 1 / length, np.float32)
    return Attention("a long text", tuple(ids), ("word",) * length, (None,) * length, weights, False)


# --- pictures


@pytest.mark.parametrize("name", HEADS)
def test_a_picture_s_colours_are_the_weights(
    directory: Path, view: AttentionView, attention: Attention, name: str
) -> None:
    layer, head = int(name[15]), int(name[-1])
    with drawing():
        drawn = HeadPictures(view)
    with Image.open(directory / f"{name}.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    middles = 2 * drawn.cell * np.arange(len(view.tokens)) + drawn.cell  # two pixels a point
    found = pixels[2 * drawn.top + middles][:, 2 * drawn.left + middles]  # [queries, keys, 3]
    np.testing.assert_allclose(weights_of(found), attention.weights[layer - 1, head - 1], atol=1 / 255)


def weights_of(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The weight of each colour of the ramp for paper; any other colour is an error."""
    distances = np.abs(colours[..., np.newaxis, :].astype(int) - LIGHT).sum(-1)
    assert distances.min(-1).max() == 0
    return distances.argmin(-1) / 255


def test_a_head_s_picture_is_what_is_drawn_when_everything_is_drawn(view: AttentionView, tmp_path: Path) -> None:
    with drawing():
        one, other = HeadPictures(view), HeadPictures(view)
        first = one.pixels(0, 1)
        one.pixels(1, 2)
        assert np.array_equal(one.pixels(0, 1), first)
        assert not np.array_equal(other.pixels(1, 2), first)
        save_figure(other.figure(0, 1), tmp_path / "whole.png", "png", "", "")  # draws everything
    with Image.open(tmp_path / "whole.png") as whole:
        assert np.array_equal(np.asarray(whole), first)


def test_every_head_has_its_files_and_all_have_a_sheet_and_a_page(directory: Path) -> None:
    names = {f"{name}.{kind}" for name in ["Attention", *HEADS] for kind in ("png", "svg")}
    assert {path.name for path in directory.iterdir()} == names | {"Attention.html"}


def test_the_pictures_have_one_size_and_say_what_they_show(directory: Path) -> None:
    sizes = set()
    for name in HEADS:
        with Image.open(directory / f"{name}.png") as image:
            sizes.add(image.size)
            assert image.info["Title"] == f"Layer {name[15]}, head {name[-1]} of tiny · fp32"
            assert image.info["Description"] == TEXT
    assert len(sizes) == 1
    assert min(sizes.pop()) > 600


def test_the_sheet_has_each_head_s_colours_in_its_place(directory: Path, view: AttentionView) -> None:
    with Image.open(directory / "Attention.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    counts = len(view.tokens)
    side = counts * round(112 / counts)
    left, top, step = 2 * (28 + 40), 2 * (28 + 88), side + 16
    for layer in range(2):
        for head in range(4):
            middles = (side // counts) * np.arange(counts) + side // counts // 2
            found = pixels[top + layer * step + middles][:, left + head * step + middles]
            np.testing.assert_allclose(
                weights_of(found.astype(np.uint8)), view.weights[layer, head], atol=1 / 255, err_msg=f"{layer} {head}"
            )


def test_an_svg_holds_the_tokens_as_text_and_is_the_same_each_time(
    directory: Path, view: AttentionView, tmp_path: Path
) -> None:
    texts = texts_of(directory / "Attention_Layer2_Head3.svg")
    assert {*view.tokens, "Layer 2, head 3", TEXT, "tiny · fp32"} <= texts
    assert {"query: the token that looks", "key: the token looked at", "attention probability"} <= texts
    assert {"layer", "head", "1", "2", "3", "4"} <= texts_of(directory / "Attention.svg")
    list(write_attention(view, tmp_path, [Format.SVG]))
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (directory / path.name).read_bytes()


def texts_of(path: Path) -> set[str]:
    root = ElementTree.parse(path).getroot()
    return {"".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")}


@pytest.mark.parametrize("ramp", [LIGHT, DARK], ids=["light", "dark"])
def test_the_colours_are_told_apart_equally_well_everywhere(ramp: Ramp) -> None:
    lab = oklab(ramp[::15])
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert steps.max() < 1.15 * steps.min()
    assert (np.diff(lab[:, 0]) < 0).all() or (np.diff(lab[:, 0]) > 0).all()  # in a grey print too
    assert LIGHT[0].tolist() == [255, 255, 255]


def oklab(colours: Ramp) -> npt.NDArray[np.float64]:
    """As Ottosson (2020) defines it, from sRGB."""
    value = colours / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.asarray(np.cbrt(linear @ np.array(to_lms).T) @ np.array(to_lab).T)


@pytest.mark.parametrize(
    "tokens", [("[CLS]", "x" * 400), ("日本", "🙂", "$5$"), ("<b>&amp;", "\x07", "\u202eabc", " ")]
)
def test_any_tokens_can_be_drawn(view: AttentionView, tokens: tuple[str, ...], tmp_path: Path) -> None:
    count = len(tokens)
    odd = replace(view, text="\x07 <&" + "x" * 500, tokens=tokens, weights=view.weights[..., :count, :count])
    assert len(list(write_attention(odd, tmp_path, list(Format)))) == 2 * 9 + 1
    ElementTree.parse(tmp_path / "Attention_Layer1_Head1.svg")


# --- what is shown


def test_a_long_text_is_shown_in_part_and_the_picture_says_so(predictor: Predictor, tmp_path: Path) -> None:
    view = view_attention(attention_of(300, None, predictor), predictor, [1], [1])
    assert (len(view.tokens), view.first, view.weights.shape) == (128, 0, (1, 1, 128, 128))
    note = "Tokens 1 to 128 of 300 are shown; the 172 others are left out."
    assert view.notes == [note]
    list(write_attention(view, tmp_path, [Format.SVG]))
    assert note in texts_of(tmp_path / "Attention_Layer1_Head1.svg")


@pytest.mark.parametrize(("mask", "first"), [(0, 0), (127, 0), (128, 64), (200, 136), (299, 172)])
def test_of_a_long_text_the_part_with_the_mask_is_shown(predictor: Predictor, mask: int, first: int) -> None:
    view = view_attention(attention_of(300, mask, predictor), predictor, [], [])
    assert view.first == first
    assert view.masks == (mask - first,)
    assert len(view.tokens) == 128


def test_of_many_heads_fewer_tokens_are_shown(predictor: Predictor) -> None:
    attention = attention_of(100, None, predictor)
    many = replace(attention, weights=np.zeros((24, 16, 100, 100), np.float32))
    assert len(view_attention(many, predictor, [], []).tokens) == 78
    assert len(view_attention(many, predictor, [24], []).tokens) == 100


def test_layers_and_heads_are_chosen_by_their_numbers(predictor: Predictor, attention: Attention) -> None:
    view = view_attention(attention, predictor, [2], [4, 1, 4])
    assert (view.layers, view.heads) == ((2,), (1, 4))
    assert np.array_equal(view.weights, attention.weights[1:2, [0, 3]])
    assert view.title_of(0, 1) == "Layer 2, head 4"


# --- the command


def test_the_command_names_the_files_that_it_wrote(run_mlm: RunMlm, tmp_path: Path) -> None:
    ran = run_mlm("attention", TEXT, "--out", tmp_path / "new" / "directory", "--layer", "2", "--head", "3")
    assert (ran.returncode, ran.stderr) == (0, "")
    paths = ran.stdout.splitlines()
    assert [Path(path).name for path in paths] == ["Attention.html", "Attention_Layer2_Head3.png"]
    assert all(Path(path).is_file() for path in paths)


@pytest.mark.filterwarnings("ignore:.*use of forkpty.*:DeprecationWarning")  # the child executes a program at once
def test_in_a_terminal_many_pictures_are_counted(mlm_command: list[str], bundle: Path, tmp_path: Path) -> None:
    arguments = ["attention", TEXT, "--model", str(bundle), "--out", "made"]
    shown = str(pexpect.run(shlex.join([*mlm_command, *arguments]), cwd=tmp_path, encoding="utf-8", timeout=60))
    lines = re.sub(r"\x1b\[\d*m", "", shown).splitlines()
    assert lines == ["made/Attention.html", "made/Attention.png", "and a picture of each head, 8 in all"]
    assert len(list((tmp_path / "made").glob("Attention_Layer*.png"))) == 8


def test_json_says_what_each_file_shows(run_mlm: RunMlm, parse: Callable[[str], list[Any]], tmp_path: Path) -> None:
    ran = run_mlm("attention", "-", "--out", tmp_path, "--format", "svg", "--layer", "1", "--json", stdin=f"{TEXT}\n")
    files = parse(ran.stdout)
    assert [(file["layer"], file["head"]) for file in files] == [(None, None), *((1, head) for head in (1, 2, 3, 4))]
    assert {file["format"] for file in files} == {"svg"}
    assert {Path(file["path"]) for file in files} == set(tmp_path.iterdir())


def test_files_of_an_earlier_run_are_written_over_and_the_rest_told(run_mlm: RunMlm, tmp_path: Path) -> None:
    for name in ("Attention_Layer1_Head1.png", "Attention_Layer9_Head1.png"):
        (tmp_path / name).write_text("earlier")
    ran = run_mlm("attention", TEXT, "--out", tmp_path, "--format", "png", "--head", "1", "--layer", "1")
    assert (ran.returncode, ran.stdout) == (0, f"{tmp_path}/Attention_Layer1_Head1.png\n")
    assert ran.stderr == "1 file of an earlier run is still there: Attention_Layer9_Head1.png\n"
    assert (tmp_path / "Attention_Layer1_Head1.png").read_bytes()[:4] == b"\x89PNG"


def test_a_directory_with_other_files_is_refused(run_mlm: RunMlm, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    ran = run_mlm("attention", TEXT, "--out", tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"Error: {tmp_path} holds other files (thesis.tex): name a new directory with --out\n"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_directory_that_cannot_be_made_exits_1(run_mlm: RunMlm, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run_mlm("attention", TEXT, "--out", tmp_path / "file" / "directory")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"Error: cannot write {tmp_path}/file/directory: Not a directory\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "3"], "Error: there is no layer 3: the model has 2, counted from 1"),
        (["--head", "5"], "Error: there is no head 5: the model has 4, counted from 1"),
        (["--layer", "0"], "Error: there is no layer 0: the model has 2, counted from 1"),
        (["--format", "gif"], "'gif' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_exits_2(run_mlm: RunMlm, tmp_path: Path, arguments: list[str], message: str) -> None:
    ran = run_mlm("attention", TEXT, "--out", tmp_path / "new", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert message in " ".join(ran.stderr.replace("│", " ").split())
    assert not (tmp_path / "new").exists()


def test_a_bundle_without_attention_says_how_to_get_one(run_mlm: RunMlm, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    manifest = json.loads((copy / "maskedge.json").read_text())
    del manifest["attention"]
    (copy / "maskedge.json").write_text(json.dumps(manifest))
    ran = run_mlm("attention", TEXT, "--model", copy, "--out", tmp_path / "new")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "mlm-export bundle" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_without_matplotlib_there_is_the_page(bundle: Path, tmp_path: Path) -> None:
    script = "import sys; sys.modules['matplotlib'] = None; from maskedge.__main__ import main; main()"
    command = [sys.executable, "-c", script, "attention", TEXT, "--model", str(bundle), "--out", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    needs = "mlm attention --format png needs matplotlib, which is not installed: pip install 'maskedge[viz]'\n"
    assert ran.stderr == needs
    ran = subprocess.run([*command, "--format", "html"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, f"{tmp_path}/Attention.html\n")
