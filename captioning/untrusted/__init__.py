"""Readers of files that may be hostile: pickles, Keras files, HDF5, PyTorch checkpoints."""
