"""Layers and networks that the table of encoders names."""
