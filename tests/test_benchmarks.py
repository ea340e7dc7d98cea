"""Every benchmark starts: what it imports is there, and it says what it measures."""

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(path for path in BENCHMARKS.glob("*.py") if path.stem != "runner")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_benchmark_explains_itself(script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)  # as Python itself does for a script
    monkeypatch.setattr("sys.argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: {script.name}")
    assert runpy.run_path(str(script))["__doc__"].splitlines()[0] in " ".join(shown.split())
