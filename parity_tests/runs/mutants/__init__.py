"""The test of the tests: kernels with one thing wrong, each of which a law must kill."""
