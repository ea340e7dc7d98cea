"""Reads a run's folder and writes tables, charts, cards and pages. Imports no torch."""
