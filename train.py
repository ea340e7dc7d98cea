"""`python train.py RECIPE` is `2mner train RECIPE`; see `training_2mner/run.py`."""

import sys

from cli_2mner import script

if __name__ == "__main__":
    script(["train", *sys.argv[1:]])
