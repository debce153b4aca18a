"""Arrays and frames -> figures and pictures. Nothing here knows Streamlit."""
