"""The files in which captions are kept: Flickr8k's, COCO's JSON, tables of two columns.

Readers return split -> image name -> captions, in the order of the files.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnn_research.data.files import decode_text
from rnn_research.data.running_text import BYTE_ORDER_MARK
from rnn_research.errors import InputError

Captioned = dict[str, list[str]]  # image name -> its captions
UNUSED = ''  # the split of captions that belong to none

_HEADER = ['image', 'caption']
_FLICKR_SPLITS = {
  'train': 'Flickr_8k.trainImages.txt',
  'valid': 'Flickr_8k.devImages.txt',
  'test': 'Flickr_8k.testImages.txt',
}
FLICKR_FILES = ('Flickr8k.token.txt', *_FLICKR_SPLITS.values())
_KARPATHY_SPLITS = {'train': 'train', 'restval': 'train', 'val': 'valid', 'test': 'test'}


def text_of(data: bytes, where: str) -> str:
  """Returns the text of a file of captions; raises InputError, beginning with `where`, where it is
  none."""
  return decode_text(data, where, 'convert it to UTF-8').removeprefix(BYTE_ORDER_MARK)


def read_flickr(files: Mapping[str, bytes], where: str) -> dict[str, Captioned]:
  """Reads Flickr8k's captions and lists of splits.

  Args:
    files: those of `FLICKR_FILES`.
    where: the folder or archive they are in, for messages.

  Raises:
    InputError: a file is damaged.
  """
  tokens, *lists = (text_of(files[name], f'{where}: {name}') for name in FLICKR_FILES)
  captions = read_table(tokens, f'{where}: {FLICKR_FILES[0]}')
  splits = {
    split: {name: captions.pop(name) for name in names.split() if name in captions}
    for split, names in zip(_FLICKR_SPLITS, lists, strict=True)
  }
  return splits | {UNUSED: captions}


def read_table(text: str, where: str) -> Captioned:
  """Reads image and caption of every line: separated by a tab, or a CSV file with the header
  'image,caption'.

  What follows a '#' after the name of an image, as in 'a.jpg#0', is the caption's number.

  Raises:
    InputError: a line has other columns.
  """
  lines = text.split('\n')
  if _is_header(lines[0]):
    rows, expected = _csv_rows(text, where), "2 as in the header 'image,caption'"
  else:
    rows = ((number, line.rstrip('\r').split('\t')) for number, line in enumerate(lines, 1))
    expected = "2: image, tab, caption (or a CSV file with the header 'image,caption')"
  captions: Captioned = {}
  for number, row in rows:
    if not any(column.strip() for column in row):
      continue
    if len(row) != 2:
      raise InputError(f'{where} has {len(row)} columns in line {number}, expected {expected}')
    name = re.sub(r'#\d+$', '', row[0].strip())
    captions.setdefault(name, []).append(row[1])
  return captions


def _is_header(line: str) -> bool:
  try:
    row = next(csv.reader([line]), [])
  except csv.Error:  # it is no CSV file
    return False
  return [column.strip().lower() for column in row] == _HEADER


def _csv_rows(text: str, where: str) -> Iterable[tuple[int, list[str]]]:
  reader = csv.reader(io.StringIO(text, newline=''), strict=True)
  try:
    next(reader)
    yield from ((reader.line_num, row) for row in reader)
  except csv.Error as error:
    raise InputError(f'{where} is no CSV file: line {reader.line_num}, {error}') from error


def read_json(text: str, where: str) -> dict[str, Captioned]:
  """Reads captions as COCO has them ('images' and 'annotations': one split, 'train'), or as the
  files dataset_coco.json, dataset_flickr8k.json and their like do ('images' with their 'sentences'
  and, perhaps, 'split').

  Raises:
    InputError: it is neither.
  """
  try:
    value = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise InputError(f'{where} is no JSON file ({error})') from error
  images = _field(value, 'images', list, where)
  if 'annotations' in value:
    return {'train': _coco(images, _field(value, 'annotations', list, where), where)}
  return _karpathy(images, where)


def _coco(images: Sequence, annotations: Sequence, where: str) -> Captioned:
  names: dict[int | str, str] = {}
  for number, image in enumerate(images):
    here = f'{where}, images[{number}]'
    name, own = _field(image, 'file_name', str, here), _field(image, 'id', int | str, here)
    if names.setdefault(own, name) != name:
      raise InputError(
        f'{here} is {name!r} with the id {own!r}, expected another id than that of {names[own]!r}'
      )
  captions: Captioned = {}
  for number, annotation in enumerate(annotations):
    here = f'{where}, annotations[{number}]'
    image = _field(annotation, 'image_id', int | str, here)
    if image not in names:
      raise InputError(f'{here} has the image_id {image!r}, expected the id of one of the images')
    captions.setdefault(names[image], []).append(_field(annotation, 'caption', str, here))
  return captions


def _karpathy(images: Sequence, where: str) -> dict[str, Captioned]:
  splits: dict[str, Captioned] = {}
  for number, image in enumerate(images):
    here = f'{where}, images[{number}]'
    name = _field(image, 'filename', str, here)
    if folder := image.get('filepath'):
      name = f'{folder}/{name}'
    split = _KARPATHY_SPLITS.get(str(image.get('split', 'train')), UNUSED)
    captions = splits.setdefault(split, {}).setdefault(name, [])
    for i, sentence in enumerate(_field(image, 'sentences', list, here)):
      captions.append(_field(sentence, 'raw', str, f'{here}, sentences[{i}]'))
  return splits


def _field(item: Any, name: str, kind: Any, where: str) -> Any:
  """Returns a field of a JSON object; raises InputError where it is not there or of another
  kind."""
  if not isinstance(item, dict) or not isinstance(item.get(name), kind):
    found = ', '.join(map(str, item)) or 'nothing' if isinstance(item, dict) else 'no object'
    kinds = {list: 'list', str: 'text'}.get(kind, 'number or text')
    raise InputError(f'{where} has {found:.80}, expected a {kinds} {name!r}')
  return item[name]
