"""Entities as predictions of Label Studio, to be corrected by hand.

The file is an array of tasks as Label Studio imports it. A task:

    data          `text`; `image`, the address of the image or ""; `id`; `lang` if it is known
    predictions   one, with `model_version`, the lowest `score` of its entities, and as `result` a
                  region for each entity: characters `[start, end)` of `text`, and its `score`

Label Studio counts characters as Python does. It shows the tasks with the least certain entity
first, if it sorts by the prediction's score. Names of tags are those of its own template for named
entities, and those of `labelling_config`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

__all__ = ["labelling_config", "task_of", "write_tasks"]

Record = dict[str, Any]


def task_of(record: Record, number: int, version: str | None, image_url: str = "") -> Record:
    """A record (see `outputs.py`) as a task.

    Args:
        record: a sentence and its entities.
        number: of the record, for ids.
        version: of the model, if it is known.
        image_url: what precedes the image's name, such as `/data/local-files/?d=images/`.
    """
    text, entities = _characters(record)
    image = record.get("image")
    data = {
        "text": text,
        "image": "" if image is None else image_url + (quote(image) if image_url else image),
        "id": record["id"],
    }
    if "lang" in record:
        data["lang"] = record["lang"]
    prediction: Record = {} if version is None else {"model_version": version}
    if entities:
        prediction["score"] = min(entity["score"] for entity, _, _ in entities)
    prediction["result"] = [
        {
            "id": f"{number}-{index}",
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "score": entity["score"],
            "value": {
                "start": start,
                "end": end,
                "text": text[start:end],
                "labels": [entity["label"]],
            },
        }
        for index, (entity, start, end) in enumerate(entities)
    ]
    return {"data": data, "predictions": [prediction]}


def _characters(record: Record) -> tuple[str, list[tuple[Record, int, int]]]:
    """A record's text, and its entities with characters `[start, end)`."""
    entities = record["entities"]
    if "tokens" not in record:
        return record["text"], [(entity, entity["start"], entity["end"]) for entity in entities]
    words = record["tokens"]
    starts = list(accumulate((len(word) + 1 for word in words), initial=0))
    return " ".join(words), [
        (entity, starts[entity["start"]], starts[entity["end"]] - 1) for entity in entities
    ]


def write_tasks(
    path: Path, records: Iterable[Record], version: str | None, image_url: str = ""
) -> None:
    """Write records as one array of tasks, one a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("[")
        for number, record in enumerate(records):
            task = json.dumps(task_of(record, number, version, image_url), ensure_ascii=False)
            file.write(f"{',' if number else ''}\n{task}")
        file.write("\n]\n")


def labelling_config(types: Sequence[str], *, images: bool) -> str:
    """The labelling configuration of a project that the tasks belong to."""
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in types)
    image = '\n  <Image name="image" value="$image"/>' if images else ""
    return (
        f'<View>\n  <Labels name="label" toName="text">\n{labels}\n  </Labels>\n'
        f'  <Text name="text" value="$text"/>{image}\n</View>'
    )
