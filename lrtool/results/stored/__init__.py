"""Results as files: a run's folder and its trials', every field checked when they are read back."""
