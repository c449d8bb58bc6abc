"""Coverage-guided fuzzing with atheris (``pip install 'bayesglmm[fuzz]'``): ``make fuzz``.

    python tests/fuzz/fuzz.py formula -max_total_time=300

The first argument names a target, the others are libFuzzer's. A finding stops it, and leaves the input in a file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bayesglmm"]):
    import targets


def main() -> None:
    name, *options = sys.argv[1:]
    handle, seeds = targets.TARGETS[name]()
    corpus = Path(tempfile.mkdtemp(prefix=f"corpus-{name}-"))
    for k, seed in enumerate(seeds):
        (corpus / f"seed{k}").write_bytes(seed)
    limits = ["-max_len=4096", "-timeout=60"] if name != "saved_fit" else ["-timeout=60"]
    atheris.Setup([sys.argv[0], *limits, *options, str(corpus)], lambda content: handle(content) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
