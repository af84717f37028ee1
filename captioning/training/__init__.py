"""Batches, teacher forcing, fine-tuning, word prediction, and the run they share."""
