"""What `offline_backbones.py` is made of: one module a kind of model."""
