"""Scores of captions against several references, as pycocoevalcap 1.2 gives them, without Java."""
