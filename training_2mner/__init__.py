"""A recipe in, a trained and scored model in a run's folder out."""
