"""Serve a model over HTTP.

    2mner serve runs/demo
    2mner serve runs/demo --host 0.0.0.0 --port 80 --workers 4
    2mner serve exported

Ends at SIGTERM or Ctrl-C: what it holds is answered, everything else is refused. A second signal
ends it at once.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modeling_2mner.hardware_2mner import usable_cores
from modeling_2mner.pipeline_2mner import PRECISIONS

from .engines import is_exported
from .extras import needed
from .models import load_processor

if TYPE_CHECKING:
    from .server import Settings

__all__ = ["main", "run"]

LIBRARIES = ("fastapi", "uvicorn", "multipart", "prometheus_client")
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder in which worker processes share their metrics."""


def main(argv: Sequence[str], prog: str = "2mner serve") -> int:
    """Serve a model, from the command line, until a signal ends it.

    Returns:
        The exit status: 0, or 1 if the server could not start.

    Raises:
        MissingExtraError: if the libraries of the extra `serve` are not installed.
        ModelError: if there is no model.
    """
    options = _parser(prog).parse_args(argv)
    for library in LIBRARIES:
        needed(library, "serve")
    if is_exported(options.model):
        needed("onnxruntime", "onnx")
    else:
        load_processor(options.model)  # an error of one line, before processes start
    from .server import Settings

    settings = Settings(
        options.model,
        precision=options.precision,
        device=options.device,
        threads=options.threads or max(1, usable_cores() // options.workers),
        batch_tokens=options.max_tokens,
        batch_delay=options.batch_delay,
        queue=options.queue,
        timeout=options.timeout,
    )
    return run(settings, options.host, options.port, options.workers)


def run(settings: Settings, host: str, port: int, workers: int) -> int:
    """Serve a model until a signal ends it.

    Args:
        settings: how.
        host, port: where to listen; port 0 is a free one.
        workers: processes, each with the model.

    Returns:
        The exit status: 0, or 1 if the server could not start.
    """
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from .connections import BoundedProtocol
    from .server import SETTINGS

    os.environ[SETTINGS] = settings.to_json()
    _allow_connections()
    config = uvicorn.Config(
        "inference_2mner.server:from_environment",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http=BoundedProtocol,
        ws="none",
        loop="asyncio",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.timeout) + 1,
        timeout_worker_healthcheck=15,
    )
    listening = config.bind_socket()
    if workers > 1:
        with tempfile.TemporaryDirectory(prefix="2mner-metrics-") as folder:
            os.environ[FOLDER] = folder
            Multiprocess(config, sockets=[listening]).run()
        return 0
    server = uvicorn.Server(config)
    # uvicorn gives itself the signal again when it has shut down, which would end this process.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    server.run(sockets=[listening])
    return 0 if server.started else 1


def _allow_connections() -> None:
    """As many open files as the system lets this process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Serve a model over HTTP: POST /v1/entities, and /docs for the rest.",
        epilog=f"example: {prog} runs/demo --port 8000",
    )
    parser.add_argument("model", help="a folder, a name on the Hub, or an export's folder")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for all (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one (default: 8000)")
    parser.add_argument("--workers", type=_count, default=1, help="processes, each with the model")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="default: auto")
    parser.add_argument("--device", help="cpu, cuda (default: as the pipeline chooses)")
    parser.add_argument("--threads", type=_count, help="of a process (default: its share of cores)")
    parser.add_argument("--max_tokens", type=_count, help="sub-words of a batch")
    parser.add_argument(
        "--batch_delay", type=_milliseconds, default=2.0, help="milliseconds to wait for others"
    )
    parser.add_argument("--queue", type=_count, default=512, help="inputs that are held (512)")
    parser.add_argument("--timeout", type=_seconds, default=30.0, help="seconds for an answer (30)")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= 3600:
        raise ValueError
    return number


def _milliseconds(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1000:
        raise ValueError
    return number


_count.__name__, _seconds.__name__, _milliseconds.__name__ = "count", "seconds", "milliseconds"
