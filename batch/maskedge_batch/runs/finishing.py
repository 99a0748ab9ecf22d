"""The end of a run: parts become the output, the reports stand beside it, and the workspace goes.

Every step may be the last of a process that is killed. Done again, they end in the same bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from maskedge_batch.inputs.parquet import open_parquet
from maskedge_batch.outputs.writing import ScoredWriter
from maskedge_batch.reports.measuring import make_report
from maskedge_batch.reports.rendering import as_html, as_json, as_markdown
from maskedge_batch.reports.report import Report, RunFacts
from maskedge_batch.runs.places import Places
from maskedge_batch.runs.plan import Plan
from maskedge_batch.runs.shard import Work
from maskedge_batch.runs.workspace import sha256_of
from maskedge_batch.storage.faults import naming_failed_writes
from maskedge_batch.storage.locations import Location, locate
from maskedge_batch.storage.publishing import publish_bytes, staged

__all__ = ["finish"]


def finish(places: Places, plan: Plan, work: Work, facts: Callable[[], RunFacts], check: Callable[[], None]) -> Report:
    """Makes the output and its reports from the parts, which are all done.

    Args:
        places: Where they go.
        plan: Whose parts they are.
        work: What they have in common.
        facts: Makes what the reports say of the run.
        check: Called between batches of rows; to stop, it raises.

    Raises:
        InputError: A part is damaged.
        WriteError: The output could not be written to the end.
    """
    work.workspace.sweep(plan)  # what workers that died were writing
    parts = [work.workspace.part(shard) for shard in plan.shards]
    if places.is_directory:
        report = make_report(parts, run=replace(facts(), job=plan.fingerprint.parts), check=check)
        with staged(*places.reports) as drafts:
            _write(report, drafts, places)
        publish_bytes(places.complete, b"")
        work.workspace.spool.remove()
        return report
    with staged(places.output, *places.reports) as (output, *drafts):
        _assemble(output, places, parts, work, check)
        sha256 = sha256_of(locate(output))
        run = replace(facts(), job=plan.fingerprint.parts, output_sha256=sha256)
        report = make_report([output], run=run, check=check)
        _write(report, drafts, places)
        check()
        work.workspace.mark_publishing()
    work.workspace.end()
    return report


def _assemble(output: Path, places: Places, parts: Sequence[Location], work: Work, check: Callable[[], None]) -> None:
    with ScoredWriter(output, places.output, work.schema, **work.writer_options) as writer:
        for part in parts:
            with open_parquet(part) as opened:
                for batch in opened.batches():
                    writer.write(batch)
                    check()


def _write(report: Report, drafts: Sequence[Path], places: Places) -> None:
    pages = (as_html(report), as_markdown(report), as_json(report))
    for draft, final, page in zip(drafts, places.reports, pages, strict=True):
        with naming_failed_writes(final):
            draft.write_text(page, encoding="utf-8")
