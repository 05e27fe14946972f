"""Captioning: pictures with captions, what a network sees in them, and what is written."""
