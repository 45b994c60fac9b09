"""Coordinator: threads that stop together."""

from __future__ import annotations

import threading
import time

import pytest

import gpugrad.compat.v1 as tf


def test_threads_stop_together() -> None:
    coord = tf.train.Coordinator()
    counts = [0, 0]

    def work(index: int) -> None:
        while not coord.should_stop():
            counts[index] += 1
            if counts[index] >= 5 and index == 0:
                coord.request_stop()
            time.sleep(0.001)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    coord.register_thread(threads[0])
    coord.join(threads)
    assert coord.joined and counts[0] == 5 and counts[1] > 0
    assert not any(t.is_alive() for t in threads)
    assert coord.wait_for_stop(0) and coord.should_stop()
    coord.clear_stop()
    assert not coord.should_stop() and not coord.joined


@pytest.mark.parametrize("way", ["context", "exc_info", "exception"])
def test_the_first_exception_comes_out_of_join(way: str) -> None:
    coord = tf.train.Coordinator()
    error = KeyError("first")

    def work() -> None:
        if way == "context":
            with coord.stop_on_exception():
                raise error
        elif way == "exc_info":
            coord.request_stop((KeyError, error, None))
        else:
            coord.request_stop(error)
        coord.request_stop(ValueError("second"))

    thread = threading.Thread(target=work)
    thread.start()
    with pytest.raises(KeyError, match="first"):
        coord.join([thread])


def test_the_end_of_the_input_is_no_error() -> None:
    coord = tf.train.Coordinator()
    with coord.stop_on_exception():
        raise tf.errors.OutOfRangeError(None, None, "end")
    coord.join()
    own = tf.train.Coordinator(clean_stop_exception_types=(ValueError,))
    own.request_stop(ValueError("fine"))
    own.join()
    with pytest.raises(OSError, match="late"):
        own.request_stop(OSError("late"))


def test_threads_that_do_not_stop_are_named() -> None:
    coord = tf.train.Coordinator()
    go = threading.Event()
    thread = threading.Thread(target=go.wait, name="stubborn")
    thread.start()
    coord.request_stop()
    with pytest.raises(RuntimeError, match="still running: stubborn"):
        coord.join([thread], stop_grace_period_secs=0.05)
    coord.join([thread], stop_grace_period_secs=0.05, ignore_live_threads=True)
    go.set()
    thread.join()


def test_queue_runners() -> None:
    with tf.Graph().as_default() as graph, tf.Session() as session:
        assert tf.train.start_queue_runners(session, tf.train.Coordinator()) == []
        graph.add_to_collection(tf.GraphKeys.QUEUE_RUNNERS, object())
        with pytest.raises(ValueError, match="1 queue runners"):
            tf.train.start_queue_runners()
