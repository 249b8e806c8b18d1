"""What a run takes, and what it withstands, measured without a model."""
