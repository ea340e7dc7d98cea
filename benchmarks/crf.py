"""What the CRF costs against pytorch-crf, as ratios within one run.

    python benchmarks/crf.py                       # two threads
    python benchmarks/crf.py --threads 1 --seconds 20
    python benchmarks/crf.py --shortest 0.25       # sentences of a quarter of the words to all
    python benchmarks/crf.py --device cuda

* `loss and gradient`: the likelihood of a batch and its gradient for emissions and transitions.
  Claim: at least 5 times as fast at 32 x 128 x 9 (sentences, words, labels), 8 times at
  64 x 512 x 9 and 3 times at 1 x 32 x 9.
* `decode`: labels, marginals and the probability of each entity, against the labels alone of
  pytorch-crf. Claim: at least as fast at each of these shapes.
* `operators`: how many PyTorch operators a decode runs; those of a scan, as on CUDA, besides. On
  the CPU a decode is NumPy's, which is not counted: eight calls a word, and those of a batch.

On a GPU a turn ends when the GPU has computed it. A decode's results stay there, but for
pytorch-crf's, which are lists. A second table compares the two forms of a decode, scans on the GPU
and NumPy on the processor after a copy (`FEW_WORDS`).

The same random emissions, labels and parameters, without constraints, which pytorch-crf has not;
likelihoods, gradients and labels are compared before anything is timed. Emissions are float32 and
so are the results; pytorch-crf computes in float32, the CRF here in float64. The two take turns, so
that other programs on the machine slow them alike: a figure is the ratio of the fastest runs, in
brackets that of the medians, and how long the fastest run took here.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import TypeAlias
from unittest.mock import patch

import torch
import torchcrf
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dataset_mmnerd import markdown
from modeling_2mner import crf_2mner, recursions_2mner
from modeling_2mner.crf_2mner import CRFDecoding, LinearChainCRF
from modeling_2mner.labels_2mner import scheme_labels

SHAPES = ((32, 128, 9), (64, 512, 9), (1, 32, 9))
FORMS = (
    *((1, 32), (8, 32), (32, 32), (64, 32), (32, 128), (64, 64)),
    *((128, 64), (256, 32), (256, 64), (64, 512), (256, 128)),
)
CRF: TypeAlias = LinearChainCRF | torchcrf.CRF

LEAST = 5
"""Turns that are taken at least."""


class Case:
    """Two CRFs of the same parameters, and a batch for both."""

    def __init__(
        self, sentences: int, words: int, labels: int, shortest: float, device: torch.device
    ):
        torch.manual_seed(0)
        names = scheme_labels([f"T{number}" for number in range((labels - 1) // 2)])
        self.ours = LinearChainCRF(names, constrain=False).to(device)
        self.theirs = torchcrf.CRF(labels, batch_first=True).to(device)
        self.theirs.load_state_dict(self.ours.state_dict())
        self.emissions = torch.randn(sentences, words, labels).to(device).requires_grad_()
        lengths = torch.randint(max(1, int(shortest * words)), words + 1, (sentences,))
        lengths[0] = words
        self.mask = (torch.arange(words) < lengths[:, None]).to(device)
        self.labels = torch.randint(labels, (sentences, words)).to(device)

    def loss(self, crf: CRF, emissions: Tensor | None = None) -> list[Tensor]:
        """The loss and its gradients."""
        emissions = self.emissions if emissions is None else emissions
        options = {} if crf is self.ours else {"reduction": "none"}
        loss = -crf(emissions, self.labels, self.mask, **options).mean()
        parameters = crf.start_transitions, crf.transitions, crf.end_transitions
        return [loss, *torch.autograd.grad(loss, [emissions, *parameters])]

    def decode(self, crf: CRF) -> CRFDecoding | list[list[int]]:
        with torch.no_grad():
            return crf.decode(self.emissions, self.mask)

    def check(self) -> None:
        """Hold the CRF against pytorch-crf in float64; in float32 its gradients are off by up to
        5e-4 at 64 x 512 x 9.

        Raises:
            AssertionError: if the two disagree.
        """
        exact = copy.deepcopy(self.theirs).double()
        emissions = self.emissions.detach().double().requires_grad_()
        for one, other in zip(self.loss(self.ours), self.loss(exact, emissions), strict=True):
            torch.testing.assert_close(one.double(), other, atol=1e-6, rtol=1e-5)
        with torch.no_grad():
            found = self.ours.decode(emissions, self.mask)
            expected = exact.decode(emissions, self.mask)
        for row, labels in zip(found.labels, expected, strict=True):
            assert row[: len(labels)].tolist() == labels


def seconds_of_turns(
    run: Callable[[CRF], object], crfs: Sequence[CRF], seconds: float
) -> list[list[float]]:
    """How long each takes, turn by turn."""
    times: list[list[float]] = [[] for _ in crfs]
    until = time.perf_counter() + seconds
    while len(times[0]) < LEAST or time.perf_counter() < until:
        for crf, taken in zip(crfs, times, strict=True):
            start = time.perf_counter()
            run(crf)
            if crf.transitions.is_cuda:
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    return times


def turns(run: Callable[[CRF], object], crfs: Sequence[CRF], seconds: float) -> str:
    """How many times as fast the first is."""
    ours, theirs = seconds_of_turns(run, crfs, seconds)
    return (
        f"{min(theirs) / min(ours):.1f} ({median(theirs) / median(ours):.1f}): "
        f"{1e3 * min(ours):.2f} ms"
    )


class Counter(TorchDispatchMode):
    """Counts the operators that are run."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        self.number += 1
        return operator(*arguments, **(options or {}))


