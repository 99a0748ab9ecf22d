"""The report on heads: every number as a frozen value, as JSON and as tables."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from maskedge.plain_json import plain_json
from maskedge_batch.heads.analysis import HeadsAnalysis
from maskedge_batch.heads.roles import ROLES
from maskedge_batch.reports.run import ModelRun

__all__ = ["DEFINITIONS", "HeadsReport", "accuracy_table", "best_heads", "heads_json", "role_table"]

DEFINITIONS = {
    "previous, next, self": "Mean probability with which a token looks at the one before it, behind it, at itself. "
    "Means are over all tokens of the texts; special tokens are looked at, and not asked.",
    "same": "At other places that hold the same token.",
    "first, separator": "At the special tokens before the text ([CLS]) and behind it ([SEP]). Heads that find nothing "
    "to do look there (Clark et al. 2019).",
    "punctuation": "At tokens that are nothing but punctuation.",
    "distance": "Mean distance, in tokens, of what is looked at within the text.",
    "entropy": "Entropy of the attention, nats: low where a head looks at few places.",
    "confidence": "The greatest probability of each token's attention, in the mean (Voita et al. 2019).",
    "words": "Of a word of several tokens: attention to it is the sum over its tokens, attention from it their mean "
    "(Clark et al. 2019).",
    "accuracy": "To the head: share of dependents that look at their head most, of all other words of the sentence. To "
    "the dependent: share of head words that look most at one of their dependents in that relation. The attention head "
    "is chosen on one half of the sentences and measured on the other.",
    "baseline": "Accuracy of always looking at the word at one distance, chosen and measured likewise.",
    "interval": "95 %, by a bootstrap over groups of sentences; that of the gain over the baseline is paired.",
    "groups": "Heads that look at the same places: average linkage over the mean Jensen-Shannon divergence of their "
    "attention, nats.",
}


@dataclass(frozen=True, slots=True)
class HeadsReport:
    """All that the report on heads says."""

    run: ModelRun
    analysis: HeadsAnalysis
    definitions: Mapping[str, str]


def best_heads(analysis: HeadsAnalysis) -> dict[str, tuple[int, int, float]]:
    """For each role the head that plays it most, layer and head from 1, and its value."""
    found = {}
    for role in ROLES:
        values = analysis.roles[role]
        layer, head = np.unravel_index(int(values.argmax()), values.shape)
        found[role] = int(layer) + 1, int(head) + 1, float(values[layer, head])
    return found


def heads_json(report: HeadsReport) -> str:
    """Every figure under the name of its field; arrays are [layers][heads]."""
    analysis = report.analysis
    plain = ("layers", "heads", "sentences", "tokens", "set_aside", "truncated", "uniform", "clusters")
    relations = zip(analysis.relations, analysis.accuracies, analysis.examples, strict=True)
    values = {
        "run": asdict(report.run),
        **{name: getattr(analysis, name) for name in plain},
        "roles": {role: values.tolist() for role, values in analysis.roles.items()},
        "distances": analysis.distances.tolist(),
        "relations": [
            {**asdict(result), "accuracies": accuracies.tolist(), "examples": [asdict(one) for one in examples]}
            for result, accuracies, examples in relations
        ],
        "definitions": report.definitions,
    }
    return plain_json(values, indent=1, ensure_ascii=False) + "\n"


def role_table(analysis: HeadsAnalysis) -> pa.Table:
    """A row for each head: its roles and its group."""
    places = [(layer, head) for layer in range(analysis.layers) for head in range(analysis.heads)]
    return pa.table(
        {
            "layer": [layer + 1 for layer, _ in places],
            "head": [head + 1 for _, head in places],
            **{role: values.ravel() for role, values in analysis.roles.items()},
            "cluster": analysis.clusters,
        }
    )


def accuracy_table(analysis: HeadsAnalysis) -> pa.Table:
    """A row for each relation, direction and head: its accuracy over all sentences, and whether it was chosen."""
    return pa.Table.from_pylist(list(_accuracy_rows(analysis)), schema=ACCURACIES)


def _accuracy_rows(analysis: HeadsAnalysis) -> Iterator[dict[str, object]]:
    for result, accuracies in zip(analysis.relations, analysis.accuracies, strict=True):
        for (layer, head), accuracy in np.ndenumerate(accuracies):
            yield {
                "relation": result.relation,
                "direction": result.direction,
                "layer": layer + 1,
                "head": head + 1,
                "accuracy": accuracy,
                "chosen": (layer + 1, head + 1) == (result.layer, result.head),
            }


_FIELDS: list[Any] = [
    pa.field("relation", pa.string()),
    pa.field("direction", pa.string()),
    pa.field("layer", pa.int32()),
    pa.field("head", pa.int32()),
    pa.field("accuracy", pa.float64()),
    pa.field("chosen", pa.bool_()),
]
ACCURACIES = pa.schema(_FIELDS)
