"""Translation: parallel text, translations, and what is shown of them."""
