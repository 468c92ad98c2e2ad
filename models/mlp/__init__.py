"""The multilayer perceptron, whole: from data to a trained and measured model."""
