"""LAMNet for image super-resolution: models, checkpoints, upscaling and evaluation."""
