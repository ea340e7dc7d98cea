"""The fixtures that train a tiny model, for tests of what is written about a run."""

from tests.training_2mner.conftest import (  # noqa: F401 -- fixtures
    context_rows,
    encoders,
    labels,
    rows,
    trainer_for,
    trainer_of,
)
