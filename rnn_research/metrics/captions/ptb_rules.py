"""What Stanford's PTBTokenizer 3.4.1 takes for a token, as patterns.

Facts about that program, most of them seen in what it answers. It is caseless but for the places
marked `(?-i:`.
"""

import re

# Python counts superscripts, fractions and circled digits as letters.
_NUMERALS = '²³¹¼-¾\u2070-\u209c\u2150-\u218b\u2460-\u24ff\u2776-\u2793'
_SIGN = rf'[^\W_{_NUMERALS}]'  # a letter or digit
_LETTER = rf'(?:[^\W\d_{_NUMERALS}]|[\u00ad\u0300-\u036f]|&[aeiou](?:acute|grave|uml);)'
_RUN = rf'{_LETTER}(?:{_LETTER}|\d)*'
_WORD = rf'{_RUN}(?:[.!?]{_RUN})*'
_APOS = "(?:['\u0092\u2019]|&apos;)"
_LIKE_APOS = rf'(?:{_APOS}|[`\u0091\u2018\u201b])'
_CLITIC = rf'{_APOS}(?:[msd]|re|ve|ll)'
_NOT = rf'n{_LIKE_APOS}t'
_QUOTES = f"''|{_APOS}|[`\u2018-\u201f\u2039\u203a«»\u0091-\u0094]{{1,2}}"
_NUMBER = r'\d*(?:[.:,]\d+)+|\d+'
_PART = rf'(?:[dlo]{_LIKE_APOS}{_SIGN})?{_SIGN}+'
_HYPHENED = rf'{_PART}(?:[-_\u058a\u2010\u2011]{_PART})*'
_INITIALS = r'[a-z](?:\.[a-z])+'
_DOTTED = rf'[a-z\d][a-z\d.,\u00ad]*(?:-(?:{_INITIALS}\.|[a-z\d\u00ad]+))+'
_SLASHED = r'[a-z\d]+(?:-[a-z]+){0,2}(?:\\?/[a-z\d]+(?:-[a-z]+){0,2}){1,2}'
_CAPITALS = '(?-i:[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+)'
_NAME = r'[^\s"<>|.!?(){},]+\.'  # of a host, with the period behind it
_PLAIN_NAME = r'(?-i:[^\s"`\'<>|!?(){},\-./0-9:;=@A-Z\[\\\]^_$]+)\.'
_PATH = r'/[^\s"<>|()]+[^\s"<>|.!?(){},-]'

# Abbreviations keep their period. Of these, most are followed by words without a capital ..
_USUAL = (
  'ala al apr ariz assn aug bancorp bhd bldg blvd bros calif colo conn corp cos? ct dak dec '
  '(?:ed|ph)\\.d esq est etc ext feb fla fri ga inc ind intl jan jr jul jun kans? ky la ltd mar '
  'md mich minn mo mon mont neb nev nov oct okla penn plc pp?t[ey]s? rd rt sept? seq sq sr sys '
  'tel tenn thu thurs tues? univ va vt wed wisc? wyo'
)
_STATES = 'Ark Az Del Ill La Mass Miss Ore Pa Tex Wash'
# .. these by names ..
_TITLES = (
  'adj adm adv alex assoc asst attys? ave brig capt cf cie co?mdr col comdr dept det drs? elec '
  'ens ft gen govs? hon insp invt jos lieut lt maj messrs m[ft]g mlle mme mr mrs ms msgr mt '
  'natl pfc ph pres profs? pvt reps? rev sens? sfc sgt spc cpl ste? supts? treas vs wm'
)
# .. and these by numbers.
_COUNTED = 'art ca figs? nos? op pp prop'
# Before them, the period behind a single letter ends a sentence.
_BEGINNERS = (
  'A About According Additionally After An As At But Earlier He Her Here However If In It Last '
  'Many More Mr\\. Ms\\. Now Once One Other Our She Since So Some Such That The Their Then '
  'There These They This We What When While Yet You'
)


def _any(words: str) -> str:
  return '|'.join(words.split())


