"""How many requests a server answers, and how fast, against the naive server, in one run.

    python benchmarks/serving.py runs/wikineural --file "DATA/de/test.conllu[50%:]"

`2mner serve` at its defaults, and two naive servers: FastAPI that calls the plain pipeline for each
request, in float32, as most would write it. `naive` does so in a function, which FastAPI runs in
one of 40 threads; `naive async` in a coroutine, which answers one request after the other.

Clients of a process of its own send sentences, each as soon as its last answer is there, over
connections that stay open. For each number of clients the servers take turns, so that other
programs slow all of them alike. Throughput is the median over the rounds; p50 and p95 are over all
requests of all rounds. The processor's time for a server, in which other programs do not count, is
given for each request. `right` counts answers with the entities that the same server gives to the
sentence when nothing else runs; the last line compares those of `2mner serve` with `naive`'s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from statistics import median, quantiles

from dataset_mmnerd import read_file
from modeling_2mner.hardware_2mner import multiplies_bf16, usable_cores

CLIENTS = (1, 8, 64)

NAIVE = """
import sys
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline
import uvicorn

app = FastAPI()
ner = pipeline("multimodal-ner", model=sys.argv[1], trust_remote_code=True)

class Question(BaseModel):
    text: str

@app.get("/ready")
def ready():
    return "ready"

@app.post("/v1/entities")
{function} entities(question: Question):
    return {{"entities": ner(question.text)}}

uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
"""


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[int]:
    """A server as a process, from when it is ready; gives the number of the process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).read()
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit(f"the server ended: {' '.join(command)[:200]}") from None
                time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


async def client(
    port: int, bodies: Iterator[tuple[int, bytes]], seconds: dict, found: dict
) -> None:
    """Send bodies one after the other over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number, body in bodies:
        started = time.perf_counter()
        head = "POST /v1/entities HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answered = await reader.readuntil(b"\r\n\r\n")
        lines = answered.decode().lower().split("\r\n")
        length = next(line for line in lines if line.startswith("content-length:"))
        content = await reader.readexactly(int(length.partition(":")[2]))
        seconds[number] = time.perf_counter() - started
        found[number] = (lines[0].split()[1], content)
    writer.close()


def load(port: int, clients: int, texts: Sequence[str]) -> tuple[float, list[float], list]:
    """Seconds in all, seconds of each request, and the answers."""
    bodies = iter([(i, json.dumps({"text": text}).encode()) for i, text in enumerate(texts)])
    seconds: dict[int, float] = {}
    found: dict[int, tuple[str, bytes]] = {}

    async def all_clients() -> None:
        await asyncio.gather(*(client(port, bodies, seconds, found) for _ in range(clients)))

    started = time.perf_counter()
    asyncio.run(all_clients())
    used = time.perf_counter() - started
    return used, list(seconds.values()), [found[number] for number in range(len(texts))]


def spans(entities: list[dict]) -> list[tuple[int, int, str]]:
    return [(one["start"], one["end"], one["label"]) for one in entities]


def right(answers: list[tuple[str, bytes]], expected: list[list]) -> int:
    """Answers with status 200 and the expected entities."""
    return sum(
        status == "200" and spans(json.loads(content)["entities"]) == spans(entities)
        for (status, content), entities in zip(answers, expected, strict=True)
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="folder of a trained model with its code")
    parser.add_argument("--file", required=True, help="sentences, or a part: test.conllu[50%%:]")
    parser.add_argument("--requests", type=int, default=320, help="of a server in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--port", type=int, default=8701, help="the first of some free ports")
    parser.add_argument("serve", nargs="*", help="further options of `2mner serve`, after --")
    options = parser.parse_args(argv)
    rows = islice(read_file(options.file), options.requests)
    texts = [" ".join(row["tokens"]) for row in rows]
    serve = [sys.executable, "-m", "cli_2mner", "serve", str(options.model)]
    commands = {
        "naive": [sys.executable, "-c", NAIVE.format(function="def")],
        "naive async": [sys.executable, "-c", NAIVE.format(function="async def")],
    }
    cores = usable_cores()
    native = "multiplies" if multiplies_bf16() else "does not multiply"
    sys.stdout.write(f"{cores} cores, of a processor that {native} bfloat16 itself\n\n")
    with ExitStack() as stack:
        ports, processes = {}, {}
        for number, (name, command) in enumerate(commands.items()):
            port = options.port + number
            whole = [*command, str(options.model), str(port)]
            ports[name] = port
            processes[name] = stack.enter_context(running(whole, port))
        port = options.port + len(commands)
        whole = [*serve, "--port", str(port), *options.serve]
        ports["2mner serve"] = port
        processes["2mner serve"] = stack.enter_context(running(whole, port))
        compare(ports, processes, texts, options)


def compare(
    ports: dict[str, int],
    processes: dict[str, int],
    texts: list[str],
    options: argparse.Namespace,
) -> None:
    expected = {name: answered(port, texts) for name, port in ports.items()}
    head = ["clients", "server", "requests a second", "times naive", "p50 ms", "p95 ms"]
    head += ["processor ms a request", "right"]
    sys.stdout.write(f"| {' | '.join(head)} |\n{'| --- ' * len(head)}|\n")
    for clients in options.clients:
        rates: dict[str, list[float]] = {name: [] for name in ports}
        times: dict[str, list[float]] = {name: [] for name in ports}
        correct = dict.fromkeys(ports, 0)
        processor = dict.fromkeys(ports, 0.0)
        count = len(texts) if clients > 1 else max(1, len(texts) // 4)
        for number in range(options.rounds):
            order = list(ports)
            random.Random(number).shuffle(order)
            for name in order:
                before = processor_seconds(processes[name])
                used, seconds, answers = load(ports[name], clients, texts[:count])
                processor[name] += processor_seconds(processes[name]) - before
                rates[name].append(count / used)
                times[name] += seconds
                correct[name] += right(answers, expected[name][:count])
        base = max(median(rates[name]) for name in ports if name.startswith("naive"))
        for name in ports:
            cuts = quantiles(times[name], n=20)
            cells = [str(clients), name, f"{median(rates[name]):.1f}"]
            cells += [f"{median(rates[name]) / base:.2f}"]
            cells += [f"{1000 * cuts[9]:.0f}", f"{1000 * cuts[18]:.0f}"]
            asked = count * options.rounds
            cells += [f"{1000 * processor[name] / asked:.1f}", f"{correct[name]} of {asked}"]
            sys.stdout.write(f"| {' | '.join(cells)} |\n")
            sys.stdout.flush()
    pairs = zip(expected["2mner serve"], expected["naive"], strict=True)
    same = sum(spans(one) == spans(other) for one, other in pairs)
    sys.stdout.write(f"\n`2mner serve` has the entities of `naive` in {same} of {len(texts)}\n")


def processor_seconds(process: int) -> float:
    """What a process has used of the processors so far, all threads together."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def answered(port: int, texts: list[str]) -> list[list]:
    """The entities of each text, asked for one at a time."""
    _, _, answers = load(port, 1, texts)
    return [json.loads(content)["entities"] for _, content in answers]


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    main()
