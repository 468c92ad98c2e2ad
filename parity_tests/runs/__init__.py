"""What is done with the laws: a run of the suite, sweeps, mutants, trajectories, reports."""
