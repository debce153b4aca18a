"""What several pages show or compute; it imports no page."""
