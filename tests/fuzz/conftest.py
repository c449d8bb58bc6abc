"""The fuzzer itself needs atheris, an extra of its own; what it sends is tested without."""

collect_ignore = ["fuzz.py"]
