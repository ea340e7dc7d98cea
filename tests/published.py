"""What a push leaves on the Hub: the names of its files, and a small trained model."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAVED = ROOT / "tests" / "saved_run"
"""A run that version 0.1 trained and saved, without its code."""

MODEL_CODE = [
    "alignment_2mner.py",
    "answers_2mner.py",
    "attention_2mner.py",
    "checks_2mner.py",
    "collaboration_2mner.py",
    "configuration_2mner.py",
    "crf_2mner.py",
    "decoding_2mner.py",
    "encoders_2mner.py",
    "encoding_2mner.py",
    "fetch_2mner.py",
    "hardware_2mner.py",
    "image_sets_2mner.py",
    "images_2mner.py",
    "inputs_2mner.py",
    "labels_2mner.py",
    "likelihood_2mner.py",
    "modeling_2mner.py",
    "outputs_2mner.py",
    "pipeline_2mner.py",
    "pretrained_2mner.py",
    "processing_2mner.py",
    "processor_files_2mner.py",
    "quoting_2mner.py",
    "recursions_2mner.py",
    "requirements_2mner.py",
    "sentences_2mner.py",
    "streaming_2mner.py",
    "tagging_2mner.py",
    "thresholds_2mner.py",
    "views_2mner.py",
    "viterbi_2mner.py",
    "weights_2mner.py",
    "windows_2mner.py",
    "words_2mner.py",
]
PROCESSOR_CODE = [
    "checks_2mner.py",
    "configuration_2mner.py",
    "decoding_2mner.py",
    "encoding_2mner.py",
    "images_2mner.py",
    "labels_2mner.py",
    "processing_2mner.py",
    "processor_files_2mner.py",
    "quoting_2mner.py",
    "requirements_2mner.py",
    "sentences_2mner.py",
    "windows_2mner.py",
    "words_2mner.py",
]
PROCESSOR = ["processor_config.json", "tokenizer.json", "tokenizer_config.json"]


def write_published(folder: Path) -> Path:
    """Write the saved run with the code of this version, as a push leaves it."""
    folder.mkdir(parents=True)
    code = ROOT / "modeling_2mner"
    for path in (*SAVED.glob("*"), *code.glob("*_2mner.py"), code / "handler.py"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder
