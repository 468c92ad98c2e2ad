"""Faults to plant, which the laws must catch: a page for each layer and optimizer."""
