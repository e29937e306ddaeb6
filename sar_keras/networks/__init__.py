"""Functional Keras networks, in the style of keras.applications: no files, no runs, no training logic."""
