"""Every float there is, through every function of one variable, on both backends."""
