"""`accelerate launch` with the variants of accelerate_config.yaml, as one would uncomment them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dataset_mmnerd.readers import dataset_from_files

ROOT = Path(__file__).parents[1]
CONFIG = (ROOT / "accelerate_config.yaml").read_text("utf-8")
VARIANTS = re.split(r"^# --- (?=[A-Z])", CONFIG, flags=re.MULTILINE)


def variant(beginning: str) -> dict:
    """The settings of a variant, with those above that it does not name."""
    (text,) = (part for part in VARIANTS if part.startswith(beginning))
    lines = [line for line in text.splitlines()[1:] if not line.startswith("# ---")]
    settings = "\n".join(line.removeprefix("# ") for line in lines if line.startswith("# "))
    # What goes on in the heading is no setting.
    settings = settings[re.search(r"^\w+: ", settings, flags=re.MULTILINE).start() :]
    return {**yaml.safe_load(VARIANTS[0]), **yaml.safe_load(settings)}


@pytest.mark.parametrize(
    ("beginning", "kind", "processes"),
    [
        ("Several GPUs", "MULTI_GPU", 4),
        ("Several machines", "MULTI_GPU", 8),
        ("A text encoder too large", "FSDP", 4),
        ("Two processes without", "MULTI_GPU", 2),
    ],
)
def test_a_variant_is_one_that_accelerate_knows(beginning, kind, processes, tmp_path):
    from accelerate.commands.config.config_args import load_config_from_file

    settings = variant(beginning)
    path = tmp_path / "accelerate.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    config = load_config_from_file(str(path))
    assert str(config.distributed_type).rpartition(".")[2] == kind
    assert config.num_processes == processes


def test_two_processes_are_launched_and_train_together_on_a_stream(
    tmp_path, text_encoder, vision_encoder
):
    settings = tmp_path / "accelerate.yaml"
    settings.write_text(yaml.safe_dump(variant("Two processes without")), encoding="utf-8")
    sentences = tmp_path / "sentences_en.txt"
    sentences.write_text("IMGID:x\nAna\tB-PER\nlives\tO\n\n" * 5, encoding="utf-8")
    (tmp_path / "mmnerd").mkdir()
    for shard in range(2):
        rows = dataset_from_files([sentences]).shard(2, shard)
        rows.to_parquet(tmp_path / "mmnerd" / f"train-{shard}.parquet")
    recipe = tmp_path / "recipe.yaml"
    keys = {
        "output_dir": str(tmp_path / "run"),
        "text_model": text_encoder("xlm-roberta"),
        "vision_model": vision_encoder("clip"),
        "model_config": {"collaboration_heads": 4},
        "dataset_name": str(tmp_path / "mmnerd"),
        "streaming": True,
        "max_steps": 2,
        "eval_strategy": "no",
        "load_best_model_at_end": "no",
        "per_device_train_batch_size": 2,
        "use_cpu": "true",
        "bf16": "no",
    }
    recipe.write_text(yaml.safe_dump(keys), encoding="utf-8")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(settings)]
    log = tmp_path / "log"
    with log.open("w") as output:
        running = subprocess.Popen(
            [*launch, str(ROOT / "train.py"), str(recipe)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):  # the log says how far it came
            running.wait(400)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    said = log.read_text("utf-8")
    assert running.returncode == 0, said[-3000:]
    assert "2 process(es) (MULTI_CPU)" in said, said[-3000:]
    assert said.count("The model and its figures are in") == 1, said[-3000:]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert metrics["training"]["steps"] == 2
    assert metrics["data"]["train"]["sentences"] == "streamed"
