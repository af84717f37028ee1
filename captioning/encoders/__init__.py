"""Image encoders: the table, their networks, and weights from anywhere."""
