"""Any file to RGB pixels: reading, folders and archives, views, how encoders want their squares."""
