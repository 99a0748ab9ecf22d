"""Memory given back while a large model is exported."""

import gc
import weakref

import numpy as np

from maskedge_export.memory import STATM, release_memory, settled_objects


class Circle:
    """Refers to itself, so that only the garbage collector frees what it holds."""

    def __init__(self, size: int) -> None:
        self.held = np.ones(size, np.uint8)
        self.itself = self


def test_large_weights_that_refer_to_themselves_are_freed() -> None:
    gc.disable()
    try:
        release_memory()
        circle = weakref.ref(Circle(100 * 2**20))
        assert circle() is not None
        release_memory()
        assert circle() is None
    finally:
        gc.enable()


def test_growth_is_counted_from_the_least_that_was_held() -> None:
    gc.disable()
    try:
        held = np.ones(200 * 2**20, np.uint8)
        release_memory(dropped=held.nbytes)
        del held
        release_memory()
        circle = weakref.ref(Circle(100 * 2**20))
        release_memory()
        assert circle() is None
    finally:
        gc.enable()


def test_the_collector_does_not_run_for_less_than_it_costs() -> None:
    gc.disable()
    try:
        release_memory()
        circle = weakref.ref(Circle(2**10))
        release_memory()
        assert (circle() is not None) == STATM.exists()
        release_memory(dropped=100 * 2**20)
        assert circle() is None
    finally:
        gc.enable()


def test_what_was_made_before_is_not_looked_through_again() -> None:
    gc.disable()
    try:
        held = Circle(2**10)
        old = weakref.ref(held)
        with settled_objects():
            del held
            new = weakref.ref(Circle(2**10))
            assert gc.get_freeze_count() > 0
            gc.collect()
            assert (old() is None, new() is None) == (False, True)
        assert gc.get_freeze_count() == 0
        gc.collect()
        assert old() is None
    finally:
        gc.enable()
