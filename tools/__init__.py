"""Commands beside the pipeline: fine-tuning of encoders, and models for shipping."""
