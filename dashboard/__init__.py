"""Shows a result store in the browser. Reads the store only; imports neither the engine nor torch."""
