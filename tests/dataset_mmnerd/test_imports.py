"""Building and checking data needs no torch, and nothing of the model."""

import os
import subprocess
import sys

IMPORT_ALL = """
    import importlib.abc, importlib.machinery, pkgutil, sys

    class Refused(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("torch", "transformers", "modeling_2mner"):
                return importlib.machinery.ModuleSpec(name, self)

        def create_module(self, spec):
            raise ImportError(f"{spec.name} is not for this package")

        def exec_module(self, module):
            raise NotImplementedError

    sys.meta_path.insert(0, Refused())
    import dataset_mmnerd
    for module in pkgutil.walk_packages(dataset_mmnerd.__path__, "dataset_mmnerd."):
        importlib.import_module(module.name)
    loaded = {name.partition(".")[0] for name in sys.modules}
    print(sorted(loaded & {"torch", "transformers", "modeling_2mner"}))
"""


def test_no_module_imports_torch_transformers_or_the_model():
    code = "\n".join(line[4:] for line in IMPORT_ALL.splitlines())
    environment = os.environ | {"USE_TORCH": "0", "USE_JAX": "0", "USE_TF": "0"}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("[]\n", "")
