"""Trained captioners and tokenizers in files: our own, and those of the original pipeline."""
