"""The checkpoints that come with the package, each with its model card."""
