"""Pretext stage: jigsaw puzzles (Noroozi and Favaro, arXiv 1603.09246)."""
