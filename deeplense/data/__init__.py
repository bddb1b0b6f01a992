"""Images in, device batches out. Nothing here knows of Accelerate."""
