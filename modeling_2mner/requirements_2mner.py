"""The least version of `transformers` that the model's code runs on, checked on import.

Every module of the family that imports `transformers` imports this one first: an older version gets
one sentence, and not the name of the first function that it lacks.
"""

import re

import transformers

__all__ = ["LEAST_TRANSFORMERS", "require_transformers"]

LEAST_TRANSFORMERS = "5.20"
"""5.20 is the first release with `SubConfigSpec`, by which a part may be any kind of encoder."""


def require_transformers(found: str) -> None:
    """Refuse a version of `transformers` that is too old.

    Args:
        found: the version that is installed, such as "5.24.0".

    Raises:
        ImportError: if it is older than `LEAST_TRANSFORMERS`.
    """
    least, version = (
        tuple(map(int, re.findall(r"\d+", text)[:2])) for text in (LEAST_TRANSFORMERS, found)
    )
    if version < least:
        raise ImportError(
            f"2M-NER needs transformers >= {LEAST_TRANSFORMERS}, found {found}: "
            f'pip install -U "transformers>={LEAST_TRANSFORMERS}"'
        )


require_transformers(transformers.__version__)
