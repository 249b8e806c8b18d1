"""Outcomes made visible: charts."""
