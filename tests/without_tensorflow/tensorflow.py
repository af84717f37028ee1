"""Stands before TensorFlow in a process under JAX: as if TensorFlow were not installed."""

raise ImportError("JAX alone is enough")
