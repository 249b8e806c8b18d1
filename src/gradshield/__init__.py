"""GradShield: remove the finetuning examples that would erode a chat model's refusals."""

__version__ = "0.1.0"
