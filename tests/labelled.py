"""Texts with their labels drawn below them, and texts of nothing but what labels depend on."""

import numpy as np

SIGNS = str.maketrans({'¶': '\n', '¤': '\r', '→': '\t', '⊢': '\ufeff'})


def drawn(drawing):
  """Returns a text and key -> [N] labels, from rows '| text' and below each 'key labels'.

  ¶ ¤ → ⊢ are the line end, carriage return, tab and byte-order mark; a digit is a label, ? stands for NaN.
  """
  text, rows = '', {}
  for row in drawing.strip('\n').splitlines():
    key, content = row[0], row[2:]
    if key == '|':
      text += content.translate(SIGNS)
    else:
      rows[key] = rows.get(key, '') + content.strip(' ')
      assert len(rows[key]) == len(text), f'{len(rows[key])} labels of {len(text)}: {row}'
  return text, {key: values(row) for key, row in rows.items()}


def values(row):
  return np.array([np.nan if sign == '?' else int(sign) for sign in row], np.float32)


def soup(rng, symbols, size):
  """Returns a text of random symbols."""
  return ''.join(rng.choice(symbols) for _ in range(size))
