"""A tiny trained model, as a folder: it finds plenty of entities."""

from pathlib import Path

import pytest
import torch

from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor


@pytest.fixture(scope="session")
def model(tmp_path_factory, text_tower, vision_tower) -> Path:
    """The folder of a model of random weights that reads images."""
    torch.manual_seed(1)
    encoders = [text_tower(), vision_tower()]
    made = TwoMNERForTokenClassification.from_towers(*encoders)
    torch.nn.init.normal_(made.classifier.weight)
    folder = tmp_path_factory.mktemp("model")
    made.save_pretrained(folder)
    TwoMNERProcessor.from_towers(*encoders).save_pretrained(folder)
    return folder
