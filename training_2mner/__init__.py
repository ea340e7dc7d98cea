"""Training and measuring: what inference does not need. `train.py` at the top level uses it all."""
