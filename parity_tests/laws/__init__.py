"""What must be true of a layer or an optimizer, and what the laws must know of it: a page each."""
