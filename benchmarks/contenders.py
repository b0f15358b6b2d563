"""Processes that do the same work in turns, so that whatever else a machine does meets all of them."""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from runner.workers import worker_environment

WARM_UP = 2  # turns of one step before the first that counts


def serve(connection, make: Callable[..., Callable[[], None]], arguments: tuple) -> None:
    """In a child: make the step once, then time as many as asked for."""
    step = make(*arguments)
    for _ in range(WARM_UP):
        step()
    connection.send("ready")
    while count := connection.recv():
        start = time.perf_counter()
        for _ in range(count):
            step()
        connection.send(((time.perf_counter() - start) / count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


class Contender:
    """``processes`` children that do the same at once, ours (``as_worker``) in the environment of the runner's."""

    def __init__(self, make: Callable, arguments: tuple, processes: int, as_worker: bool):
        context = multiprocessing.get_context("spawn")
        self.pipes, self.children, self.seconds, self.peak = [], [], [], 0.0
        surroundings: AbstractContextManager = worker_environment(gpu=None) if as_worker else nullcontext()
        with surroundings:
            for _ in range(processes):
                ours, theirs = context.Pipe()
                child = context.Process(target=serve, args=(theirs, make, arguments), daemon=True)
                child.start()
                theirs.close()
                self.pipes.append(ours)
                self.children.append(child)

    def wait_until_ready(self) -> None:
        for pipe in self.pipes:
            pipe.recv()

    def measure(self, count: int) -> None:
        for pipe in self.pipes:
            pipe.send(count)
        answers = [pipe.recv() for pipe in self.pipes]
        self.seconds.append(statistics.mean(seconds for seconds, _ in answers))
        self.peak = max(peak for _, peak in answers) / 1024

    def stop(self) -> None:
        for pipe, child in zip(self.pipes, self.children, strict=True):
            pipe.send(0)
            child.join()

    def per_second(self) -> list[float]:
        """Turns a second in each round, of all processes together."""
        return [len(self.pipes) / seconds for seconds in self.seconds]


def spread(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """The spread of one contender's rates over another's of the same round."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])
