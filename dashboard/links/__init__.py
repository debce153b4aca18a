"""Links that a server keeps: short ones of a view, and signed ones for outsiders. Python and SQLite, no Streamlit."""
