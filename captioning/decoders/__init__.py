"""Caption decoders: the table, their classes, search, and files of trained ones."""
