"""What more than one script of the captioning pipeline uses; one module, one idea."""
