"""A surface whose cases end in every way that a case may end: what the harness is tested with."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from pathlib import Path

from tests.campaigns.cases import ACCEPTED, Case, Outcome, Surface, judged


class Example(Surface):
    """The number of a case decides how it ends."""

    name = "example"
    seconds = 2

    def run(self, case: Case, folder: Path) -> Outcome:
        if case.number == 1:
            logging.warning("one line")
        elif case.number in (2, 3, 4, 5, 6):
            texts = ("a.txt: not so", "it\nis", "long a.txt " * 90, "a.txt \x1b[31m", "is not so")
            error = ValueError(texts[case.number - 2])
            return judged(error, (ValueError,), ["a.txt"], folder)
        elif case.number == 7:
            return judged(KeyError("a.txt"), (ValueError,), ["a.txt"], folder)
        elif case.number == 8:
            time.sleep(60)
        elif case.number == 9:
            bytearray(50 * 2**30)
        elif case.number == 10:
            os.abort()
        elif case.number == 11:
            subprocess.run(["true"], check=True)
        elif case.number > 11 and 2 in case.edits:
            raise IndexError("the third edit")
        return Outcome(ACCEPTED)
