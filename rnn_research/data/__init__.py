"""Data: text, vocabularies, tensorflow-datasets builders and grain pipelines."""
