"""Scores of captions: BLEU, the COCO toolkit, and the table of them."""
