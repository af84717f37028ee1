"""From pictures to the tiles of a puzzle."""
