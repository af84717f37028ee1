"""Caption decoders: the table, their classes, and search."""
