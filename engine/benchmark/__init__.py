"""Times of what users wait for, beside other ways to do the same; `python -m engine.benchmark --help`."""
