"""The laws that every layer obeys on every backend, as tests that anyone can run."""
