"""Batches, teacher forcing, fine-tuning, self-critical training, and the run they share."""
