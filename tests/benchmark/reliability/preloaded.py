"""Imported where runs are forked from: what transformers makes once a process, made once."""

from __future__ import annotations

from transformers import conversion_mapping

import gradshield.cli.main
import gradshield.run.filter
import tests.benchmark.reliability.small_runs

__all__ = ["gradshield", "tests"]

conversion_mapping.get_checkpoint_conversion_mapping("llama")
