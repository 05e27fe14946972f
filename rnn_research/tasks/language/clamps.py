"""Units that stay at a value while a model writes: `--clamp='1:c23=2.5,2:h4=-1'`."""

import re
from collections.abc import Callable, Iterator

import numpy as np

from rnn_research.analysis.measures.interventions import check_unit, held
from rnn_research.analysis.measures.recording import UNIT, Unit, read_unit
from rnn_research.cell import Cell
from rnn_research.data.codec import TextCodec
from rnn_research.decoding.language import sampler
from rnn_research.errors import InputError, comma_list
from rnn_research.models.language_model import LanguageModel
from rnn_research.typing import Params

_FORM = re.compile(rf'(?P<unit>{UNIT})=(?P<value>[+-]?[0-9.]+(?:e[+-]?[0-9]+)?)')


def held_sampler(
  model: LanguageModel,
  remake: Callable[[tuple[Cell, ...]], LanguageModel],
  codec: TextCodec,
  clamp: str,
) -> Callable[..., Iterator]:
  """Compiles sampling, see `decoding.language.sampler`, while units stay at values.

  Args:
    model: the language model.
    remake: `cells -> model`, the same of other cells.
    codec: of the model.
    clamp: see `read_clamps`.
  """
  units, values = read_clamps(clamp)
  return sampler(remake(held(model.cells, units, values)), codec.never_written)


def check_clamps(model: LanguageModel, params: Params, clamp: str) -> None:
  """Raises InputError where a model has no such unit as is to be held."""
  for unit in read_clamps(clamp)[0]:
    check_unit(model, params, unit)


def read_clamps(text: str) -> tuple[list[Unit], list[float]]:
  """Returns the units of a flag, and the value of each.

  Args:
    text: 'layer:unit=value', separated by commas; layers count from 1, units are named as in the
      tables of `--mode=interpret`: c23, h4.

  Raises:
    InputError: it has another form, or names a unit twice.
  """
  parts = [(part, _FORM.fullmatch(part)) for part in comma_list(text)]
  try:
    found = [(read_unit(m['unit']), float(m['value'])) for _, m in parts if m]
  except ValueError:
    found = []
  if len(dict(found)) < len(parts) or not parts or not np.isfinite([v for _, v in found]).all():
    raise InputError(f"clamp is {text!r}, expected 'layer:unit=value' such as '1:c23=2.5'")
  units, values = zip(*found, strict=True)
  return list(units), list(values)
