"""What a server counts, in Prometheus' format.

Several worker processes write into one folder, which `PROMETHEUS_MULTIPROC_DIR` names before this
module is imported; each of them gives the sums of all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

__all__ = ["FOLDER", "Metrics"]

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
INPUTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of this process."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("ner_requests", "Requests", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "ner_request_seconds",
            "Seconds from the head of a request for entities to its answer",
            buckets=SECONDS,
            registry=registry,
        )
        self.batches = Histogram(
            "ner_batch_inputs", "Inputs of a batch", buckets=INPUTS, registry=registry
        )
        self.model_seconds = Histogram(
            "ner_batch_seconds",
            "Seconds that the model takes for a batch",
            buckets=SECONDS,
            registry=registry,
        )
        self.tokens = Counter("ner_subwords", "Sub-words that were read", registry=registry)
        self._waiting = self._gauge("ner_queue_inputs", "Inputs that wait")
        self._waiting_tokens = self._gauge("ner_queue_subwords", "Sub-words that wait")
        self._running = self._gauge("ner_running_inputs", "Inputs of the batch that runs")
        self._held = self._gauge("ner_held_inputs", "Inputs that are prepared, wait or run")
        self._update: Callable[[], tuple[int, ...]] = lambda: (0, 0, 0, 0)
        if folder := os.environ.get(FOLDER):
            _forget_dead(Path(folder))

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry, multiprocess_mode="livesum")

    def watch(self, queue: Callable[[], tuple[int, int, int, int]]) -> None:
        """Take from here the inputs and sub-words that wait, and the inputs that run and that are
        held."""
        self._update = queue

    def batch(self, inputs: int, tokens: int, seconds: float) -> None:
        """Count a batch."""
        self.batches.observe(inputs)
        self.tokens.inc(tokens)
        self.model_seconds.observe(seconds)
        self.queue()

    def queue(self) -> None:
        """Note the length of the queue, for the other processes."""
        gauges = (self._waiting, self._waiting_tokens, self._running, self._held)
        for gauge, value in zip(gauges, self._update(), strict=True):
            gauge.set(value)

    def text(self) -> bytes:
        """All metrics: of this process, or of all that share the folder."""
        self.queue()
        registry = self._registry
        if os.environ.get(FOLDER):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry)


def _forget_dead(folder: Path) -> None:
    """Remove the queues of worker processes that have ended."""
    for path in folder.glob("gauge_live*_*.db"):
        number = int(re.findall(r"\d+", path.stem)[-1])
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            mark_process_dead(number)
