"""A study's results as a page: one module for each kind of part, without torch."""
