"""The oldest version of `transformers` that the code of the model runs on, checked on import.

Every module that imports `transformers` imports this one first, so that an older version is refused
with one message, and not with the name of the first function that it lacks.
"""

import re

import transformers

__all__ = ["LEAST_TRANSFORMERS", "require_transformers"]

LEAST_TRANSFORMERS = "5.20"
"""5.20 is the first release with `SubConfigSpec`, which allows any kind of encoder."""


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
