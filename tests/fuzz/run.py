"""Fuzz the image decoders: python tests/fuzz/run.py --files 50000 --seed 1.

Each file must give a picture or a one-line printable ImageError, within the time and memory limits, with empty standard
error. The current file is kept in the working folder as ``fuzzed``, in case the process crashes.
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
from lamnet_models.image_io import Picture, read_image

SECONDS = 20
"""Time limit per file; when exceeded, the process ends with a traceback."""

MEBIBYTES = 900
"""Limit for growth of resident memory: the need of a decoder for the largest allowed 8-bit image."""


def check(path: Path) -> str:
    """Read a file; return ``"read"`` or ``"refused"``, or raise AssertionError."""
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
    """Return the peak resident memory in MiB, on Linux."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run the command line; print counts, exit with 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one format")
    arguments = parser.parse_args()
    files = originals()
    forms = [arguments.only] if arguments.only else list(files)
    counts: collections.Counter[str] = collections.Counter()
    path = Path("fuzzed")
    for form in forms:  # valid files first, to load the decoders
        for data in files[form]:
            path.write_bytes(data)
            counts[f"{form} valid, {check(path)}"] += 1
    before, failures = resident(), 0
    for index in range(arguments.files):
        form = forms[index % len(forms)]
        dice = random.Random(f"{arguments.seed} {index}")
        path.write_bytes(mutated(dice.choice(files[form]), form, files[form], dice))
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
