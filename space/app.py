"""A page to try a model. The model is pinned: a new version of it changes nothing here."""

from pathlib import Path

from inference_2mner.models import load_pipeline
from inference_2mner.page.blocks import build
from inference_2mner.page.examples import read_examples
from inference_2mner.page.reader import Reader
from inference_2mner.page.serving import serve

MODEL = "runs/demo"
REVISION = None

reader = Reader(load_pipeline(MODEL, revision=REVISION), MODEL)
page = build(reader, read_examples(Path(__file__).with_name("examples.json")))
serve(page)
page.block_thread()
