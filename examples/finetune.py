# /// script
# requires-python = ">=3.11"
# dependencies = ["accelerate", "datasets", "pillow", "torch", "transformers>=5.20"]
# ///
"""Fine-tune a published 2M-NER on any data set with `tokens` and `ner_tags`, by a plain `Trainer`.

    uv run examples/finetune.py me/2mner me/tweets --out runs/tweets
    python examples/finetune.py runs/demo tweets/ --out runs/tweets --epochs 5

The model's code comes from its repository: this file needs no other file of the project. The data
set has the splits `train` and `validation`; `image` is read where there is such a column.
"""

import argparse

from datasets import load_dataset
from transformers import (
    AutoModelForTokenClassification,
    AutoProcessor,
    Trainer,
    TrainingArguments,
)

parser = argparse.ArgumentParser(description="Fine-tune a published 2M-NER.")
parser.add_argument("model", help="name or folder of a 2M-NER")
parser.add_argument("dataset", help="name or folder of a data set")
parser.add_argument("--out", required=True, help="folder for the trained model")
parser.add_argument("--epochs", type=float, default=3)
parser.add_argument("--learning_rate", type=float, default=5e-5)
parser.add_argument("--batch_size", type=int, default=8)
options = parser.parse_args()

data = load_dataset(options.dataset)
labels = data["train"].features["ner_tags"].feature.names
model = AutoModelForTokenClassification.from_pretrained(options.model, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(options.model, trust_remote_code=True)
if labels != model.config.labels:
    model.resize_labels(labels)  # keeps what the model knows about the labels in both sets
    processor.labels = model.config.labels


def collate(rows: list[dict]) -> dict:
    """Rows of the data set as a batch; an unreadable or missing image is a mask."""
    return processor(
        [row["tokens"] for row in rows],
        images=[row.get("image") for row in rows],
        labels=[row["ner_tags"] for row in rows],
    )


trainer = Trainer(
    model,
    TrainingArguments(
        options.out,
        num_train_epochs=options.epochs,
        learning_rate=options.learning_rate,
        per_device_train_batch_size=options.batch_size,
        eval_strategy="epoch",
        prediction_loss_only=True,
        remove_unused_columns=False,  # `collate` reads the columns
        report_to="none",
    ),
    data_collator=collate,
    train_dataset=data["train"],
    eval_dataset=data["validation"],
)
trainer.train()
trainer.save_model()
processor.save_pretrained(options.out)


def spans(tags: list[str]) -> set[tuple[int, int, str]]:
    """The entities of IOB2 labels: first word, last word + 1, type."""
    found, start = set(), None
    for place, tag in enumerate([*tags, "O"]):
        if start is not None and tag != f"I-{tags[start][2:]}":
            found.add((start, place, tags[start][2:]))
            start = None
        if tag.startswith("B-"):
            start = place
    return found


found, gold, right = 0, 0, 0
for batch in trainer.get_eval_dataloader():
    for said, true in zip(model.eval()(**batch).predictions, batch["labels"], strict=True):
        said, true = (spans([labels[tag] for tag in tags if tag >= 0]) for tags in (said, true))
        found, gold, right = found + len(said), gold + len(true), right + len(said & true)
print(f"F1 {200 * right / max(found + gold, 1):.1f} on {len(data['validation'])} sentences")
