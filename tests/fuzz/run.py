"""Reads damaged image files: python tests/fuzz/run.py --files 50000 --seed 1.

Each file must become a picture or an ImageError of one printable line, within seconds and within memory, with nothing
on standard error. The file under way lies in the working folder as ``fuzzed``, should the process die of it.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import random
import resource
import sys
from pathlib import Path

from mutations import mutated
from originals import originals

from lamnet_models.errors import ImageError
from lamnet_models.images import Picture, read_image

SECONDS = 20
"""Most that a file may take; after it the process ends with a traceback."""

MEBIBYTES = 900
"""Most by which the resident memory may grow: what a picture as large as is allowed takes of a decoder, at 8 bits."""


def check(path: Path) -> str:
    """Reads a file; returns what became of it, or raises AssertionError."""
    try:
        picture = read_image(path)
    except ImageError as error:
        message = str(error)
        assert message.startswith(f"{path}: "), message
        assert message.isprintable(), repr(message)
        return "refused"
    assert isinstance(picture, Picture)
    return "read"


def resident() -> float:
    """Returns the largest resident memory so far in MiB, on Linux."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Runs as the command line says; prints counts, exits with 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one format")
    arguments = parser.parse_args()
    kinds = originals()
    forms = [arguments.only] if arguments.only else list(kinds)
    counts: collections.Counter[str] = collections.Counter()
    path = Path("fuzzed")
    for form in forms:  # sound files first, which the decoders load themselves with
        for data in kinds[form]:
            path.write_bytes(data)
            counts[f"{form} sound, {check(path)}"] += 1
    before, failures = resident(), 0
    for index in range(arguments.files):
        form = forms[index % len(forms)]
        dice = random.Random(f"{arguments.seed} {index}")
        path.write_bytes(mutated(dice.choice(kinds[form]), form, kinds[form], dice))
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            counts[f"{form} {check(path)}"] += 1
            assert resident() - before < MEBIBYTES, f"memory grew by {resident() - before:.0f} MiB"
        except Exception as error:
            failures += 1
            kept = path.rename(f"failed-{arguments.seed}-{index}.{form.lower()}")
            print(f"{kept}: {type(error).__name__}: {error}")
            before = max(before, resident() - MEBIBYTES / 2)
        faulthandler.cancel_dump_traceback_later()
    path.unlink(missing_ok=True)
    for name, count in sorted(counts.items()):
        print(f"{name}: {count}")
    print(f"memory grew by {resident() - before:.0f} MiB")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
