"""The benchmark of relevance methods on known truth: `run_pipeline.py benchmark`."""
