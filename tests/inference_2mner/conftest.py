"""A tiny trained model, as a folder: it finds plenty of entities."""

from pathlib import Path

import pytest
import torch

from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor


@pytest.fixture(scope="session")
def model(tmp_path_factory, text_encoder, vision_encoder) -> Path:
    """The folder of a model of random weights that reads images."""
    encoders = [text_encoder(), vision_encoder()]
    torch.manual_seed(3)
    made = TwoMNERForTokenClassification.from_text_vision_pretrained(*encoders)
    torch.nn.init.normal_(made.classifier.weight)
    folder = tmp_path_factory.mktemp("model")
    made.save_pretrained(folder)
    TwoMNERProcessor.from_text_vision_pretrained(*encoders).save_pretrained(folder)
    return folder
