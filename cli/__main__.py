"""``python -m lamnet_cli``: for launchers that start modules."""

from .main import main

main()
