"""The ``lamnet`` command. Each command is one file; nothing here imports torch before a command runs."""
