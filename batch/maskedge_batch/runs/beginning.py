"""Whether a job begins, goes on, is complete already, or must not touch what lies at its place."""

import json
import logging
from enum import Enum, auto
from typing import Any

from maskedge_batch.errors import OutputError
from maskedge_batch.runs.fingerprint import Fingerprint
from maskedge_batch.runs.places import Places, exists_already
from maskedge_batch.runs.plan import Plan
from maskedge_batch.runs.receipts import Receipt
from maskedge_batch.runs.workspace import sha256_of
from maskedge_batch.storage.faults import naming_failed_reads, naming_failed_writes

__all__ = ["begin", "finished_run", "foresee"]

log = logging.getLogger("maskedge_batch")


def begin(places: Places, plan: Plan, *, overwrite: bool, resume: bool) -> list[Receipt] | None:
    """Makes the workspace ready for the plan's shards that are not done.

    Args:
        places: Where the results go; their workspace is held.
        plan: What is to be done.
        overwrite: Whether results that are there may be replaced, and an unfinished run of another job thrown away.
        resume: Whether complete results of the same job are no obstacle.

    Returns:
        The receipts of the shards that an earlier run has done, in order; None where the results are complete.

    Raises:
        OutputError: What is there may not be replaced; says what it is, and in what its job differs.
        WriteError: The place cannot be looked at, or written to.
    """
    with naming_failed_writes(places.output):
        there = places.workspace.read_plan()
        step = _next_step(places, there, plan, overwrite=overwrite, resume=resume)
        if step is _Step.NOTHING:
            _take_leftovers_away(places)
            return None
        _clean(places, *(known for known in (plan, there) if known is not None))
        if step is _Step.GO_ON:
            return _done(places, plan)
        places.workspace.begin(plan)
        return []


def foresee(places: Places, plan: Plan, *, overwrite: bool, resume: bool) -> str | None:
    """What lies at a job's places and what `begin` would do with it, in a sentence; None where nothing does.

    It writes nothing. Raises OutputError as `begin`, and WriteError where the place cannot be looked at.
    """
    with naming_failed_writes(places.output):
        there = places.workspace.read_plan()
        step = _next_step(places, there, plan, overwrite=overwrite, resume=resume)
        if step is _Step.NOTHING:
            return f"{places.output} is complete already: nothing would be scored."
        if step is _Step.GO_ON:
            done = len(places.workspace.done(plan))
            return f"The run that was begun before would be gone on with: {_shards_done(done, plan)}."
        if places.complete.exists():
            return f"{places.output} exists already: it would be replaced."
        return f"The unfinished run of another job at {places.output} would be thrown away." if there else None


class _Step(Enum):
    """What is done with what lies at a job's places."""

    BEGIN = auto()
    """It is replaced, or there is nothing."""
    GO_ON = auto()
    NOTHING = auto()
    """The results are complete."""


def _next_step(places: Places, there: Plan | None, plan: Plan, *, overwrite: bool, resume: bool) -> _Step:
    """Raises OutputError for what may not be touched. `there` is the plan that lies there."""
    if places.complete.exists() and (places.is_directory or there is None):
        if resume and _is_this_job(places, plan):
            return _Step.NOTHING
        going_on = _may_mend(places, overwrite=overwrite, resume=resume)
    else:
        going_on = there is not None and _may_go_on(places, there, plan, overwrite)
    return _Step.GO_ON if going_on else _Step.BEGIN


def _may_mend(places: Places, *, overwrite: bool, resume: bool) -> bool:
    """Whether complete results, which are not all of this job's, are gone on with; otherwise they are replaced."""
    if not (overwrite or resume):
        raise OutputError(exists_already(places.output))
    return resume


def _may_go_on(places: Places, there: Plan, plan: Plan, overwrite: bool) -> bool:
    """Whether an unfinished run is gone on with; otherwise it is thrown away."""
    if there.fingerprint != plan.fingerprint:
        if not overwrite:
            raise OutputError(_other(places, "has an unfinished run of another job", there.fingerprint, plan))
        return False
    if not (places.is_directory or overwrite or places.workspace.is_publishing) and places.output.exists():
        raise OutputError(exists_already(places.output))
    return True


def _take_leftovers_away(places: Places) -> None:
    """Ends what a run began that was killed as it took its workspace away. A directory's receipts stay beside it."""
    if not places.is_directory and places.workspace.root.exists():
        places.workspace.end()


def _clean(places: Places, *plans: Plan) -> None:
    """Takes away what says that the results are complete, and what killed runs were writing."""
    if places.is_directory:
        places.complete.remove()
    for plan in plans:
        places.workspace.sweep(plan)


def _done(places: Places, plan: Plan) -> list[Receipt]:
    done = places.workspace.done(plan)
    log.info(f"Going on with the run that was begun before: {_shards_done(len(done), plan)}.")
    return done


def _shards_done(done: int, plan: Plan) -> str:
    return f"{done:,} of {len(plan.shards):,} shards are done"


def _is_this_job(places: Places, plan: Plan) -> bool:
    """Whether the complete results are those of this job, and whole. A directory that lost parts is gone on with."""
    said = finished_run(places)
    if said is None:
        raise OutputError(
            f"{exists_already(places.output)} What it was made from is not known: {places.json} does not say it."
        )
    if (was := Fingerprint(said.get("job", {}))) != plan.fingerprint:
        raise OutputError(_other(places, "was written by another job", was, plan))
    if places.is_directory:
        return len(places.workspace.done(plan)) == len(plan.shards)
    with naming_failed_reads(places.output):
        found = sha256_of(places.output)
    if found != said.get("output_sha256"):
        raise OutputError(f"{places.output} was changed after it was written: --overwrite makes it again.")
    return True


def finished_run(places: Places) -> dict[str, Any] | None:
    """What the report says of the run that it is of; None where there is no report."""
    try:
        said = json.loads(places.json.read_bytes())["run"]
        return said if isinstance(said, dict) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _other(places: Places, what: str, was: Fingerprint, plan: Plan) -> str:
    differences = "; ".join(was.differences(plan.fingerprint))
    return f"{places.output} {what} ({differences}): --overwrite begins anew, or name another place with -o."