@contextmanager
def decoded(by_scans: bool) -> Iterator[None]:
    """Decode as scans or in NumPy, wherever the emissions are."""
    with (
        patch.object(crf_2mner, "in_loops", lambda *_: not by_scans),
        patch.object(recursions_2mner, "in_loops", lambda *_: not by_scans),
    ):
        yield


def operators(case: Case, crf: CRF) -> int:
    """How many a decode runs."""
    with Counter() as counter:
        case.decode(crf)
    return counter.number


def compare_forms(options: argparse.Namespace) -> None:
    """Print how long a decode takes as scans and in NumPy, by the number of words."""
    rows = []
    for sentences, words in FORMS:
        case = Case(sentences, words, 9, options.shortest, options.device)
        cells = []
        for by_scans in (True, False):
            with decoded(by_scans):
                taken = seconds_of_turns(case.decode, [case.ours], options.seconds / len(FORMS))
            cells.append(f"{1e3 * median(taken[0]):.2f}")
        rows.append([f"{sentences} x {words}", f"{sentences * words:,}", *cells])
    head = ["sentences x words", "words", "decode as scans, ms", "in NumPy, ms"]
    print(f"\n{markdown.table(head, rows)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="a figure")
    parser.add_argument("--shortest", type=float, default=1.0, help="sentence, part of the words")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for shape in SHAPES:
        case = Case(*shape, options.shortest, options.device)
        case.check()
        crfs = case.ours, case.theirs
        counts = [operators(case, crf) for crf in crfs]
        with decoded(by_scans=True):
            counts.append(operators(case, case.ours))
        figures = [turns(run, crfs, options.seconds) for run in (case.loss, case.decode)]
        rows.append([" x ".join(map(str, shape)), *figures, *map(str, counts)])
    place = torch.backends.cpu.get_cpu_capability()
    if options.device.type == "cuda":
        place = torch.cuda.get_device_name(options.device)
    threads = torch.get_num_threads()
    print(f"PyTorch {torch.__version__}, {threads} threads, {place}, float32 emissions\n")
    head = ["sentences x words x labels", "loss and gradient", "decode", "operators"]
    print(markdown.table([*head, "of pytorch-crf's", "of scans"], rows))
    if options.device.type != "cpu":
        compare_forms(options)


if __name__ == "__main__":
    main()
