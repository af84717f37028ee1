"""What a person looks at: captions in files, pages, pictures of where a model looked."""
