"""Images and what is known of them in, device batches out. Nothing here knows of Accelerate."""
