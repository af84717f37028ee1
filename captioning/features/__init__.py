"""The features files of stage 1, and how they are made."""
