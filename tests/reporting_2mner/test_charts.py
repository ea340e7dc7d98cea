"""Charts that stand inside a page, and the same as images."""

import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib import rcParams
from PIL import Image

from reporting_2mner.charts import (
    PALETTE,
    calibration_chart,
    chart,
    confusion_chart,
    interval_chart,
    line,
    line_chart,
)
from reporting_2mner.statistics import Interval, calibrate, confuse

HOSTILE = '<script>alert("1")</script> & $x_$'


def draw_hostile(axes) -> None:
    line(axes, [1, 2], [3, 4], "a", 0)
    axes.set(xlabel=HOSTILE)


def test_a_chart_is_an_element_of_a_page_and_an_image():
    drawn = chart("name", HOSTILE, draw_hostile)
    root = ElementTree.fromstring(drawn.svg)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == HOSTILE
    assert HOSTILE in [element.text for element in root.iter("text")]
    assert "http" not in drawn.svg
    assert "<style" not in drawn.svg
    assert Image.open(io.BytesIO(drawn.png)).size == (960, 600)


def test_charts_of_one_page_share_no_id():
    first, second = (ElementTree.fromstring(chart(n, "", draw_hostile).svg) for n in ("a", "b"))
    ids = [{element.get("id") for element in root.iter()} - {None} for root in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for root, known in zip((first, second), ids, strict=True):
        used = {element.get("href", "#")[1:] for element in root.iter()} - {""}
        used |= {element.get("clip-path", "url(#)")[5:-1] for element in root.iter()} - {""}
        assert used <= known


def test_every_colour_is_one_that_a_page_can_change():
    drawn = line_chart("n", "", {"a": ([1, 2], [3, 4])}, xlabel="step", ylabel="loss", mark=2)
    assert not any(colour in drawn.svg for colour in PALETTE.values())
    assert "var(--accent)" in drawn.svg
    assert "#" not in drawn.svg.replace('"#', "").replace("(#", "")


def test_drawing_leaves_the_users_own_style_alone():
    before = dict(rcParams)
    chart("name", "", draw_hostile)
    assert dict(rcParams) == before


def test_the_same_figures_give_the_same_files():
    first, second = (chart("name", "", draw_hostile) for _ in range(2))
    assert first == second


def test_nothing_is_imported_before_the_first_chart():
    code = "import sys, reporting_2mner.charts; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    "values", [[5.0], [0.0, 0.0], [1e-3, 40.0], [-1.0, 2.0], list(np.linspace(1, 9, 500))]
)
def test_lines_of_any_length_and_size_are_drawn(values):
    steps = list(range(1, len(values) + 1))
    drawn = line_chart("n", "", {"some": (steps, values)}, xlabel="step", ylabel="loss")
    assert "some" in drawn.svg


def test_every_line_has_its_name_beside_the_axes():
    names = ["total", "likelihood", "a name that is much longer than any chart has room for"]
    lines = {name: ([1, 2], [1.0 + place, 2.0]) for place, name in enumerate(names)}
    drawn = line_chart("n", "", lines, xlabel="step", ylabel="loss")
    texts = {element.text for element in ElementTree.fromstring(drawn.svg).iter("text")}
    assert texts >= {"total", "likelihood", "a name that is much lon…"}
    assert Image.open(io.BytesIO(drawn.png)).size == (960, 600)


def test_the_charts_of_a_run_hold_their_names_and_counts():
    gold, said = [[(0, 1, "PER"), (2, 3, "LOC")]] * 3, [[(0, 1, "LOC")]] * 3
    drawn = confusion_chart("c", "", confuse(gold, said))
    texts = {element.text for element in ElementTree.fromstring(drawn.svg).iter("text")}
    assert texts >= {"PER", "LOC", "missed", "spurious", "3", "0"}
    scores = interval_chart("s", "", [{"all": Interval(0.9, 0.8, 1.0)}, {"de": Interval(0, 0, 0)}])
    assert ">all</text>" in scores.svg
    assert ">de</text>" in scores.svg
    reliability = calibration_chart("r", "", calibrate([0.9, 0.2], [True, False]))
    assert "confidence" in reliability.svg
