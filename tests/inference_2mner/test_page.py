"""The page in a real browser: `2mner demo` with a tiny trained model, and what a visitor does."""

import asyncio
import base64
import io
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from PIL import Image
from playwright.sync_api import Page, expect

from dataset_mmnerd.sample.examples import sample_examples
from tests.browser import open_page, violations
from tests.published import ROOT, SAVED

pytestmark = pytest.mark.chromium


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """`2mner demo` in a process of its own, which has no network but this machine."""

    def __init__(self, model: Path, temporary: Path) -> None:
        temporary.mkdir()
        nowhere = "http://127.0.0.1:9"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "GRADIO_TEMP_DIR": str(temporary)}
        environment |= {"http_proxy": nowhere, "https_proxy": nowhere, "no_proxy": "127.0.0.1"}
        self.temporary = temporary
        command = ["-m", "cli_2mner", "demo", str(model), "--port", str(free_port())]
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.address = ""
        for line in self.process.stdout:
            found = re.match(r"The page is (\S+?)/? ", line)
            if found:
                self.address = found[1]
                return
        raise AssertionError(self.process.stderr.read()[-2000:])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within this, it answers nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> tuple[int, str]:
        """End it as Ctrl-C does; its exit status, and what it wrote to the error stream."""
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    started = Server(SAVED, tmp_path_factory.mktemp("page") / "gradio")
    yield started
    if started.process.poll() is None:
        started.stop()


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Images in colours that the tiny model knows, a large one, and a file that is none."""
    folder = tmp_path_factory.mktemp("images")
    for colour in ("red", "blue"):
        Image.new("RGB", (40, 30), colour).save(folder / f"{colour}.png")
    corner = Image.new("RGB", (40, 30), "red")
    corner.paste("blue", (20, 0, 40, 15))
    corner.save(folder / "corner.png")
    Image.new("RGB", (3000, 2000), "blue").save(folder / "large.png")
    (folder / "none.png").write_text("no image")
    return folder


WITHOUT_TAGS = """(one) => {
  const copy = one.cloneNode(true);
  copy.querySelectorAll(".mner-tag").forEach((tag) => tag.remove());
  return copy.textContent;
}"""


def marked(page: Page, view: str = "read") -> list[tuple[str, str]]:
    """The entities that are marked in a view: their words and types."""
    marks = page.locator(f"#{view} .mner-mark:not(.below)").all()
    tags = [mark.locator(".mner-tag").inner_text().split()[0] for mark in marks]
    return [(mark.evaluate(WITHOUT_TAGS), tag) for mark, tag in zip(marks, tags, strict=True)]


def find(page: Page, sentence: str) -> None:
    page.get_by_label("Sentence").fill(sentence)
    page.get_by_role("button", name="Find entities").click()
    wait_for(page, sentence)


def wait_for(page: Page, sentence: str) -> None:
    """Wait until a sentence is shown; without the tags of its entities its text is whole."""
    shown = "document.querySelector('#read .mner-text')"
    script = f"(sentence) => {shown} !== null && ({WITHOUT_TAGS})({shown}) === sentence"
    page.wait_for_function(script, arg=sentence)


def upload(page: Page, path: Path) -> None:
    page.get_by_label("Choose a file").set_input_files(path)


def test_the_story(browser, server, images):
    """A sentence is typed, an image uploaded; threshold, heat map, and no image; nobody else is
    asked for anything."""
    page, hosts = open_page(browser)
    page.goto(server.address)
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Entities of a sentence and its image"
    )

    page.get_by_role("button", name="Remove").click()
    find(page, "she saw Rom")
    assert marked(page) == [("Rom", "LOC")]
    assert page.locator("#alone").count() == 0  # there was nothing but words

    upload(page, images / "red.png")
    page.get_by_role("button", name="Find entities").click()
    expect(page.locator("#alone")).to_be_visible()
    assert marked(page) == [("Rom", "PER")]
    assert marked(page, "alone") == [("Rom", "LOC")]
    verdict = page.locator("[data-verdict]")
    expect(verdict).to_have_text("Different from the words alone: 1 entity.")
    assert page.locator(".mner-mark.differs").count() == 2
    expect(page.locator("#read")).to_contain_text("text and image disagree on the type")

    with server.paused():  # what follows happens in the browser alone
        threshold = page.get_by_label("number input for Threshold")
        threshold.fill("0.97")
        threshold.press("Enter")
        expect(page.locator("#read .mner-mark.below")).to_have_count(1)
        assert marked(page) == []
        assert marked(page, "alone") == [("Rom", "LOC")]
        threshold.fill("0")
        threshold.press("Enter")
        expect(page.locator("#read .mner-mark.below")).to_have_count(0)

    first = page.locator("#read .mner-canvas img").first.get_attribute("src")
    upload(page, images / "corner.png")
    page.get_by_role("button", name="Find entities").click()
    expect(page.locator("#read .mner-canvas img").first).not_to_have_attribute("src", first)
    with server.paused():
        legend, heat_map = (
            page.locator(f"#read {name}:visible") for name in (".mner-legend", ".mner-heat")
        )
        expect(legend).to_contain_text("What Rom attended to")
        of_entity = heat_map.get_attribute("src")
        page.locator("#read .mner-word", has_text="she").click()
        expect(legend).to_contain_text("What she attended to")
        assert heat_map.get_attribute("src") != of_entity
        page.keyboard.press("ArrowRight")
        expect(legend).to_contain_text("What saw attended to")

    page.get_by_label("Read the image").uncheck()
    expect(page.locator("#alone")).to_have_count(0)
    assert marked(page) == [("Rom", "LOC")]
    assert page.locator("#read .mner-figure").count() == 0
    page.get_by_label("Read the image").check()
    expect(page.locator("#alone")).to_be_visible()
    assert hosts == {"127.0.0.1"}


def test_examples_are_there_in_four_languages_and_read_at_a_click(browser, server):
    page, _ = open_page(browser)
    page.goto(server.address)
    examples = page.locator("[data-example]")
    expect(examples).to_have_count(8)
    assert [one.get_attribute("lang") for one in page.locator(".language").all()] == [
        *("en", "fr", "de", "es"),
        *("en", "fr", "de", "es"),
    ]
    first, second = (example["text"] for example in sample_examples()[:2])
    wait_for(page, first)
    examples.nth(1).click()
    wait_for(page, second)
    expect(page.get_by_label("Sentence")).to_have_value(second)
    assert page.locator("#read .mner-figure").count() == 1


def test_errors_are_sentences_on_the_page(browser, server, images):
    page, _ = open_page(browser)
    page.goto(server.address)
    upload(page, images / "none.png")
    alert = page.get_by_role("alert").filter(has_text="no image that the browser can read")
    expect(alert).to_be_visible()
    page.get_by_label("Sentence").fill(" ")
    page.get_by_role("button", name="Find entities").click()
    expect(page.locator(".results .problem")).to_have_text(
        "There is no sentence: type one, or choose an example."
    )
    page.get_by_label("Sentence").fill("word " * 900)
    page.get_by_role("button", name="Find entities").click()
    expect(page.locator(".results .problem")).to_have_text(
        "The sentence has 4,500 characters, and at most 4,000 are read here."
    )
    assert violations(page) == []


def test_a_large_image_is_made_smaller_before_it_is_sent_and_may_be_pasted(browser, server, images):
    page, _ = open_page(browser)
    page.goto(server.address)
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.post_data or ""))
    upload(page, images / "large.png")
    expect(page.get_by_role("button", name="Remove")).to_be_visible()
    find(page, "Ana lives here")
    expect(page.locator("#read .mner-mark")).to_contain_text("LOC")
    (body,) = [json.loads(one) for one in sent if "Ana lives here" in one]
    content = base64.b64decode(body["data"][1].partition(";base64,")[2])
    assert Image.open(io.BytesIO(content)).size == (1024, 683)

    red = base64.b64encode((images / "red.png").read_bytes()).decode()
    page.evaluate(PASTE, red)
    expect(page.get_by_alt_text("The image of the sentence")).to_have_attribute(
        "src", f"data:image/png;base64,{red}"
    )
    page.get_by_role("button", name="Find entities").click()
    expect(page.locator("#read .mner-mark")).to_contain_text("PER")


PASTE = """(encoded) => {
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const clipboard = new DataTransfer();
  clipboard.items.add(new File([bytes], "red.png", {type: "image/png"}));
  document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: clipboard}));
}"""

HOSTILE = """<script>window.stolen = 1</script> "Ana" 'Bo' <img src=x onerror="window.stolen=1">"""


@pytest.mark.parametrize(
    "sentence",
    [
        HOSTILE,
        "${window.stolen = 1} {{value}} `Ana`",
        "رأت آنا روما في الصيف",
        "アナは東京で暮らす",
        "Ана живе в Римі 👩🏽‍🚀",
    ],
    ids=("html", "templates", "arabic", "japanese", "cyrillic"),
)
def test_a_text_is_text(browser, server, sentence):
    page, _ = open_page(browser)
    page.goto(server.address)
    find(page, sentence)
    assert page.evaluate("window.stolen") is None
    assert page.locator(".results script, .results .mner-text img").count() == 0


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_everybody_can_read_it(browser, server, width, dark):
    """axe finds nothing wrong, nothing is cut off, and the keyboard reaches everything."""
    page, hosts = open_page(browser, width=width, dark=dark)
    page.goto(server.address)
    expect(page.locator("#read .mner-text")).to_be_visible()
    expect(page.locator(".loading")).to_have_count(0)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.body.classList.contains('dark')") is dark
    reached = []
    page.get_by_label("Sentence").focus()
    for _ in range(40):
        reached.append(page.evaluate("document.activeElement.outerHTML"))
        page.keyboard.press("Tab")
    for part in ("data-file", "data-paste", "Find entities", "range", "mner", "data-example"):
        assert any(part in one for one in reached), part
    assert hosts == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("POST", "/gradio_api/upload"),
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/gradio_api/file/etc/passwd"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:9/"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/monitoring"),
    ],
)
def test_routes_about_files_and_visitors_are_closed(server, method, route):
    assert httpx.request(method, f"{server.address}{route}").status_code in (403, 404)


FETCHED = {"path": "http://127.0.0.1:9/a.png", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["Ana", FETCHED, 0], "An input is a file, expected text."),
        (["Ana", "http://127.0.0.1:9/a.png", 0], "The image is not encoded"),
        (["", "", 0], "There is no sentence"),
    ],
)
def test_an_address_is_not_fetched_and_an_error_is_a_sentence(server, values, message):
    assert message in call(server, values)


def call(server: Server, values: list[object]) -> str:
    """Call the API; the text of its events."""
    route = f"{server.address}/gradio_api/call/entities"
    event = httpx.post(route, json={"data": values}).json()["event_id"]
    return httpx.get(f"{route}/{event}", timeout=60).text


def test_a_request_that_is_too_large_is_refused(server):
    route = f"{server.address}/gradio_api/call/entities"
    whole = httpx.post(route, content=b"a" * 9_000_000)
    assert (whole.status_code, whole.text) == (413, "At most 8,388,608 bytes are read.\n")
    parts = httpx.post(route, content=(b"a" * 1_000_000 for _ in range(10)))
    assert parts.status_code == 400


def test_it_is_an_api_and_a_tool(server):
    async def use() -> tuple[list[str], str]:
        async with (
            streamablehttp_client(f"{server.address}/gradio_api/mcp/") as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            (tool,) = (await session.list_tools()).tools
            answer = await session.call_tool(tool.name, {"text": "she saw Rom"})
            return [tool.name, *tool.inputSchema["properties"]], answer.content[0].text

    with ThreadPoolExecutor() as threads:  # Playwright has an event loop in this one
        names, answer = threads.submit(asyncio.run, use()).result()
    assert names == ["entities", "text", "image", "threshold"]
    assert "'label': 'LOC'" in answer and "'word': 'Rom'" in answer
    assert '"word": "Rom"' in call(server, ["she saw Rom", "", 0.9])
    assert "data: [[]]" in call(server, ["she saw Rom", "", 1.0])


def test_the_example_of_the_docs_runs(server, tmp_path):
    section = (ROOT / "docs" / "showing.md").read_text("utf-8").split("\n### For programs\n")[1]
    code = re.search(r"```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[1]
    code = code.replace("http://127.0.0.1:7860", server.address)
    code = code.replace("client.predict", "found = client.predict")
    (tmp_path / "snippet.py").write_text(code)
    found = runpy.run_path(str(tmp_path / "snippet.py"))["found"]
    assert {"label", "score", "word", "start", "end"} < set(found[0])


def test_the_command_ends_and_leaves_nothing(server):
    """Runs last: Ctrl-C ends the command, which has stored no image."""
    assert server.stop() == (0, "")
    assert [path for path in server.temporary.rglob("*") if path.is_file()] == []
