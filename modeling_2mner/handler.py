"""A published model behind Inference Endpoints, whose toolkit looks for this file.

The toolkit puts the model's folder on the path of modules, and imports this file from it. Requests:

    {"inputs": "Angela Merkel besucht Paris."}
    {"inputs": {"text": "Paris im Mai", "image": "<base64>"}, "parameters": {"threshold": 0.8}}
    {"inputs": ["one text", {"words": ["another", "one"]}], "parameters": {"top_k": 3}}

An image is the base64 of its file; several are a list. Nothing is fetched: an address or a path is
refused.
"""

from collections.abc import Mapping
from typing import Any

# Beside this file, in the model's folder.
from images_2mner import bytes_of_base64  # type: ignore[import-not-found]
from transformers import pipeline

__all__ = ["EndpointHandler"]


class EndpointHandler:
    """The pipeline of the model in a folder.

    Args:
        path: the folder.
    """

    def __init__(self, path: str = ""):
        task: Any = "multimodal-ner"  # which the library's types do not know
        self.pipeline = pipeline(task, model=path, trust_remote_code=True, precision="auto")

    def __call__(self, data: Mapping[str, Any]) -> list[Any]:
        """Answer a request.

        Args:
            data: `inputs`, one input of the pipeline or a list of them, with images as base64; and
                perhaps `parameters`, options of the pipeline.

        Returns:
            The entities of the input, or for a list a list of such lists.

        Raises:
            TypeError, ValueError: as the pipeline does.
        """
        inputs, parameters = data.get("inputs"), data.get("parameters") or {}
        given = (
            [_as_input(one) for one in inputs] if isinstance(inputs, list) else _as_input(inputs)
        )
        return self.pipeline(given, **parameters)


def _as_input(given: Any) -> Any:
    """An input with its image, or its images, decoded from base64."""
    if not isinstance(given, Mapping) or given.get("image") is None:
        return given
    image = given["image"]
    if isinstance(image, list):
        return {**given, "image": [_decoded(one) for one in image]}
    return {**given, "image": _decoded(image)}


def _decoded(image: Any) -> dict[str, Any]:
    if not isinstance(image, str):
        raise TypeError(f"'image' is of type {type(image).__name__}, expected base64")
    return {"bytes": bytes_of_base64(image, name="'image'"), "path": None}
