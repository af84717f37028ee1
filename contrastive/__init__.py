"""Pretext stage: an encoder trained on photographs without labels (SimCLR, MoCo, BYOL)."""
