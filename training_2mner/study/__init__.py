"""The papers' experiments: trainings by a plan, and measures of their models."""
