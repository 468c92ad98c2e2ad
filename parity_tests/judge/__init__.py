"""What is judged and how: cases, oracles, bounds, votes, and the session that keeps the record."""
