"""The batch job: scans in; networks, heatmaps and tables out, into a result store. See --help."""

import sys

from engine.cli import main
from engine.pipeline import stages

STAGES = {
    "ingest": stages.ingest,  # scans or simulated brains -> cohort, groups, exclusions
    "preprocess": stages.preprocess,  # cohort -> volumes on one grid, folds, fixed test set
    "train": stages.train,  # volumes -> one network a fold, metrics, baselines
    "explain": stages.explain,  # networks x volumes x methods -> heatmaps
    "aggregate": stages.aggregate,  # heatmaps -> group averages, relevance of AAL regions
    "compare": stages.compare,  # heatmaps -> distances, variability, agreement with known truth
    "trust": stages.trust,  # networks drawn or trained anew, scans with parts deleted -> how far to trust heatmaps
    "publish": stages.publish,  # check against the specification, write the manifest
}

if __name__ == "__main__":
    sys.exit(main.main(STAGES))
