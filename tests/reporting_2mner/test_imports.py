"""Reports are written where torch is not installed."""

import subprocess
import sys
from pathlib import Path

import reporting_2mner

PROGRAM = """
import importlib, sys

BLOCKED = {"torch", "transformers", "training_2mner", "modeling_2mner"}

class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            return None
        return self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
for name in sys.argv[1:]:
    importlib.import_module(f"reporting_2mner.{name}")
print(sorted(BLOCKED.intersection(sys.modules)))
"""


def test_reporting_imports_neither_torch_nor_what_needs_it():
    modules = [path.stem for path in Path(reporting_2mner.__path__[0]).glob("*.py")]
    assert {"report", "html_report", "model_card", "yaml12"} <= set(modules)
    names = [name for name in modules if name != "__init__"]
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names], capture_output=True, text=True, timeout=100
    )
    assert (finished.returncode, finished.stdout) == (0, "[]\n"), finished.stderr
