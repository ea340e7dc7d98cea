"""Train, score and save a model by a recipe: see `training_2mner/run.py`.

python train.py configs/demo.yaml --learning_rate 1e-4
"""

import signal
import sys

from training_2mner.run import FAILURES, main

if __name__ == "__main__":
    try:
        sys.exit(main())
    except FAILURES as error:
        sys.exit(f"train.py: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("train.py: stopped by Ctrl-C\n")
        sys.exit(128 + signal.SIGINT)
