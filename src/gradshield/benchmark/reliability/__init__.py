"""Measurements of what has to hold on every run: the same scores, and nothing lost."""