# (token, what must follow it)
_PATTERNS = (
  # Words that are two.
  ('can', 'not'),
  (f'{_APOS}t', 'is|was'),
  ('gon|wan', 'na'),
  ('got', 'ta'),
  ('lem|gim', 'me'),
  # Markup.
  (r'<[!?][a-z-][^>]*>|</[a-z][\w:.-]* *>', ''),
  (r'<[a-z][\w:.-]*(?: +[a-z][\w:.-]*(?: *= *(?:\'[^\']*\'|"[^"]*"))?)* */? *>', ''),
  ('&(?:ht|tl|ur|lr|qc|ql|qr|odq|cdq|#[0-9]+);', ''),
  ('&(?:amp|lt|gt|quot|apos|nbsp);', ''),
  # Words, with and without apostrophes.
  (_WORD, _CLITIC),
  ('[a-z\u00ad]*[a-mo-z]\u00ad*', _NOT),
  (_WORD, ''),
  (f'{_APOS}n{_APOS}?|[ldj]{_APOS}|(?:dunkin|somethin|ol){_APOS}', ''),
  (f'{_APOS}(?:em|till?|cause|[1-9]0s)|(?-i:[A-HJ-XZn]){_LIKE_APOS}{_LETTER}{{2,}}', ''),
  (f'{_LETTER}+[aeiouy]{_LIKE_APOS}(?-i:[aeiouA-Z]){_LETTER}*', ''),
  ("cont'd\\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l", ''),
  (f'y{_APOS}', _LETTER),
  (_CLITIC, '[^a-z]'),
  (_NOT, ''),
  # Addresses.
  (r'https?://[^\s"<>|()]+[^\s"<>|.!?(){},-]', ''),
  (rf'(?:www\.(?:{_NAME})+[a-z]{{2,4}}|(?:{_PLAIN_NAME})+(?:com|net|org|edu))(?:{_PATH})?', ''),
  (r'<?[a-z\d][^\s"<>|()]*@(?:[^\s"<>|().]+\.)*[^\s"<>|().]+>?', ''),
  (rf'@[a-z_][a-z_\d]*|#{_LETTER}+', ''),
  # Numbers.
  (r'\d{1,2}[-/]\d{1,2}[-/]\d{2,4}', ''),
  (f'[-+]?(?:{_NUMBER})', ''),
  ('[\u207a\u207b\u208a\u208b]?(?:[\u2070¹²³\u2074-\u2079]+|[\u2080-\u2089]+)', ''),
  (r'(?:\d{1,4}[- \u00a0])?\d{1,4}(?:\\?/|\u2044)\d{1,4}', ''),
  (
    r'(?:\(\d{2,3}\)[ \u00a0]?|(?:\+\+?)?(?:\d{2,4}[- \u00a0])?\d{2,4}[- \u00a0])'
    r'\d{3,4}[- \u00a0]?\d{3,5}',
    '',
  ),
  (r'(?:(?:\+\+?)?\d{2,4}\.)?\d{2,4}\.\d{3,4}\.\d{3,5}', ''),
  (rf'{_APOS}\d\d', r'\s'),
  (r'(?-i:[A-Z]*\$)', ''),
  # Words with other signs inside, or a period behind.
  (f'pro-|anti-|cap{_APOS}n|c{_APOS}est', ''),
  (r'c\+\+|(?-i:[CFc])#', ''),
  (_SLASHED, ''),
  ('[a-z]', rf'\.\s+(?-i:{_any(_BEGINNERS)})\s'),
  (rf'(?:{_any(_USUAL)}|(?-i:{_any(_STATES)}))\.', '..'),
  (rf'(?:{_any(_COUNTED)})\.', r'\s?\d'),
  (rf'(?:{_INITIALS}|[a-z]|{_any(_TITLES)})\.', ''),
  (rf'(?:{_WORD}|{_DOTTED}|{_HYPHENED}|{_CAPITALS})\.', '[,;:\u3001]'),
  (_DOTTED, ''),
  (_HYPHENED, ''),
  (_CAPITALS, ''),
  # Signs.
  (r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]", r'[^a-z\d]'),
  (r'\.{3,5}|(?:\.[ \u00a0]){2,4}\.', ''),
  (r'[?!]+|@+|#+|_+|\*+|-+|<<|>>', ''),
  ("'", r'[a-z]\S'),
  (_CLITIC, ''),
  (_QUOTES, ''),
)
RULES = tuple(
  re.compile(f'({token})(?:{context})', re.IGNORECASE | re.DOTALL) for token, context in _PATTERNS
)
# Most of a caption: words that no rule can treat otherwise.
PLAIN = re.compile(r'((?!(?:cannot|gonna|wanna|gotta|lemme|gimme)\s)[a-z]+)(?=\s)', re.IGNORECASE)
# Tokens whose apostrophes and quotes are written alike.
QUOTES = re.compile(f'{_CLITIC}|{_NOT}|{_QUOTES}', re.IGNORECASE)
# Of what no rule matches, these are tokens; all else is left out.
SYMBOLS = re.compile(
  r'[$%&()+/;<=>\[\\\]^{|}~'
  r'\u00a1\u00a2-\u00a9\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bc-\u00bf\u00d7\u00f7'
  r'\u2016\u2017\u2020-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044\u207a-\u207e'
  r'\u208a-\u208e\u20a0\u20a4'
  r'\u20ac\u2100-\u214f\u2153-\u215e\u2190-\u2bff\u3002\u3012\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40'
  r'\uff5b-\uff65]'
)
