"""Row groups that cannot be read are found before anything is chosen or scored, so that every engine leaves out the
same ones."""

from collections.abc import Callable, Collection
from dataclasses import replace

from maskedge_batch.errors import DamagedError
from maskedge_batch.inputs.input_set import InputFile, InputSet, SetAside
from maskedge_batch.inputs.rows import FileRows, GroupRows

__all__ = ["without_damage"]


def without_damage(inputs: InputSet, columns: Collection[str], on_batch: Callable[[], None]) -> InputSet:
    """Reads some columns of the whole input, and sets aside the row groups in which one of them is damaged.

    `on_batch` is called on the way. Raises InputError where a place cannot be read: what is not damaged is not set
    aside.
    """
    files: list[InputFile] = []
    aside: list[SetAside] = []
    for file in inputs.files:
        found = _damaged(file, columns, on_batch)
        aside += found.values()
        groups = (
            GroupRows(group.total, 0) if number in found else group for number, group in enumerate(file.rows.groups)
        )
        files.append(replace(file, rows=FileRows(tuple(groups))))
    return replace(inputs, files=tuple(files), set_aside=(*inputs.set_aside, *aside))


def _damaged(file: InputFile, columns: Collection[str], on_batch: Callable[[], None]) -> dict[int, SetAside]:
    found = {}
    with file.open() as opened:
        own = [name for name in opened.schema.names if name in columns]
        for number, group in enumerate(file.rows.groups):
            try:
                for _ in opened.batches([(number, range(group.total))], own):
                    on_batch()
            except DamagedError as error:
                found[number] = SetAside(file.shown, number, group.total, error.what)
    return found
