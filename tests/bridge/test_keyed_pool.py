"""Threads run tasks of one key one after another, and all others whoever is free."""

import threading
import time

import pytest
from support import wait_until

from otel_kfs.bridge.keyed_pool import KeyedPool


@pytest.fixture
def pool():
    """Makes a pool that notes what it runs, each task only once it may."""
    made = []

    def make(count, may=None):
        done, lock = [], threading.Lock()

        def work(number, tasks):
            for task in tasks:
                if may is not None:
                    assert may(task).wait(30)
                with lock:
                    done.append((number, task))

        made.append(KeyedPool(count, work))
        return made[-1], done

    yield make
    for each in made:
        each.close()


def test_one_worker_keeps_the_order_of_all_tasks(pool):
    running, done = pool(1)
    for task in range(100):
        running.submit(task, b"key" if task % 3 else None)
    assert running.wait_for_fewer(1, 30) == 0
    assert done == [(0, task) for task in range(100)]


def test_the_tasks_of_a_key_stay_with_one_thread_in_their_order(pool):
    running, done = pool(4)
    for task in range(200):
        running.submit(task, b"%d" % (task % 8))
    assert running.wait_for_fewer(1, 30) == 0
    for key in range(8):
        of_key = [(number, task) for number, task in done if task % 8 == key]
        assert len({number for number, _ in of_key}) == 1
        assert [task for _, task in of_key] == list(range(key, 200, 8))


def test_a_task_without_a_key_does_not_wait_behind_a_slow_one(pool):
    slow, quick = threading.Event(), threading.Event()
    quick.set()
    running, done = pool(2, lambda task: quick if task else slow)
    running.submit(0, None)
    for task in (1, 2, 3):
        running.submit(task, None)
    wait_until("the quick ones", lambda: [task for _, task in done] == [1, 2, 3])
    slow.set()
    assert running.wait_for_fewer(1, 30) == 0


def test_a_task_that_no_thread_has_begun_can_be_cancelled(pool):
    may = threading.Event()
    running, done = pool(1, lambda _: may)
    for task in range(4):
        running.submit(task, None)
    wait_until("the first one", lambda: running.wait_for_running(lambda task: task == 0, 0))
    assert running.cancel(lambda task: task != 2) == [1, 3]
    may.set()
    assert running.wait_for_fewer(1, 30) == 0
    assert [task for _, task in done] == [0, 2]


def test_waiting_ends_at_the_deadline_with_what_still_runs(pool):
    may = threading.Event()
    running, _ = pool(2, lambda _: may)
    running.submit("a", b"1")
    wait_until("it", lambda: running.wait_for_running(lambda _: True, 0))
    assert running.wait_for_running(lambda _: True, time.monotonic()) == ["a"]
    assert running.wait_for_fewer(1, 0) == 1
    may.set()
    assert running.wait_for_running(lambda _: True, time.monotonic() + 30) == []
