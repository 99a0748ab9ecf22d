"""The limits of the gate: how they are shown, changed and documented."""

import re
from pathlib import Path

import pytest
import typer

from maskedge.bundle.golden_vectors import TOLERANCE
from maskedge_export.cli.app import app
from maskedge_export.evaluation.gate import FLAGS, GATE, Limits, changed

GUIDES = Path(__file__).parents[3] / "docs" / "guides"


@pytest.mark.parametrize(("share", "shown"), [(0.955, "95.5%"), (0.92, "92%"), (0.005, "0.5%"), (1.0, "100%")])
def test_shares_are_shown_as_they_are(share: float, shown: str) -> None:
    assert f"on at least {shown} of the masks" in Limits(top1_agreement=share).describe()
    assert f"at most {shown} higher" in Limits(perplexity_change=share).describe()
    assert f"at least {shown} of minimal pairs" in Limits(pair_agreement=share).describe()


def test_the_limit_of_fp32_is_changed_by_itself() -> None:
    gate = changed(GATE, logprob_difference=0.5, mean_kl=None)
    assert gate["fp32"] == Limits(logprob_difference=0.5)
    assert {name: limits for name, limits in gate.items() if name != "fp32"} == {
        name: limits for name, limits in GATE.items() if name != "fp32"
    }


def test_only_what_is_asked_is_recorded() -> None:
    assert Limits().active == {}
    assert Limits(mean_kl=0.0, top1_agreement=0.5).active == {"mean_kl": 0.0, "top1_agreement": 0.5}


@pytest.mark.parametrize("command", ["bundle", "verify"])
def test_each_limit_s_flag_is_an_option(command: str) -> None:
    group = typer.main.get_command(app)
    options = {option for parameter in group.commands[command].params for option in parameter.opts}  # type: ignore[attr-defined]
    assert set(FLAGS.values()) <= options


def test_the_documentation_has_the_default_limits() -> None:
    page = (GUIDES / "export.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (?:Limit|`\w+`:).*", page, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (_, _, *precisions), *limits = rows
    assert set(precisions) == set(GATE)
    assert {label.split("`")[1]: flag.strip("`") for label, flag, *_ in limits} == FLAGS
    for column, precision in enumerate(precisions, 2):
        shown = {row[0].split("`")[1]: float(row[column]) for row in limits if row[column] != "-"}
        assert shown == GATE[precision].active


def test_the_documentation_has_the_tolerances_of_golden_vectors() -> None:
    text = " ".join((GUIDES / "bundle.md").read_text(encoding="utf-8").split())
    assert f"within {TOLERANCE['fp32']:g} nats of them on any machine" in text
    assert f"an int8 graph within {TOLERANCE['int8']:g} nats" in text
