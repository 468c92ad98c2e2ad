"""Tests of what is not a law of the layers: the command line, files, models, packaging."""
