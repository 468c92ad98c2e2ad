"""BERT, whole: from plain text to a trained and measured model."""
