"""Results on paper: PDF reports of one patient and of a run. No Streamlit; the same input gives the same bytes."""

from dashboard.reports.cohort import cohort_report
from dashboard.reports.patient import patient_report

__all__ = ["cohort_report", "patient_report"]
