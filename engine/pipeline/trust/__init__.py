"""How far heatmaps can be trusted: what the stage trust measures, each measure in a module of its own."""
