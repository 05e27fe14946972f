"""Text that figures can show: in fonts that are installed, with a box for what none of them has."""

import functools

from matplotlib import font_manager

BOX = '\u25a1'
SANS, MONO = 'DejaVu Sans', 'DejaVu Sans Mono'
# Matplotlib's own fonts lack Chinese, Japanese and Korean; of these families those that are
# installed help out.
_FAMILIES = (
  'Noto Sans CJK JP',
  'Noto Sans CJK SC',
  'Hiragino Sans',
  'PingFang SC',
  'Yu Gothic',
  'Microsoft YaHei',
  'Malgun Gothic',
  'WenQuanYi Zen Hei',
  'Arial Unicode MS',
)


@functools.cache
def families(first: str = SANS) -> list[str]:
  """Returns the font families to write in: one of Matplotlib's own, then those that help out."""
  installed = font_manager.get_font_names()
  return [first, *(family for family in _FAMILIES if family in installed)]


def shown(text: str, first: str = SANS) -> str:
  """Returns `text` with a box for each character that none of `families(first)` has."""
  return ''.join(c if ord(c) in _characters(first) else BOX for c in text)


@functools.cache
def _characters(first):
  fonts = (font_manager.get_font(font_manager.findfont(name)) for name in families(first))
  return frozenset().union(*(font.get_charmap() for font in fonts))
