"""Measurements -> the figures of tables and pictures: medians, ratios, and how often the best token is right."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from harness.contenders import PIPELINE, REFERENCE
from harness.journal import Journal, Measurement
from harness.race import COLD
from harness.workloads import Rows, Workload

__all__ = ["Metrics", "model_figures"]

Metrics = dict[str, Any]

CALL = ", Predictor(list)"
"""Ends the names of entries that call the predictor as the pipeline is called."""
OPPONENTS = {
    "sentences, the pipeline": ("sentences", PIPELINE),
    "sentences, transformers bf16 in sorted batches": ("sentences", "transformers, sorted batches, bf16"),
    "sentences, Optimum int8": ("sentences", "Optimum, int8"),
    "sentences, the fastest peer": ("sentences", ""),
    "one sentence, the pipeline": ("one", PIPELINE),
    "first answer, the pipeline": (COLD, PIPELINE),
    "pseudo-log-likelihood, minicons": ("pll", "minicons"),
    "pseudo-log-likelihood, the fastest peer": ("pll", ""),
}
"""Workloads, and what is in the names of those that maskedge is compared with."""


def model_figures(journal: Journal, model: str, rows: Rows) -> Metrics:
    """The rows of each workload, and by entry what was found of each, the fastest first."""
    workloads = {each.name: {"rows": len(each.texts), "tokens": each.tokens} for each in rows.workloads}
    entries: dict[str, Metrics] = {}
    for workload in rows.workloads:
        for name, found in workload_figures(journal.of(model, workload.name), workload).items():
            entries.setdefault(name, {})[workload.name] = found
    for name, seconds in cold_starts(journal.of(model, COLD)).items():
        entries.setdefault(name, {})["cold_seconds"] = seconds
    for each in journal.of(model, "sentences"):
        if not each.failed:
            entries[each.entry]["peak_megabytes"] = each.found["peak_bytes"] / 1e6
    entries = dict(sorted(entries.items(), key=lambda entry: [-rate(entry[1], kind) for kind in ("sentences", "pll")]))
    return {
        "workloads": workloads,
        "entries": entries,
        "failed": failures(journal, model),
        "picked": picked(entries),
        "times_faster": times_faster(entries),
        "share_of_fill": shares_of_fill(entries),
    }


def picked(entries: Mapping[str, Metrics]) -> dict[str, str]:
    """The entries of maskedge's default graph and of the peer that fills most sentences a second, if there are any."""
    default = [name.removesuffix(CALL) for name in entries if name.endswith(CALL)]
    peers = [name for name, row in entries.items() if not is_ours(name) and "sentences" in row]
    found = {"default": default[0]} if default else {}
    return found | ({"fastest_peer": max(peers, key=lambda name: rate(entries[name], "sentences"))} if peers else {})


def times_faster(entries: Mapping[str, Metrics]) -> dict[str, float]:
    """How many times faster maskedge's best graph is than what a user would otherwise pick."""
    ours = [name for name in entries if is_ours(name)]
    found = {}
    for label, (workload, picked) in OPPONENTS.items():
        theirs = [name for name in entries if not is_ours(name) and picked in name]
        fast, slow = (max((rate(entries[name], workload) for name in some), default=0) for some in (ours, theirs))
        if fast and slow:
            found[label] = fast / slow
    return found


def shares_of_fill(entries: Mapping[str, Metrics]) -> dict[str, float]:
    """The tokens that the network reads a second in other calls, as a share of those in `fill` with the same graph."""
    found: dict[str, float] = {}
    for name, row in entries.items():
        graph = name.removesuffix(CALL)
        fill = rate(entries.get(graph, {}), "sentences")
        if is_ours(name) and fill:
            found |= {name: rate(row, "sentences") / fill} if graph != name else {}
            found |= {f"{name}, PLL": rate(row, "pll") / fill} if "pll" in row else {}
    return found


def is_ours(name: str) -> bool:
    """Whether an entry is maskedge's."""
    return name.startswith("maskedge")


def rate(row: Mapping[str, Any], workload: str) -> float:
    """Of what is the better the larger it is; 0 where nothing was measured."""
    if workload == COLD:
        return 1 / row["cold_seconds"] if "cold_seconds" in row else 0.0
    if workload not in row:
        return 0.0
    measured: Metrics = row[workload]
    return float(measured.get("read_tokens_per_second") or 1 / measured["median_milliseconds"])


def failures(journal: Journal, model: str) -> dict[str, dict[str, str]]:
    """Workload by entry, and why it has no figures there."""
    found: dict[str, dict[str, str]] = {}
    for each in journal.measurements:
        if each.model == model and each.failed:
            found.setdefault(each.entry, {})[each.workload] = each.failed
    return found


def workload_figures(measurements: Sequence[Measurement], workload: Workload) -> dict[str, Metrics]:
    """What a workload's rounds say, by entry."""
    turns: dict[str, list[Mapping[str, Any]]] = {}
    for each in measurements:
        if not each.failed and each.round > 0:
            turns.setdefault(each.entry, []).append(each.found)
    if workload.do == "fill_each":
        return {name: latencies(found) for name, found in turns.items()}
    figures = {name: throughput(found, workload) for name, found in turns.items()}
    right = {each.entry: each.found for each in measurements if not each.failed}
    for name, row in figures.items():
        row |= agreement(right[name], right.get(REFERENCE, {}))
        if PIPELINE in figures:
            row["times_pipeline"] = row["rows_per_second"] / figures[PIPELINE]["rows_per_second"]
    return figures


def throughput(turns: Sequence[Mapping[str, Any]], workload: Workload) -> Metrics:
    """Of the median round; and of the slowest and the fastest."""
    seconds = sorted(turn["seconds"] for turn in turns)
    median = statistics.median(seconds)
    return {
        "rounds": len(seconds),
        "rows_per_second": len(workload.texts) / median,
        "tokens_per_second": workload.tokens / median,
        "read_tokens_per_second": workload.read / median,
        "range_of_rows_per_second": [len(workload.texts) / each for each in (seconds[-1], seconds[0])],
    }


def latencies(turns: Sequence[Mapping[str, Any]]) -> Metrics:
    """Of all texts in all rounds."""
    seconds = sorted(each for turn in turns for each in turn["seconds"])
    highest = seconds[min(len(seconds) - 1, math.ceil(0.99 * len(seconds)) - 1)]
    return {
        "rounds": len(turns),
        "texts": len(seconds),
        "median_milliseconds": 1e3 * statistics.median(seconds),
        "p99_milliseconds": 1e3 * highest,
    }


def agreement(found: Mapping[str, Any], right: Mapping[str, Any]) -> Metrics:
    """The share of texts whose best token is fp32's; of scores the mean difference from fp32's, nats."""
    if "tokens" in found and "tokens" in right:
        same = map(int.__eq__, found["tokens"], right["tokens"])
        return {"same_best_token": sum(same) / len(right["tokens"])}
    if "scores" in found and "scores" in right:
        return {"mean_difference": statistics.mean(map(abs, map(float.__sub__, found["scores"], right["scores"])))}
    return {}


def cold_starts(measurements: Sequence[Measurement]) -> dict[str, float]:
    """The median of each entry's."""
    seconds: dict[str, list[float]] = {}
    for each in measurements:
        if not each.failed:
            seconds.setdefault(each.entry, []).append(each.found["seconds"])
    return {name: statistics.median(some) for name, some in seconds.items()}
