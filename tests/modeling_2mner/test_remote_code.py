"""A saved folder in a fresh process, without the project on its path."""

import os
import subprocess
import sys
import sysconfig
import textwrap

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from tests.published import MODEL_CODE, PROCESSOR

WORDS = [["Angela", "Merkel", "besucht", "Paris"], ["Hola"]]

# `-S` leaves out the site packages' .pth files, and with them an editable install of the project.
STRANGER = textwrap.dedent(
    """
    import importlib.util, sys

    sys.path.append(sys.argv[3])
    assert importlib.util.find_spec("modeling_2mner") is None

    import torch
    from PIL import Image
    from safetensors.torch import save_file
    from transformers import (
        AutoConfig, AutoModel, AutoModelForTokenClassification, AutoProcessor, pipeline
    )

    folder, out = sys.argv[1:3]
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True)
    base = AutoModel.from_pretrained(folder, trust_remote_code=True)
    assert config.model_type == "2mner" and config.labels == processor.labels

    words = [["Angela", "Merkel", "besucht", "Paris"], ["Hola"]]
    batch = processor(words, images=[Image.new("RGB", (20, 30), "red"), None])
    with torch.no_grad():
        outputs = model.eval()(**batch)
        fused = base.eval()(**batch).last_hidden_state
    save_file({"logits": outputs.logits, "fused": fused}, out + "/first.safetensors")

    ner = pipeline("multimodal-ner", model=folder, trust_remote_code=True)
    entities = processor.post_process_entities(outputs, words)[0]
    found = ner({"words": words[0], "image": Image.new("RGB", (20, 30), "red")})
    assert [entity["word"] for entity in found] == [entity["text"] for entity in entities]

    # Saved again by the stranger, it is still whole.
    model.save_pretrained(out + "/again")
    processor.save_pretrained(out + "/again")
    again = AutoModelForTokenClassification.from_pretrained(out + "/again", trust_remote_code=True)
    again_processor = AutoProcessor.from_pretrained(out + "/again", trust_remote_code=True)
    batch = again_processor(words, images=[Image.new("RGB", (20, 30), "red"), None])
    with torch.no_grad():
        save_file({"logits": again.eval()(**batch).logits}, out + "/again.safetensors")
    """
)


@pytest.mark.parametrize("vision", ["clip", None], ids=["images", "text only"])
def test_the_auto_classes_load_it_and_give_the_same_logits(
    text_encoder, vision_encoder, tmp_path, vision
):
    encoders = [text_encoder(), vision and vision_encoder(vision)]
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(*encoders).eval()
    processor = TwoMNERProcessor.from_text_vision_pretrained(*encoders)
    folder = tmp_path / "2mner-tiny.v1"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-S", "-c", STRANGER, folder, tmp_path, sysconfig.get_path("purelib")],
        cwd=tmp_path,
        env={**environment, "HF_HOME": str(tmp_path / "cache")},
        check=True,
        timeout=300,
    )
    batch = processor(WORDS, images=[Image.new("RGB", (20, 30), "red"), None])
    with torch.no_grad():
        expected, fused = model(**batch).logits, model.model(**batch).last_hidden_state
    found = load_file(tmp_path / "first.safetensors")
    again = load_file(tmp_path / "again.safetensors")
    for one, other in (
        (found["logits"], expected),
        (found["fused"], fused),
        (again["logits"], expected),
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_folder_holds_the_code_that_it_needs_and_no_other(text_encoder, tmp_path):
    TwoMNERForTokenClassification.from_text_vision_pretrained(text_encoder()).save_pretrained(
        tmp_path
    )
    TwoMNERProcessor.from_text_vision_pretrained(text_encoder()).save_pretrained(tmp_path)
    files = [*MODEL_CODE, "config.json", "model.safetensors", *PROCESSOR]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
