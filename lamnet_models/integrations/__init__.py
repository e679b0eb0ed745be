"""LAMNet in other people's software, and other people's networks here."""
