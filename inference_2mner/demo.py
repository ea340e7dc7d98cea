"""Show a page to try a model: a sentence and its image in, its entities out.

    2mner demo runs/demo
    2mner demo me/2mner --port 8080

The page is the one of a Space (`2mner push --space`); only this machine reaches it unless --host
says otherwise. It needs the extra `space`: pip install "2mner[space]".
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from dataset_mmnerd.sample.examples import sample_examples

from .extras import needed
from .models import load_pipeline

__all__ = ["main"]


def parser(prog: str = "2mner demo") -> argparse.ArgumentParser:
    """The parser of the command."""
    top = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("model", help="a trained model: a folder or a name on the Hub")
    top.add_argument("--host", help="the address to listen at, by default 127.0.0.1")
    top.add_argument("--port", type=int, help="by default the first free one from 7860 on")
    return top


def main(argv: Sequence[str], prog: str = "2mner demo") -> int:
    """Run the command until Ctrl-C or SIGTERM.

    Args:
        argv: `MODEL [--host HOST] [--port PORT]`.
        prog: the name of the program in messages.

    Returns:
        The exit status 0.

    Raises:
        MissingExtraError: if Gradio is not installed.
        ModelError: if there is no such model.
        OSError: if the port is taken.
    """
    given = parser(prog).parse_args(argv)
    needed("gradio", "space")
    from .page.blocks import build
    from .page.examples import examples_of
    from .page.reader import Reader
    from .page.serving import serve

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    disable_progress_bar()
    folder = Path(given.model)
    # The visitors of the page need not know where on this machine a model is.
    name = "/".join(folder.absolute().parts[-2:]) if folder.is_dir() else given.model
    reader = Reader(load_pipeline(given.model), name)
    page = build(reader, examples_of(sample_examples()))
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    address = serve(page, given.host, given.port)
    sys.stdout.write(f"The page is {address} (Ctrl-C ends it)\n")
    sys.stdout.flush()
    stopped.wait()
    page.close()
    return 0
